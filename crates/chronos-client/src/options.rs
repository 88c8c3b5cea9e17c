//! How a client connects.

use std::time::Duration;

use crate::{RetryPolicy, Tls};

/// Where and how to connect. The HTTP/2 settings are fixed: they suit the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes to ask first, in this order; one that answers is enough.
    pub addresses: Vec<String>,
    /// How to connect with TLS; `None`: without. It holds for every node, those among them whose
    /// addresses the nodes tell.
    pub tls: Option<Tls>,
    /// Connections to every node. More than one pays above some 100 MB/s.
    pub connections_per_node: usize,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the answer to one try of one request. Streams have no limit.
    pub request_timeout: Duration,
    /// How often to try again.
    pub retry: RetryPolicy,
    /// Whether calls go straight to the leaders that the nodes name. Without, only `addresses` are
    /// called, and the nodes pass calls on: for a port-forward, behind which no other node can be
    /// reached.
    pub direct: bool,
}

impl Options {
    /// Options for these addresses (`host:port`, `:port`, `http://host:port`), without TLS, with one
    /// connection per node, 5 s to connect and 10 s per request, and calls that go to leaders.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            tls: None,
            connections_per_node: 1,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            direct: true,
        }
    }
}
