//! Who leads which partition, and the way to the nodes that do.
//!
//! The table is told by whoever knows: this node's own replicas, and what other nodes say. A newer term
//! always wins, so it does not matter in which order the news arrive.

use super::endpoint::Dialer;
use chronos_core::catalog::NodeInfo;
use chronos_core::types::{NodeId, PartitionNumber};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::transport::{Channel, Error};

/// Bytes the node may send on one stream before this side has read them. Each subscription has a
/// stream of its own.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes the node may send on the connection before this side has read them.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// Another node, and a connection to it.
#[derive(Debug)]
pub struct Peer {
    /// Its number.
    pub node: NodeId,
    /// Its name, as its operator chose it.
    pub name: String,
    /// Where clients reach it.
    pub grpc_addr: String,
    /// Where other nodes reach it.
    pub cluster_addr: String,
    channel: Channel,
}

impl Peer {
    fn new(dialer: &Dialer, node: NodeId, info: &NodeInfo) -> Result<Self, Error> {
        let endpoint = dialer.watchful(&info.cluster_addr, STREAM_WINDOW, CONNECTION_WINDOW)?;
        Ok(Self {
            node,
            name: info.name.clone(),
            grpc_addr: info.grpc_addr.clone(),
            cluster_addr: info.cluster_addr.clone(),
            channel: dialer.connect_lazy(&endpoint),
        })
    }

    /// The connection to its internal listener. It is made when it is first used, and again after it
    /// broke.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn is(&self, info: &NodeInfo) -> bool {
        self.name == info.name
            && self.grpc_addr == info.grpc_addr
            && self.cluster_addr == info.cluster_addr
    }
}

/// Where a partition is led.
#[derive(Debug, Clone)]
pub enum Route {
    /// On this node.
    Here,
    /// On this one.
    There(Arc<Peer>),
    /// Nobody leads it as far as this node knows, or it is not known where the leader is.
    Unknown,
}

/// The leader of a partition in a term, if the term has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The term.
    pub term: u64,
    /// Its leader, as far as it is known.
    pub leader: Option<NodeId>,
}

/// Who leads what.
#[derive(Debug)]
pub struct Routes {
    /// This node; `None` for one without a cluster, which leads everything.
    me: Option<NodeId>,
    dialer: Dialer,
    known: RwLock<Known>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    nodes: BTreeMap<NodeId, Arc<Peer>>,
    leads: BTreeMap<PartitionNumber, Lead>,
}

impl Routes {
    /// Of a node without a cluster: everything is here.
    pub fn alone() -> Self {
        Self::of(None, Dialer::default())
    }

    /// Of a node in a cluster without TLS between nodes. Nothing is known yet.
    pub fn new(me: NodeId) -> Self {
        Self::over(me, Dialer::default())
    }

    /// Of a node in a cluster. Nothing is known yet.
    pub fn over(me: NodeId, dialer: Dialer) -> Self {
        Self::of(Some(me), dialer)
    }

    fn of(me: Option<NodeId>, dialer: Dialer) -> Self {
        Self {
            me,
            dialer,
            known: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Whether this node has no cluster.
    pub fn is_alone(&self) -> bool {
        self.me.is_none()
    }

    /// Takes note of a node. One that changed gets a new connection; what is under way on the old one
    /// goes on. Has to be called on a runtime, which drives the connection.
    ///
    /// # Errors
    /// The cluster address is none.
    pub fn locate(&self, node: NodeId, info: &NodeInfo) -> Result<(), Error> {
        let is_known = |known: &Known| known.nodes.get(&node).is_some_and(|peer| peer.is(info));
        if is_known(&self.known.read()) {
            return Ok(());
        }
        let peer = Arc::new(Peer::new(&self.dialer, node, info)?);
        self.known.write().nodes.insert(node, peer);
        self.tell();
        Ok(())
    }

    /// Forgets a node that was removed.
    pub fn forget(&self, node: NodeId) {
        if self.known.write().nodes.remove(&node).is_some() {
            self.tell();
        }
    }

    /// A node that is known, this one included.
    pub fn node(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.known.read().nodes.get(&node).cloned()
    }

    /// This node, once it is located.
    pub fn this_node(&self) -> Option<Arc<Peer>> {
        self.node(self.me?)
    }

    /// The nodes that are known, in the order of their numbers.
    pub fn nodes(&self) -> Vec<Arc<Peer>> {
        self.known.read().nodes.values().cloned().collect()
    }

    /// Takes note of who leads a partition in a term; `None` when the term has no leader yet. Tells
    /// whether that was news.
    pub fn learn(&self, partition: PartitionNumber, term: u64, leader: Option<NodeId>) -> bool {
        let told = Lead { term, leader };
        {
            let mut known = self.known.write();
            let is_news = match known.leads.get(&partition) {
                None => true,
                Some(lead) if term == lead.term => lead.leader.is_none() && leader.is_some(),
                Some(lead) => term > lead.term,
            };
            if !is_news {
                return false;
            }
            known.leads.insert(partition, told);
        }
        self.tell();
        true
    }

    /// All that is known of who leads, to tell others.
    pub fn table(&self) -> BTreeMap<PartitionNumber, Lead> {
        self.known.read().leads.clone()
    }

    /// Where a partition is led.
    pub fn route(&self, partition: PartitionNumber) -> Route {
        let Some(me) = self.me else {
            return Route::Here;
        };
        let known = self.known.read();
        match known.leads.get(&partition).and_then(|lead| lead.leader) {
            Some(leader) if leader == me => Route::Here,
            Some(leader) => match known.nodes.get(&leader) {
                Some(peer) => Route::There(Arc::clone(peer)),
                None => Route::Unknown,
            },
            None => Route::Unknown,
        }
    }

    /// The name of the node that leads a partition, if it is known.
    pub fn leader_name(&self, partition: PartitionNumber) -> Option<String> {
        let known = self.known.read();
        let leader = known.leads.get(&partition)?.leader?;
        known.nodes.get(&leader).map(|peer| peer.name.clone())
    }

    /// Changes with the table, and when nodes come, move or go.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, port: u16) -> NodeInfo {
        NodeInfo {
            name: name.into(),
            grpc_addr: format!("127.0.0.1:{port}"),
            cluster_addr: format!("127.0.0.1:{}", port + 1),
            ..NodeInfo::default()
        }
    }

    fn leader(routes: &Routes, partition: PartitionNumber) -> String {
        match routes.route(partition) {
            Route::Here => "here".into(),
            Route::There(peer) => peer.name.clone(),
            Route::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn a_node_alone_leads_everything() {
        let routes = Routes::alone();
        assert!(routes.is_alone());
        assert_eq!(leader(&routes, 7), "here");
    }

    #[tokio::test]
    async fn the_newer_term_wins_and_within_a_term_a_leader() {
        let routes = Routes::new(1);
        routes.locate(2, &info("b", 10)).unwrap();
        assert_eq!(leader(&routes, 0), "unknown");
        assert!(routes.learn(0, 3, None));
        assert!(!routes.learn(0, 3, None));
        assert_eq!(leader(&routes, 0), "unknown");
        assert!(routes.learn(0, 3, Some(2)));
        assert_eq!(leader(&routes, 0), "b");
        for (term, other) in [(3, None), (2, Some(1)), (3, Some(1)), (3, Some(2))] {
            assert!(!routes.learn(0, term, other), "{term} {other:?}");
        }
        assert_eq!(leader(&routes, 0), "b");
        assert!(routes.learn(0, 4, Some(1)));
        assert_eq!(leader(&routes, 0), "here");
        assert!(routes.learn(0, 5, None));
        assert_eq!(leader(&routes, 0), "unknown");
        let lead = Lead {
            term: 5,
            leader: None,
        };
        assert_eq!(routes.table(), BTreeMap::from([(0, lead)]));
    }

    #[tokio::test]
    async fn a_leader_that_is_nowhere_is_unknown_until_it_is_located() {
        let routes = Routes::new(1);
        let mut changed = routes.changed();
        assert!(routes.learn(4, 1, Some(9)));
        assert_eq!(leader(&routes, 4), "unknown");
        routes.locate(9, &info("i", 20)).unwrap();
        assert_eq!(leader(&routes, 4), "i");
        assert_eq!(routes.leader_name(4).as_deref(), Some("i"));
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        routes.locate(9, &info("i", 20)).unwrap();
        routes.learn(4, 1, Some(9));
        assert!(!changed.has_changed().unwrap());
        routes.locate(9, &info("i", 30)).unwrap();
        assert!(changed.has_changed().unwrap());
        assert_eq!(routes.node(9).unwrap().grpc_addr, "127.0.0.1:30");
        routes.forget(9);
        assert_eq!(leader(&routes, 4), "unknown");
        assert!(routes.locate(9, &info("a b", 0)).is_ok());
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused() {
        let nowhere = NodeInfo {
            cluster_addr: "not an address".into(),
            ..info("a", 1)
        };
        assert!(Routes::new(1).locate(2, &nowhere).is_err());
    }
}
