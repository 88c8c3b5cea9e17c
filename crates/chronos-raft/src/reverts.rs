//! Peers that may come back without entries that they had acknowledged.
//!
//! A peer that is told to get a copy throws its log away first, and a copy may break off. The leader has
//! to know, or it would go on from where that log ended.

use std::sync::Weak;

use tokio::sync::mpsc;

use crate::group::Inner;
use crate::machine::Machine;

/// Says whether a peer may.
pub(crate) type Reverts = mpsc::UnboundedSender<(u64, bool)>;

/// Tells openraft what peers may, until the group is gone.
pub(crate) async fn run<M: Machine>(
    group: Weak<Inner<M>>,
    mut reverts: mpsc::UnboundedReceiver<(u64, bool)>,
) {
    while let Some((peer, may)) = reverts.recv().await {
        let Some(raft) = group.upgrade().map(|group| group.raft.clone()) else {
            return;
        };
        // Refused when this node leads no more, and then it is of no concern.
        let _ = raft.trigger().allow_next_revert(&peer, may).await;
    }
}
