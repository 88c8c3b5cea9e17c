//! A node's checkpoints, step by step, so that it can die between any two of them.

use super::process::Process;
use super::purge::purge;
use crate::random::Random;
use crate::rules::shadow;
use crate::world::World;
use chronos_core::mutant;
use chronos_core::store::Store;
use std::sync::Arc;
use std::time::Duration;

/// How many checkpoints in a hundred are preceded by a look at the whole partition. At its end a run looks
/// at every replica.
const CHECKED: u64 = 33;

/// Takes a checkpoint from time to time, and holds the partition against the log's meaning.
pub async fn run(world: Arc<World>, process: Arc<Process>) {
    let mut random = world
        .plan
        .random(&format!("checkpoints of {}", process.node));
    let every_ms = world.plan.checkpoint_ms;
    loop {
        let pause_ms = random.between(every_ms / 2, every_ms * 3 / 2);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        process.resumed().await;
        if random.percent(CHECKED) {
            shadow::check(&world, &process);
        }
        let checkpoint = {
            let mut partition = process.partition.lock();
            let (released, horizon) = (partition.scheduled().to_vec(), partition.horizon());
            partition.begin_checkpoint(&released, horizon)
        };
        let Some(checkpoint) = checkpoint else {
            continue;
        };
        // The index must never know more than the log has on disk.
        if !mutant!("checkpoint-before-log") && process.wal.sync().is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(random.below(3))).await;
        if checkpoint.write(&process.store).is_err() {
            return;
        }
        // Ids are on the disk already, and the rest now and then much later.
        let most_ms = if random.percent(20) { 500 } else { 3 };
        tokio::time::sleep(Duration::from_millis(random.below(most_ms))).await;
        let covered = checkpoint.applied_index();
        if mutant!("purge-before-checkpoint") {
            give_up(&world, &process, covered, &mut random).await;
            tokio::time::sleep(Duration::from_millis(random.below(3))).await;
        }
        if process.store.flush().is_err() {
            return;
        }
        process.partition.lock().finish_checkpoint();
        world.say(&process, format_args!("has a checkpoint at {covered}"));
        give_up(&world, &process, covered, &mut random).await;
    }
}

async fn give_up(world: &World, process: &Process, covered: u64, random: &mut Random) {
    if !world.plan.purges {
        return;
    }
    // Tried again after the next checkpoint; a log that cannot be written stops its group by itself.
    if let Err(error) = purge(world, process, covered, random).await {
        world.say(process, format_args!("gives up nothing: {error}"));
    }
}
