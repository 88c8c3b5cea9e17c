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
//! | `routes.rs` | who leads which partition, and the way there |
//!
//! The flags that start a cluster are refused until the rest of it is there.

pub mod exchange;
mod link;
pub mod peers;
pub mod routes;
