//! Giving up the log's beginning: what peers may no longer ask for, and the segments that hold nothing
//! that anyone needs.

use super::process::Process;
use super::read::PARTITION;
use crate::random::Random;
use crate::world::World;
use chronos_core::mutant;
use chronos_core::partition::live::{Keep, visit_places};
use chronos_core::store::StoreError;
use std::ops::ControlFlow;

/// A peer may be so many entries behind what is given up, at most, without being copied.
const MOST_KEPT: u64 = 40;

/// Why nothing is given up.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] chronos_wal::Error),
    /// The group.
    #[error("the group stopped")]
    Stopped,
}

/// Gives up what a durable checkpoint covers up to entry `covered`.
pub async fn purge(
    world: &World,
    process: &Process,
    covered: u64,
    random: &mut Random,
) -> Result<(), PurgeError> {
    let _purging = process.purging.lock().await;
    let Some(upto) = covered.checked_sub(random.below(MOST_KEPT)) else {
        return Ok(());
    };
    let purged = process.group.purge(upto).await;
    purged.map_err(|_| PurgeError::Stopped)?;
    let below = needed_from(world, process)?.min(upto + 1);
    let before = process.wal.first_index();
    process.wal.remove_segments_below(below)?;
    world.say(
        process,
        format_args!(
            "gives up entries up to {upto}, its log began at {before:?} and begins at {:?}",
            process.wal.first_index()
        ),
    );
    Ok(())
}

/// The first entry with an event that somebody may still need. Before all groups are there, who needs
/// what is not known.
fn needed_from(world: &World, process: &Process) -> Result<u64, StoreError> {
    let view = {
        let partition = process.partition.lock();
        if (partition.groups().len() as u64) < world.plan.groups {
            return Ok(0);
        }
        partition.view()
    };
    let applied = view.applied_index.unwrap_or(0);
    if mutant!("purge-by-age") {
        return Ok(applied);
    }
    // Nothing that is over is kept.
    let keep = Keep::since(i64::MAX);
    let mut live = view.scan(&process.store, &keep)?;
    let changed = process.partition.lock().changed().clone();
    view.add_changed(&process.store, &keep, &changed, &mut live)?;
    let mut needed = applied;
    let offsets = 0..view.next_offset;
    visit_places(&process.store, PARTITION, offsets, &mut |batch| {
        let offsets = batch.first_offset..batch.first_offset + batch.count();
        if live.range_cardinality(offsets) > 0 {
            needed = needed.min(batch.log_index);
        }
        ControlFlow::Continue(())
    })?;
    Ok(needed)
}
