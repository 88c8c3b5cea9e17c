//! How the replicas of this node are part of groups over several nodes.

use super::changing::CatalogLeader;
use super::copy::Source;
use crate::cluster::exchange::Served;
use chronos_core::types::NodeId;
use chronos_raft::{First, NoTransport, Transport};
use std::sync::Arc;

/// The number of a node that stands alone.
const ALONE: NodeId = 1;

/// What an engine knows of other nodes.
#[derive(Clone)]
pub struct Network {
    /// This node's number in every group.
    pub me: NodeId,
    /// How many partitions there are.
    pub partitions: u32,
    /// What the catalog's group is if its log is empty.
    pub catalog: First,
    /// The way to the other nodes. `None` on a node that stands alone: it has every partition, and
    /// nobody places them.
    pub peers: Option<Peers>,
}

/// The way to other nodes.
#[derive(Clone)]
pub struct Peers {
    /// For the groups' requests.
    pub transport: Arc<dyn Transport>,
    /// The groups that answer requests of others.
    pub served: Arc<Served>,
    /// Where a replica that is far behind is copied from.
    pub source: Arc<dyn Source>,
    /// For changes of the catalog.
    pub catalog: Arc<dyn CatalogLeader>,
}

impl Network {
    /// A node that stands alone.
    pub fn alone(partitions: u32) -> Self {
        Self {
            me: ALONE,
            partitions,
            catalog: First::only(ALONE),
            peers: None,
        }
    }

    /// Whether there are no other nodes, and never will be.
    pub fn is_alone(&self) -> bool {
        self.peers.is_none()
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        match &self.peers {
            None => Arc::new(NoTransport),
            Some(peers) => Arc::clone(&peers.transport),
        }
    }
}
