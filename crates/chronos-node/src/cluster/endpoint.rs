//! How this node connects to others, whatever for.

use std::time::Duration;
use tonic::transport::{Endpoint, Error};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A node is asked whether it is there this often while nothing is heard of it, and has as long again
/// to answer: one that is frozen is noticed by that.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The internal listener at `address` (host and port). The other side may send `stream` bytes on one call,
/// and `connection` bytes on all of them, before this side has read them.
///
/// # Errors
/// The address is none.
pub(super) fn endpoint(address: &str, stream: u32, connection: u32) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}
