//! What makes several nodes one database.
//!
//! ```text
//!  Group ──Transport──► Peers ──► Link, one per peer ──► internal listener of the peer
//!                                                             │
//!  Group::serve ◄── Served ◄── Exchange ◄─────────────────────┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `peers.rs` | the connections to the other nodes, which carry the requests of all groups |
//! | `link.rs` | one connection: requests out, answers in |
//! | `exchange.rs` | the other end: requests in, answers out |
//! | `calls.rs`, `nodes.rs` | everything else that nodes ask of each other, and the answers |
//! | `pulse.rs` | signs of life, and who leads what |
//! | `hearing.rs` | which nodes answer, and what their clocks show |
//! | `placer.rs` | bringing partitions where they belong |
//! | `reports.rs` | how groups stand |
//! | `steer.rs` | changing a group |
//! | `running.rs` | what runs beside the engine |
//! | `outcome.rs` | outcomes of changes on their way |
//!
//! The flags that start a cluster are refused until the rest of it is there.

pub mod calls;
pub mod exchange;
pub mod hearing;
mod link;
pub mod nodes;
mod outcome;
pub mod peers;
pub mod placer;
pub mod pulse;
mod reports;
mod running;
pub mod steer;

pub use running::{Running, start};

#[cfg(test)]
mod tests;
