//! The meaning of the database: what a command does, when an event is due, what a group has settled.
//!
//! ```text
//!            ┌───────────── partition::Partition::apply ─────────────┐
//! command ──►│ publish · settle · create group · (empty: advance)    │──► partition::Effects
//!            └──────┬───────────────────────────────┬────────────────┘
//!                   ▼                               ▼
//!            store::Store (keys)            dedup · settled · topics
//! ```
//!
//! Nothing in this crate knows a clock, a task, a file, a socket or a source of chance. Time comes
//! in as a number, storage through the [`store::Store`] trait, and everything else as a command. So
//! the same code runs in the server, in unit tests and in a simulator.
//!
//! The [`wheel`] is the leader's view of what falls due soon; it lives here because it is pure too.

pub mod catalog;
pub mod command;
pub mod dedup;
pub mod keys;
pub mod mutants;
pub mod partition;
pub mod placement;
pub mod settled;
pub mod store;
pub mod types;
pub mod varint;
pub mod wheel;
