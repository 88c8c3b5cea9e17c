//! Giving up every lead before a node stops, so that nobody waits for an election.

use crate::engine::Engine;
use chronos_core::catalog;
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_raft::{Group, Machine};
use futures::future::join_all;
use std::time::Duration;

/// How long it may take in all. What is still led then is left to elections.
const LIMIT: Duration = Duration::from_secs(5);
/// An heir answered within this time.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// Hands every lead to the voter that is furthest.
pub async fn hand_over(engine: &Engine) {
    let replicas = engine.replicas().all();
    let partitions = replicas.iter().map(|replica| {
        let handle = &replica.handle;
        one(engine, handle.number, heir(&handle.raft))
    });
    let all = async {
        // The catalog last: it says where the rest is.
        let handed = join_all(partitions).await;
        let handed = handed.into_iter().filter(|handed| *handed).count();
        handed + usize::from(one(engine, catalog::NUMBER, heir(engine.catalog_group())).await)
    };
    match tokio::time::timeout(LIMIT, all).await {
        Ok(0) => {}
        Ok(handed) => tracing::info!(handed, "other nodes lead now"),
        Err(_) => tracing::warn!("some leads were not handed over in time"),
    }
}

async fn one(engine: &Engine, group: PartitionNumber, heir: Option<NodeId>) -> bool {
    match heir {
        Some(heir) => engine.hand_lead(group, heir).await.is_ok(),
        None => false,
    }
}

/// The voter that is furthest, of a group that this node leads.
fn heir<M: Machine>(group: &Group<M>) -> Option<NodeId> {
    if !group.leadership().get().leads {
        return None;
    }
    let voters = group.members().voters;
    let heirs = group.replication()?.into_iter().filter(|(node, peer)| {
        voters.contains(node) && peer.heard_ago.is_some_and(|ago| ago < HEARD_WITHIN)
    });
    let furthest = heirs.max_by_key(|(_, peer)| peer.matched_index);
    furthest.map(|(node, _)| node)
}
