//! Copying the partition to a node whose log is too far behind, or empty: `give.rs` on the leader, the
//! network between, `take.rs` on the node that is behind.

use super::give::{GiveError, Giving};
use super::take::{TakeError, Taking};
use super::{Node, Process};
use crate::network::{Endpoint, Fate};
use crate::world::World;
use chronos_raft::SeedWanted;
use std::sync::Arc;
use std::time::Duration;

/// How long a node waits for the next part.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a copy broke off. It begins again.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The giver's side.
    #[error("the giver: {0}")]
    Give(#[from] GiveError),
    /// The taker's side.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The giver or the network.
    #[error("a part did not come")]
    Lost,
    /// The node.
    #[error("the node was killed")]
    Killed,
}

/// Closes a node's process and copies what a leader has.
pub async fn copy(
    world: &Arc<World>,
    node: &Node,
    process: &Arc<Process>,
    wanted: SeedWanted,
) -> Result<(), CopyError> {
    let giver = world.node(wanted.leader).and_then(|node| node.process());
    let giver = giver.ok_or(CopyError::Lost)?;
    process.resumed().await;
    process.group.shutdown().await;
    if !node.is_running(process) {
        return Err(CopyError::Killed);
    }
    node.kill();
    let ends = node.ends();
    let (mut giving, begin) = Giving::begin(&giver).await?;
    let mut taking = Taking::begin(world, &node.disk, node.store(), wanted.leader)?;
    let mut part = begin;
    loop {
        travel(world, &giver, node).await?;
        if node.ends() != ends {
            return Err(CopyError::Killed);
        }
        if taking.add(part)? {
            return Ok(());
        }
        part = giving.next()?;
    }
}

/// A part is on its way.
async fn travel(world: &World, giver: &Arc<Process>, node: &Node) -> Result<(), CopyError> {
    giver.resumed().await;
    let (from, to) = (Endpoint::Node(giver.node), Endpoint::Node(node.number));
    let lives = world
        .node(giver.node)
        .is_some_and(|node| node.is_running(giver));
    match world.network.send(from, to, false) {
        Fate::Arrives { after, .. } if lives => {
            tokio::time::sleep(after).await;
            Ok(())
        }
        _ => {
            tokio::time::sleep(PATIENCE).await;
            Err(CopyError::Lost)
        }
    }
}
