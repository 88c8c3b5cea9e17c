//! Changing the catalog: by its leader, whichever node was asked.

use super::{Engine, Refused};
use bytes::Bytes;
use chronos_core::catalog::{self, Outcome};
use chronos_core::types::NodeId;
use chronos_raft::ProposeError;
use futures::future::BoxFuture;
use std::time::Duration;

/// How long a change waits for a leader, and for being applied.
const LIMIT: Duration = Duration::from_secs(5);

/// A change that the catalog's leader made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// What came of it.
    pub outcome: Outcome,
    /// A log index of the catalog at which it is applied.
    pub index: u64,
}

/// The way to the catalog's leader on another node.
pub trait CatalogLeader: Send + Sync {
    /// Has `leader` make a change. [`Refused::NoCatalog`] says that it surely was not made.
    fn change(&self, leader: NodeId, command: Bytes) -> BoxFuture<'static, Result<Made, Refused>>;
}

impl Engine {
    /// Changes the catalog; returns when the change is durable and applied here.
    pub async fn change_catalog(&self, command: &catalog::Command) -> Result<Outcome, Refused> {
        let command: Bytes = command.encode().into();
        let deadline = tokio::time::Instant::now() + LIMIT;
        let mut leadership = self.catalog_raft.leadership();
        loop {
            // Seen before the attempt, so that a change during it is noticed.
            let lead = leadership.get();
            let made = match (lead.leader, &self.opening.network.peers) {
                (Some(leader), Some(peers)) if leader != self.opening.network.me => {
                    peers.catalog.change(leader, command.clone()).await
                }
                _ => self.change_catalog_here(command.clone()).await,
            };
            match made {
                Ok(made) => {
                    self.wait_for_catalog(made.index).await;
                    return Ok(made.outcome);
                }
                Err(Refused::NoCatalog) => {}
                Err(refused) => return Err(refused),
            }
            let changed = tokio::time::timeout_at(deadline, leadership.changed());
            match changed.await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Refused::Stopping(catalog::NUMBER)),
                Err(_) => return Err(Refused::NoCatalog),
            }
        }
    }

    /// Changes the catalog if this node leads it.
    pub async fn change_catalog_here(&self, command: Bytes) -> Result<Made, Refused> {
        let proposed = self.catalog_raft.propose(command);
        let outcome = match tokio::time::timeout(LIMIT, proposed).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(ProposeError::NotLeader { .. })) => return Err(Refused::NoCatalog),
            Ok(Err(ProposeError::Stopped(_))) => return Err(Refused::Stopping(catalog::NUMBER)),
            Ok(Err(ProposeError::Unknown)) | Err(_) => {
                return Err(Refused::Unknown(catalog::NUMBER));
            }
        };
        let index = *self.catalog_applied.borrow();
        Ok(Made { outcome, index })
    }

    /// What was changed elsewhere is seen here too, unless this node is far behind.
    async fn wait_for_catalog(&self, index: u64) {
        let mut applied = self.catalog_applied();
        let _ = tokio::time::timeout(LIMIT, applied.wait_for(|applied| *applied >= index)).await;
    }
}
