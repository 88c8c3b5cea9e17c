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
//! | `endpoint.rs` | how connections to other nodes are made |
//! | `exchange.rs` | the other end: requests in, answers out |
//! | `calls.rs`, `nodes.rs` | everything else that nodes ask of each other, and the answers |
//! | `pulse.rs` | signs of life, and who leads what |
//! | `hearing.rs` | which nodes answer, and what their clocks show |
//! | `placer.rs` | bringing partitions where they belong |
//! | `reports.rs` | how groups stand |
//! | `steer.rs` | changing a group |
//! | `running.rs` | what runs beside the engine |
//! | `observing.rs` | metrics and health |
//! | `outcome.rs` | outcomes of changes on their way |
//! | `routes.rs` | who leads which partition, and the way there |
//!
//! Which nodes these are:
//!
//! ```text
//!  joining ──► asking ──► membership_client ─ ─► membership_service of another node
//!     │           │                                      │
//!     │           ▼                                      ▼
//!     │    founding::decide                        introductions ──► cluster.toml
//!     ▼
//!  Membership ──► announcing, finder
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `founding/` | how nodes become one cluster and never two: what to do after asking everybody, pure |
//! | `joining.rs` | the way from a start to a [`Membership`] |
//! | `introductions.rs` | what this node says of itself; every step of it is durable |
//! | `cluster_file.rs` | `cluster.toml`, where those steps are |
//! | `membership.rs` | what a member knows for good |
//! | `asking.rs`, `membership_client.rs`, `wire.rs` | questions to other nodes |
//! | `membership_service.rs` | the answers |
//! | `entry.rs` | from a listener to a node that takes part |
//! | `late.rs` | services that come after their listener |
//! | `handover.rs` | giving up leads before a stop |
//! | `announcing.rs` | after a start: tells the catalog where this node is |
//! | `finder.rs` | finds members whose addresses changed |
//! | `own_addresses.rs` | where this node tells others to find it |

pub mod announcing;
mod asking;
pub mod calls;
pub mod cluster_file;
mod endpoint;
mod entry;
pub mod exchange;
pub mod finder;
pub mod founding;
mod handover;
pub mod hearing;
pub mod introductions;
pub mod joining;
mod late;
mod link;
pub mod membership;
mod membership_client;
mod membership_service;
pub mod nodes;
pub mod observing;
mod outcome;
mod own_addresses;
pub mod peers;
pub mod placer;
pub mod pulse;
mod recipient;
mod reports;
pub mod routes;
mod running;
pub mod steer;
mod wire;

#[cfg(test)]
mod tests;

pub use endpoint::Dialer;
pub use entry::{Entered, Listening};
pub use handover::hand_over;
pub use introductions::{CatalogDoor, Introductions};
pub use membership::Membership;
pub use membership_service::membership_service;
pub use own_addresses::Ports;
pub use running::Running;

/// An identity as files show it: 32 hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}
