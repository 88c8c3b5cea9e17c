//! How this node connects to others, whatever for.

use chronos_tls::Client;
use std::fmt;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Error};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A node is asked whether it is there this often while nothing is heard of it, and has as long again
/// to answer: one that is frozen is noticed by that.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Connects to the internal listeners of other nodes: with TLS, or as it is by default without.
#[derive(Clone, Default)]
pub struct Dialer(Option<Client>);

impl Dialer {
    /// Connects with TLS if there is some.
    pub fn new(tls: Option<Client>) -> Self {
        Self(tls)
    }

    /// The internal listener at `address` (host and port).
    ///
    /// # Errors
    /// The address is none.
    pub(super) fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let scheme = match &self.0 {
            None => "http",
            Some(_) => "https",
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true))
    }

    /// An endpoint that notices when nothing is heard any more. The other side may send `stream` bytes on
    /// one call, and `connection` bytes on all of them, before this side has read them.
    ///
    /// # Errors
    /// The address is none.
    pub(super) fn watchful(
        &self,
        address: &str,
        stream: u32,
        connection: u32,
    ) -> Result<Endpoint, Error> {
        let endpoint = self.endpoint(address)?;
        Ok(endpoint
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true))
    }

    /// Connects now.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match &self.0 {
            None => endpoint.connect().await,
            Some(tls) => endpoint.connect_with_connector(tls.connector()).await,
        }
    }

    /// Connects when there is something to say, and again after a connection broke.
    pub(super) fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match &self.0 {
            None => endpoint.connect_lazy(),
            Some(tls) => endpoint.connect_with_connector_lazy(tls.connector()),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            None => "Dialer(TCP)",
            Some(_) => "Dialer(TLS)",
        })
    }
}
