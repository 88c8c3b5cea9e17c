//! The connections to the other nodes: one for each, shared by all groups.

use super::link::Link;
use bytes::Bytes;
use chronos_raft::{Request, Transport, Unreachable};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Largest message between nodes, bytes: some entries of the largest size.
pub const MOST_MESSAGE_BYTES: usize = 64 << 20;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer is asked whether it is there this often, and has as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Bytes the peer may send on one call before this side has read them.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes the peer may send on all calls before this side has read them.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where the other nodes are, and the way to them.
#[derive(Default)]
pub struct Peers(RwLock<BTreeMap<u64, Peer>>);

struct Peer {
    /// For Raft.
    link: Link,
    /// For everything else, so that large answers do not hold heartbeats up.
    channel: Channel,
}

impl Peer {
    fn new(address: &str) -> Option<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Some(Self {
            link: Link::new(address),
            channel,
        })
    }
}

impl Peers {
    /// Knows nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of where a node is. A node that moved gets a new connection; what was under way to
    /// its old address fails when that does.
    pub fn locate(&self, node: u64, address: &str) {
        let mut links = self.0.write();
        if (links.get(&node)).is_some_and(|peer| peer.link.address() == address) {
            return;
        }
        match Peer::new(address) {
            Some(peer) => drop(links.insert(node, peer)),
            None => tracing::warn!(node, address, "the address of a node is not one"),
        }
    }

    /// The way to a node for calls other than Raft's; `None` when it is not known where it is.
    pub fn channel(&self, node: u64) -> Option<Channel> {
        self.0.read().get(&node).map(|peer| peer.channel.clone())
    }

    /// Whether it is known where a node is, or was.
    pub fn knows(&self, node: u64) -> bool {
        self.0.read().contains_key(&node)
    }

    /// Forgets a node that was removed.
    pub fn forget(&self, node: u64) {
        self.0.write().remove(&node);
    }
}

impl Transport for Peers {
    fn call(
        &self,
        target: u64,
        group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        match self.0.read().get(&target) {
            Some(peer) => peer.link.call(group, request).boxed(),
            None => {
                let error = Unreachable(format!("it is not known where node {target} is"));
                future::ready(Err(error)).boxed()
            }
        }
    }
}
