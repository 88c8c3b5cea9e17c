//! Connections, by node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::{Error, Options, endpoint_uri};

/// Per-stream receive window, bytes.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Per-connection receive window, bytes.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One lazily connected set of channels per node. A channel reconnects by itself.
pub(crate) struct Nodes {
    bootstrap: Vec<http::Uri>,
    tls: Option<chronos_tls::Client>,
    connect_timeout: Duration,
    connections_per_node: usize,
    /// Counts failures: which bootstrap address is asked next.
    preferred: AtomicUsize,
    next: AtomicUsize,
    channels: Mutex<HashMap<http::Uri, Vec<Channel>>>,
}

impl Nodes {
    /// Must be called within a runtime.
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let bootstrap = options
            .addresses
            .iter()
            .map(|address| endpoint_uri(address))
            .collect::<Result<Vec<_>, _>>()?;
        if bootstrap.is_empty() {
            return Err(Error::NoAddress);
        }
        let tls = options.tls.clone().map(chronos_tls::Client::load);
        Ok(Self {
            bootstrap,
            tls: tls.transpose()?,
            connect_timeout: options.connect_timeout,
            connections_per_node: options.connections_per_node.max(1),
            preferred: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            channels: Mutex::default(),
        })
    }

    /// A bootstrap node.
    pub(crate) fn any(&self) -> &http::Uri {
        let index = self.preferred.load(Ordering::Relaxed) % self.bootstrap.len();
        &self.bootstrap[index]
    }

    /// Makes [`Self::any`] take the next bootstrap address.
    pub(crate) fn distrust(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    /// A channel to one node, in turn over its connections. Must be called within a runtime.
    pub(crate) fn channel(&self, node: &http::Uri) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channels = channels.entry(node.clone()).or_insert_with(|| {
            (0..self.connections_per_node)
                .map(|_| self.connect_lazy(node))
                .collect()
        });
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        channels[turn % channels.len()].clone()
    }

    fn connect_lazy(&self, node: &http::Uri) -> Channel {
        match &self.tls {
            None => self.endpoint(node.clone()).connect_lazy(),
            Some(tls) => self
                .endpoint(secured(node))
                .connect_with_connector_lazy(tls.connector()),
        }
    }

    fn endpoint(&self, node: http::Uri) -> Endpoint {
        Endpoint::from(node)
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
    }
}

/// The same node with TLS.
fn secured(node: &http::Uri) -> http::Uri {
    let mut parts = node.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    // Only the scheme differs from what was a URI.
    http::Uri::from_parts(parts).unwrap_or_else(|_| node.clone())
}
