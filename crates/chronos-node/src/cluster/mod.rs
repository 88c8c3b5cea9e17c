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
//!
//! Which nodes these are:
//!
//! ```text
//!  joining ──► asking ──► calls ─ ─ ─ ─ ─ ─ ─ ─► membership_service of another node
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
//! | `asking.rs`, `calls.rs`, `wire.rs` | questions to other nodes |
//! | `membership_service.rs` | the answers |
//! | `announcing.rs` | after a start: tells the catalog where this node is |
//! | `finder.rs` | finds members whose addresses changed |
//! | `own_addresses.rs` | where this node tells others to find it |
//!
//! A start with `-cluster` is refused until the engine opens groups of several voters.

pub mod announcing;
mod asking;
mod calls;
pub mod cluster_file;
pub mod exchange;
pub mod finder;
pub mod founding;
pub mod introductions;
pub mod joining;
mod link;
pub mod membership;
mod membership_service;
mod own_addresses;
pub mod peers;
mod wire;

pub use introductions::{CatalogDoor, Introductions};
pub use membership::Membership;
pub use membership_service::membership_service;
pub use own_addresses::Ports;

/// An identity as files show it: 32 hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}
