//! What a node of a cluster knows for good, once it is one.

use chronos_core::catalog::{ClusterCommand, ClusterInfo, Found, NodeInfo};
use chronos_core::types::NodeId;
use chronos_raft::First;
use std::collections::BTreeSet;

/// The cluster a node belongs to, and as whom. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The cluster's random identity.
    pub cluster_id: u128,
    /// This node's number.
    pub me: NodeId,
    /// How many partitions the cluster has.
    pub partitions: u32,
    /// On how many nodes a partition is, as far as there are so many.
    pub replication_factor: u32,
    /// The nodes that founded the cluster, with the addresses they had then, if this is one of them.
    pub founding: Option<Vec<(NodeId, NodeInfo)>>,
    /// Who voted in the catalog when the cluster was founded. Empty if this node came later.
    pub voters: BTreeSet<NodeId>,
}

impl Membership {
    /// How this node opens the catalog's group if that is new to it.
    ///
    /// All voters may open at once: a leader needs a majority of them, and there is one set, because a
    /// node is a member only of a founding that holds.
    pub fn first(&self) -> First {
        match self.voters.contains(&self.me) {
            true => First::Voters(self.voters.clone()),
            false => First::Wait,
        }
    }

    /// The catalog's first command, which its leader proposes when the catalog knows no cluster yet.
    /// Proposing it again changes nothing. `None` if this node came later.
    pub fn found_command(&self, now_ms: i64) -> Option<ClusterCommand> {
        let nodes = self.founding.clone()?;
        Some(ClusterCommand::Found(Found::new(
            self.info(),
            nodes,
            now_ms,
        )))
    }

    /// What was decided when the cluster was founded.
    pub fn info(&self) -> ClusterInfo {
        ClusterInfo {
            id: self.cluster_id,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
        }
    }
}
