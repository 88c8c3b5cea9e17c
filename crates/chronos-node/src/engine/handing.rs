//! Giving a lead to another node on purpose.
//!
//! What is under way ends first: whoever waits for an answer then gets a certain one, and the node that
//! takes over has nothing to find out about.

use super::Engine;
use super::message::Message;
use chronos_core::catalog;
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_raft::{Group, Machine, TransferError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A leader proposes nothing for so long at the most, while another node takes over.
pub(super) const REST: Duration = Duration::from_millis(400);
/// What is under way ends within this, or is left to the next leader.
const ENDS_WITHIN: Duration = Duration::from_millis(200);

impl Engine {
    /// Lets another node lead a partition, or the catalog.
    ///
    /// # Errors
    /// See [`TransferError`]; with a partition that is not on this node as with one led by another.
    pub async fn hand_lead(&self, group: PartitionNumber, to: NodeId) -> Result<(), TransferError> {
        if group == catalog::NUMBER {
            return self.hand(self.catalog_group(), to).await;
        }
        let Some(replica) = self.replicas().get(group) else {
            return Err(TransferError::NotLeader { leader: None });
        };
        let (reply, rests) = oneshot::channel();
        if replica.handle.send(Message::Rest(reply)).await.is_ok() {
            let _ = tokio::time::timeout(ENDS_WITHIN, rests).await;
        }
        self.hand(&replica.handle.raft, to).await
    }

    async fn hand<M: Machine>(&self, group: &Group<M>, to: NodeId) -> Result<(), TransferError> {
        group.transfer_lead(to).await?;
        self.opening.metrics.cluster.leads_handed_over.inc();
        Ok(())
    }
}
