//! The connections to the other nodes: one for each, shared by all groups.

use super::endpoint::Dialer;
use super::link::Link;
use bytes::Bytes;
use chronos_raft::{Request, Transport, Unreachable};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// Largest message between nodes, bytes: some entries of the largest size.
pub const MOST_MESSAGE_BYTES: usize = 64 << 20;

/// Where the other nodes are, and the way to them for Raft. Everything else goes by [`Routes`], so
/// that large answers do not hold heartbeats up.
///
/// [`Routes`]: super::routes::Routes
#[derive(Default)]
pub struct Peers {
    dialer: Dialer,
    links: RwLock<BTreeMap<u64, Link>>,
}

impl Peers {
    /// Knows nobody yet, and connects without TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows nobody yet.
    pub fn over(dialer: Dialer) -> Self {
        Self {
            dialer,
            ..Self::default()
        }
    }

    /// Takes note of where a node is. A node that moved gets a new connection; what was under way to
    /// its old address fails when that does.
    pub fn locate(&self, node: u64, address: &str) {
        let mut links = self.links.write();
        if links
            .get(&node)
            .is_none_or(|link| link.address() != address)
        {
            links.insert(node, Link::new(self.dialer.clone(), address));
        }
    }

    /// Whether it is known where a node is, or was.
    pub fn knows(&self, node: u64) -> bool {
        self.links.read().contains_key(&node)
    }

    /// Forgets a node that was removed.
    pub fn forget(&self, node: u64) {
        self.links.write().remove(&node);
    }
}

impl Transport for Peers {
    fn call(
        &self,
        target: u64,
        group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        match self.links.read().get(&target) {
            Some(link) => link.call(group, request).boxed(),
            None => {
                let error = Unreachable(format!("it is not known where node {target} is"));
                future::ready(Err(error)).boxed()
            }
        }
    }
}
