//! What a plan asks for.

use crate::catalog::ClusterCommand;
use crate::catalog::placement::BeginChange;
use crate::types::{NodeId, PartitionNumber};
use std::collections::BTreeSet;

/// One thing to do. Each is safe to do twice, and to leave undone.
///
/// The catalog's own group goes by the number [`catalog::NUMBER`](crate::catalog::NUMBER).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the catalog: note a change of replicas.
    BeginChange(BeginChange),
    /// To the group's leader: send the log to a node that does not vote.
    AddLearner {
        /// The group.
        partition: PartitionNumber,
        /// The new member.
        node: NodeId,
    },
    /// To the group's leader: change the voters. It refuses when they are no longer `from`, because
    /// the plan was made for another configuration, and when most of `to` do not answer it or are
    /// far behind, because the group would stand still. Members that lose their vote leave.
    SetVoters {
        /// The partition.
        partition: PartitionNumber,
        /// The voters that the plan knew.
        from: BTreeSet<NodeId>,
        /// The voters to be.
        to: BTreeSet<NodeId>,
    },
    /// To the group's leader: a learner that does not belong to the group leaves it. What the node
    /// has of the partition goes when its catalog no longer names it.
    RemoveReplica {
        /// The group.
        partition: PartitionNumber,
        /// The learner.
        node: NodeId,
    },
    /// To the catalog: the change is done.
    FinishChange {
        /// The partition.
        partition: PartitionNumber,
        /// The epoch of its placement.
        epoch: u64,
    },
    /// To the catalog: the change is given up.
    AbortChange {
        /// The partition.
        partition: PartitionNumber,
        /// The epoch of its placement.
        epoch: u64,
    },
    /// To the group's leader: let another voter lead.
    TransferLead {
        /// The group.
        partition: PartitionNumber,
        /// The leader that the plan knew.
        from: NodeId,
        /// The leader to be.
        to: NodeId,
    },
    /// To the catalog's leader: change the voters of the catalog. As `SetVoters`, but members that
    /// lose their vote remain as learners.
    SetCatalogVoters {
        /// The voters that the plan knew.
        from: BTreeSet<NodeId>,
        /// The voters to be.
        to: BTreeSet<NodeId>,
    },
}

impl Step {
    /// The partition that it is about; `None` for the catalog's voters.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionNumber> {
        match self {
            Step::BeginChange(begin) => Some(begin.partition),
            Step::AddLearner { partition, .. }
            | Step::SetVoters { partition, .. }
            | Step::RemoveReplica { partition, .. }
            | Step::FinishChange { partition, .. }
            | Step::AbortChange { partition, .. }
            | Step::TransferLead { partition, .. } => Some(*partition),
            Step::SetCatalogVoters { .. } => None,
        }
    }

    /// The command for the catalog, if the step is one.
    #[must_use]
    pub fn command(&self) -> Option<ClusterCommand> {
        match *self {
            Step::BeginChange(begin) => Some(ClusterCommand::BeginChange(begin)),
            Step::FinishChange { partition, epoch } => {
                Some(ClusterCommand::FinishChange { partition, epoch })
            }
            Step::AbortChange { partition, epoch } => {
                Some(ClusterCommand::AbortChange { partition, epoch })
            }
            Step::AddLearner { .. }
            | Step::SetVoters { .. }
            | Step::RemoveReplica { .. }
            | Step::TransferLead { .. }
            | Step::SetCatalogVoters { .. } => None,
        }
    }
}
