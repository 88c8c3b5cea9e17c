//! Removing the beginning of the logs of replicas that follow.
//!
//! The leader carries what is still needed to the end of the log, and its commands say so; so a
//! follower only has to see where the oldest event that its index knows stands. It keeps what a
//! durable checkpoint does not cover.

use super::message::Handle;
use super::replica::Replicas;
use chronos_core::partition::places::floor_of_places;
use chronos_store::RocksStore;
use std::sync::Arc;
use std::time::Duration;

/// How often the logs are looked at.
const EVERY: Duration = Duration::from_secs(10);

/// Looks at the replicas of this node for ever.
pub async fn run(replicas: Arc<Replicas>, store: RocksStore) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for replica in replicas.all() {
            let handle = &replica.handle;
            if handle.is_led() || handle.wal.status().segments.len() < 2 {
                continue;
            }
            if let Err(error) = trim(handle, &store).await {
                // Tried again at the next tick; a log that cannot be read stops its group by itself.
                let number = handle.number;
                tracing::warn!(partition = number, %error, "the beginning of a log stays");
            }
        }
    }
}

async fn trim(handle: &Handle, store: &RocksStore) -> anyhow::Result<()> {
    let Some(below) = removable_below(handle, store).await? else {
        return Ok(());
    };
    let segments = handle.wal.status().segments;
    // Whole segments go, and so do the entries: none that the log still has is given up.
    let Some(next) = (segments.windows(2))
        .take_while(|pair| pair[1].first_index <= below)
        .last()
        .map(|pair| pair[1].first_index)
    else {
        return Ok(());
    };
    handle.raft.purge(next - 1).await?;
    let wal = handle.wal.clone();
    tokio::task::spawn_blocking(move || wal.remove_segments_below(next)).await??;
    tracing::debug!(
        partition = handle.number,
        below = next,
        "removed the beginning of the log"
    );
    Ok(())
}

/// The entry below which nothing is needed here any more.
async fn removable_below(handle: &Handle, store: &RocksStore) -> anyhow::Result<Option<u64>> {
    let Some(saved) = handle.saves.saved() else {
        return Ok(None);
    };
    let (store, number) = (store.clone(), handle.number);
    let floor = tokio::task::spawn_blocking(move || floor_of_places(&store, number)).await??;
    Ok(Some(floor.map_or(saved, |floor| floor.min(saved))))
}
