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
//! Whatever openraft has no answer for stops the group: a failed write or sync, a vote that
//! cannot be saved, a machine that fails. [`Group::stopped`] tells. Nothing is tried again, and
//! proposals that were under way are answered "unknown".
//!
//! Nothing is ever purged: that takes snapshots, which are not built yet. Until then no segment of
//! a group's log may be removed either, or the group refuses to open.
//!
//! This is the only crate that names openraft, and no type of openraft is in its interface.

mod applied_mark;
mod error;
mod group;
mod line;
mod log_store;
mod machine;
mod membership;
mod network;
mod options;
mod presence;
mod record;
mod state_file;
mod state_machine;
mod types;

#[cfg(test)]
mod suite;

pub use error::{OpenError, ProposeError, Stopped};
pub use group::{Group, Status};
pub use machine::{Applied, LogId, Machine, MachineError};
pub use membership::MembershipError;
pub use options::GroupOptions;
pub use state_file::StateFileError;
