//! TLS of connections: certificates from files, both ends of a connection, and certificates that change
//! while connections go on.
//!
//! ```text
//!  Sources ──read──► Contents ──build──► rustls configuration
//!     ▲                                        │
//!     └──── Reloading looks again ─────────────┤
//!                                              ├──► Server ──► incoming, for tonic
//!                                              └──► Client ──► Connector for tonic
//! ```
//!
//! A connection is made with the configuration of its moment and keeps it. So new files change new
//! connections and break none.
//!
//! | file | holds |
//! |---|---|
//! | `sources.rs` | where certificates come from, and what was found there |
//! | `pem.rs` | certificates and keys out of PEM |
//! | `expiry.rs` | when a certificate expires |
//! | `reloading.rs` | what is built of files, built again when they change |
//! | `server.rs`, `connection.rs` | the end that listens |
//! | `client.rs`, `connector.rs` | the end that connects |
//! | `peers.rs` | nodes of one cluster, which are both |

mod client;
mod connection;
mod connector;
mod error;
mod expiry;
mod peers;
mod pem;
mod reloading;
mod server;
mod sources;

#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientOptions};
pub use connection::Connection;
pub use connector::{ConnectError, Connector, innermost};
pub use error::Error;
pub use peers::Peers;
pub use server::{Server, ServerOptions, incoming};

use rustls::crypto::{CryptoProvider, ring};
use std::sync::Arc;

/// What gRPC over HTTP/2 is called in a handshake.
const HTTP2: &[u8] = b"h2";

/// The cryptography of both ends. It is named here because a process may hold several.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
