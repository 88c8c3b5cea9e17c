//! Carrying out one step of a plan on a group that this node leads.
//!
//! A plan was made from what was known a moment ago. So a step that changes voters or the leader names
//! what it was made for, and is refused when that is no longer so.

use crate::engine::Engine;
use chronos_core::catalog;
use chronos_core::placement::{Limits, Step};
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_proto::chronos_internal::{SetVoters, SteerRequest, TransferLead, steer_request};
use chronos_raft::{ChangeError, Group, Machine, TransferError};
use std::collections::BTreeSet;
use std::time::Duration;

/// A member that answered nothing for this long does not count when voters change.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// One step, for the leader of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Send the log to a node that does not vote.
    AddLearner(NodeId),
    /// Change the voters.
    SetVoters {
        /// The voters that the plan knew.
        from: BTreeSet<NodeId>,
        /// The voters to be.
        to: BTreeSet<NodeId>,
        /// Whether those that lose their vote stay as members.
        keep: bool,
    },
    /// A learner leaves.
    Remove(NodeId),
    /// Another voter is to lead.
    TransferLead {
        /// The leader that the plan knew.
        from: NodeId,
        /// The leader to be.
        to: NodeId,
    },
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The group is not on this node.
    #[error("group {0} is not on this node")]
    NotHere(PartitionNumber),
    /// The plan was made for another state of the group.
    #[error("the group has changed since the plan was made")]
    Outdated,
    /// The group could stand still after it.
    #[error("most of the new voters do not answer, or are far behind")]
    NotReady,
    /// The members did not change.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The lead did not change.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl Order {
    /// The group that a step of a plan is about, and what is asked of it; `None` for a command of the
    /// catalog.
    pub fn of(step: &Step) -> Option<(PartitionNumber, Self)> {
        Some(match step.clone() {
            Step::AddLearner { partition, node } => (partition, Order::AddLearner(node)),
            Step::SetVoters {
                partition,
                from,
                to,
            } => {
                let keep = false;
                (partition, Order::SetVoters { from, to, keep })
            }
            Step::RemoveReplica { partition, node } => (partition, Order::Remove(node)),
            Step::TransferLead {
                partition,
                from,
                to,
            } => (partition, Order::TransferLead { from, to }),
            Step::SetCatalogVoters { from, to } => {
                let keep = true;
                (catalog::NUMBER, Order::SetVoters { from, to, keep })
            }
            Step::BeginChange(_) | Step::FinishChange { .. } | Step::AbortChange { .. } => {
                return None;
            }
        })
    }

    /// As it travels.
    pub fn encode(self, group: PartitionNumber) -> SteerRequest {
        use steer_request::Step as Wire;
        let step = match self {
            Order::AddLearner(node) => Wire::AddLearner(node),
            Order::SetVoters { from, to, keep } => Wire::SetVoters(SetVoters {
                from: from.into_iter().collect(),
                to: to.into_iter().collect(),
                keep,
            }),
            Order::Remove(node) => Wire::Remove(node),
            Order::TransferLead { from, to } => Wire::TransferLead(TransferLead { from, to }),
        };
        SteerRequest {
            group,
            step: Some(step),
        }
    }

    /// Reads what [`Order::encode`] made.
    pub fn decode(request: SteerRequest) -> Option<(PartitionNumber, Self)> {
        use steer_request::Step as Wire;
        let order = match request.step? {
            Wire::AddLearner(node) => Order::AddLearner(node),
            Wire::SetVoters(SetVoters { from, to, keep }) => Order::SetVoters {
                from: from.into_iter().collect(),
                to: to.into_iter().collect(),
                keep,
            },
            Wire::Remove(node) => Order::Remove(node),
            Wire::TransferLead(TransferLead { from, to }) => Order::TransferLead { from, to },
        };
        Some((request.group, order))
    }

    /// Takes the step.
    ///
    /// # Errors
    /// See [`SteerError`].
    pub async fn carry_out(
        self,
        engine: &Engine,
        group: PartitionNumber,
    ) -> Result<(), SteerError> {
        tracing::info!(group, order = ?self, "changing a group");
        if group == catalog::NUMBER {
            return self.on(engine, group, engine.catalog_group()).await;
        }
        let replica = engine.replicas().get(group);
        let replica = replica.ok_or(SteerError::NotHere(group))?;
        self.on(engine, group, &replica.handle.raft).await
    }

    async fn on<M: Machine>(
        self,
        engine: &Engine,
        number: PartitionNumber,
        group: &Group<M>,
    ) -> Result<(), SteerError> {
        let me = engine.me();
        match self {
            Order::AddLearner(node) => group.add_learner(node).await?,
            Order::Remove(node) => {
                if group.members().voters.contains(&node) {
                    return Err(SteerError::Outdated);
                }
                group.remove(node).await?;
            }
            Order::SetVoters { from, to, keep } => {
                let members = group.members();
                let present = members.old_voters.as_ref().unwrap_or(&members.voters);
                if *present != from {
                    return Err(SteerError::Outdated);
                }
                if !is_ready(group, me, &to) {
                    return Err(SteerError::NotReady);
                }
                group.set_voters(to.clone()).await?;
                if !keep {
                    for node in from.difference(&to) {
                        group.remove(*node).await?;
                    }
                }
            }
            Order::TransferLead { from, to } => {
                if from != me || !group.leadership().get().leads {
                    return Err(SteerError::Outdated);
                }
                engine.hand_lead(number, to).await?;
            }
        }
        Ok(())
    }
}

/// Whether most of these nodes answer and are not far behind.
fn is_ready<M: Machine>(group: &Group<M>, me: NodeId, voters: &BTreeSet<NodeId>) -> bool {
    let Some(replication) = group.replication() else {
        return false;
    };
    let last = group.status().last_index.unwrap_or(0);
    let behind = Limits::default().caught_up_entries;
    let is_ready = |node: &&NodeId| {
        **node == me
            || replication.get(node).is_some_and(|peer| {
                peer.heard_ago.is_some_and(|ago| ago < HEARD_WITHIN)
                    && peer.matched_index.unwrap_or(0).saturating_add(behind) >= last
            })
    };
    voters.iter().filter(is_ready).count() > voters.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_round_trip() {
        for order in [
            Order::AddLearner(3),
            Order::Remove(4),
            Order::SetVoters {
                from: [1, 2].into(),
                to: [1, 2, 3].into(),
                keep: true,
            },
            Order::TransferLead { from: 1, to: 2 },
        ] {
            let decoded = Order::decode(order.clone().encode(5));
            assert_eq!(decoded, Some((5, order)));
        }
        assert_eq!(Order::decode(SteerRequest::default()), None);
    }
}
