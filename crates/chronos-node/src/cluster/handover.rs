//! Giving up every lead before a node stops, so that nobody waits for an election.

use crate::engine::Engine;
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
    let partitions = replicas.iter().map(|replica| one(&replica.handle.raft));
    let all = async {
        // The catalog last: it says where the rest is.
        let handed = join_all(partitions).await;
        let handed = handed.into_iter().filter(|handed| *handed).count();
        handed + usize::from(one(engine.catalog_group()).await)
    };
    match tokio::time::timeout(LIMIT, all).await {
        Ok(0) => {}
        Ok(handed) => tracing::info!(handed, "other nodes lead now"),
        Err(_) => tracing::warn!("some leads were not handed over in time"),
    }
}

async fn one<M: Machine>(group: &Group<M>) -> bool {
    if !group.leadership().get().leads {
        return false;
    }
    let Some(replication) = group.replication() else {
        return false;
    };
    let voters = group.members().voters;
    let heirs = (replication.into_iter())
        .filter(|(node, peer)| {
            voters.contains(node) && peer.heard_ago.is_some_and(|ago| ago < HEARD_WITHIN)
        })
        .max_by_key(|(_, peer)| peer.matched_index);
    match heirs {
        Some((heir, _)) => group.transfer_lead(heir).await.is_ok(),
        None => false,
    }
}
