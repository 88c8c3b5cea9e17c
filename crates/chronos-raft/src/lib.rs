//! Consensus for a log: one Raft group per partition, with the state machine left to the caller.
//!
//! ```text
//!  propose(command) ──► queue ──► entry (term, index) ──► chronos-wal ──► fdatasync
//!        ▲                         many at a time          one write        │
//!        │                                                                  ▼
//!  response ◄── Machine::apply ◄── entries, in order ◄── committed ◄── durable on a majority
//!                                                                      (one voter: on this disk)
//! ```
//!
//! A proposal is answered after its entry is durable by the log's fsync mode and the machine
//! applied it; there is no other way to an answer. An entry of the log is one command, and the
//! body of its record is exactly the command's bytes.
//!
//! A group of one voter takes the same way as a group of several. It needs no clock: it elects
//! itself when it opens, under a new term each time, and is silent when idle.
//!
//! ```text
//!  leader: log ──► Transport::call ─ ─ ─ ─ ─ ─► Group::serve ──► log ──► fdatasync
//!                  bodies as on disk                                        │
//!  commit ◄─── a majority ◄─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ answer ◄───────────────┘
//! ```
//!
//! What peers say to each other is in `wire`, and how it gets there is the caller's: a
//! [`Transport`] on the way out, [`Group::serve`] on the way in. A leader that a majority heard of
//! holds a lease for a while ([`Group::holds_lease`]), so one that was stopped or cut off knows
//! that it may have been replaced.
//!
//! Whatever openraft has no answer for stops the group: a failed write or sync, a vote that
//! cannot be saved, a machine that fails. [`Group::stopped`] tells. Nothing is tried again, and
//! proposals that were under way are answered "unknown".
//!
//! [`Group::purge`] gives up the log's beginning. A peer that needs it is told to get a copy of the
//! log and the state instead ([`SeedWanted`], [`prepare_seed`]).
//!
//! This is the only crate that names openraft, and no type of openraft is in its interface.

mod applied_mark;
mod clock;
mod disk;
mod error;
mod force;
mod group;
mod leadership;
mod lease;
mod line;
mod log_store;
mod machine;
mod members;
mod membership;
mod network;
mod observer;
mod open;
mod options;
mod presence;
mod record;
mod reverts;
mod seed;
mod serve;
mod state_file;
mod state_machine;
mod status;
mod transfer;
mod transport;
mod types;
mod wire;

#[cfg(test)]
mod suite;

pub use disk::Disk;
pub use error::{ChangeError, OpenError, ProposeError, Stopped, TransferError};
pub use force::{ForceError, force_only_voter};
pub use group::Group;
pub use leadership::{Lead, Leadership};
pub use machine::{Applied, LogId, Machine, MachineError};
pub use members::{Members, Replication};
pub use membership::MembershipError;
pub use options::{First, GroupOptions};
pub use seed::{
    Seed, SeedError, SeedWanted, forget_positions, give_up_log, is_still_wanted, prepare_seed,
};
pub use state_file::StateFileError;
pub use status::Status;
pub use transport::{NoTransport, Request, RequestKind, Transport, Unreachable};
