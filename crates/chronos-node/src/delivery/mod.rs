//! Who gets which released event, and what became of it. No tasks, no clock: the partition's driver
//! calls in with the time and carries out what comes back.
//!
//! ```text
//! released runs ──► Feed ──► Group: ready ──► in flight ──► settled ──► Settle command
//!                              ▲  ▲              │  │
//!                              │  └── delayed ◄──┘  └──► dead letter
//!                              └───── a member left
//! ```

mod feed;
mod group;
mod pause;
mod stretch;

pub use feed::Feed;
pub use group::{Ack, AckRun, Backoff, Group, Lookup, Policy, Wish};
pub use pause::{Pause, PausedTopic, WhilePaused};
pub use stretch::Stretch;

use chronos_core::types::DueKey;

/// Identifies a subscription on this node. Never reused, also not by a later start of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// An event to send to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// The event.
    pub key: DueKey,
    /// Which delivery of it this is to its group, from 1.
    pub attempt: u32,
    /// The dead letter that it is a redelivery of, if it is one.
    pub letter: Option<u64>,
}
