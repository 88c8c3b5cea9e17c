//! Saves the partitions' state from time to time, so that a restart has little log to apply again.

use super::message::Handle;
use super::replica::Replicas;
use chronos_core::partition::Checkpoint;
use chronos_core::store::Store;
use chronos_core::types::PartitionNumber;
use chronos_store::RocksStore;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the partitions are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// A partition with something new is saved at least this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// Ids in memory that make a checkpoint due at once.
const MOST_UNSAVED_IDS: usize = 400_000;
/// Log entries applied since the last checkpoint that make one due at once.
const MOST_UNSAVED_ENTRIES: u64 = 100_000;

/// Ids that go to the filter while the partition is held: well below a millisecond.
const ABSORBED_AT_ONCE: usize = 4_096;

/// How often forgotten ids are removed after a checkpoint: not after each, of which there
/// are several a second under load.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Far ids of a partition looked at then to see whether they are forgotten. A hundred million are
/// gone through in a day.
const SWEPT_AT_ONCE: usize = 100_000;

/// Saves the replicas of a node.
pub struct Checkpointer {
    store: RocksStore,
    replicas: Arc<Replicas>,
    /// Whether also those are saved that have nothing new.
    everything: bool,
    /// Where sweeping the far ids of each partition goes on.
    sweeps: BTreeMap<PartitionNumber, Vec<u8>>,
    /// When a part of them was swept last.
    swept: Option<Instant>,
}

impl Checkpointer {
    /// Saves these replicas, which share a store.
    pub fn new(store: RocksStore, replicas: Arc<Replicas>) -> Self {
        Self {
            store,
            replicas,
            everything: false,
            sweeps: BTreeMap::new(),
            swept: None,
        }
    }

    /// Saves these replicas whether they have something new or not.
    pub fn of_everything(store: RocksStore, replicas: Arc<Replicas>) -> Self {
        Self {
            everything: true,
            ..Self::new(store, replicas)
        }
    }

    /// Saves for ever; an error means that the index can no longer be written.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut since = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            if since.elapsed() >= AT_LEAST_EVERY || self.is_urgent() {
                self = tokio::task::spawn_blocking(move || self.save()).await??;
                since = tokio::time::Instant::now();
            }
        }
    }

    fn is_urgent(&self) -> bool {
        self.replicas.all().iter().any(|replica| {
            let handle = &replica.handle;
            let state = handle.state.lock();
            let applied = state.applied().map_or(0, |applied| applied.index);
            handle.saves.is_wanted()
                || state.unsaved_ids() > MOST_UNSAVED_IDS
                || applied - handle.saves.saved().unwrap_or(0) > MOST_UNSAVED_ENTRIES
        })
    }

    /// Saves every replica that has something new. Blocks on the disk.
    pub fn save(mut self) -> anyhow::Result<Self> {
        let replicas = Arc::clone(&self.replicas);
        let _saving = replicas.saving().lock();
        let mut begun = Vec::new();
        for replica in self.replicas.all() {
            let handle = replica.handle.clone();
            if let Some(checkpoint) = self.begin(&handle)? {
                begun.push((handle, checkpoint));
            }
        }
        if begun.is_empty() {
            return Ok(self);
        }
        for (handle, checkpoint) in &begun {
            // The index must never know more than the log has on disk.
            handle.wal.sync()?;
            checkpoint.write(&self.store)?;
        }
        self.store.flush()?;
        let sweep = self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if sweep {
            self.swept = Some(Instant::now());
        }
        for (handle, checkpoint) in begun {
            for ids in checkpoint.ids().chunks(ABSORBED_AT_ONCE) {
                handle.state.lock().absorb_checkpoint(ids);
            }
            handle.state.lock().finish_checkpoint();
            handle.saves.reached(checkpoint.applied_index());
            if !sweep {
                continue;
            }
            let from = self.sweeps.remove(&handle.number);
            if let Some(next) = checkpoint.sweep_far_ids(&self.store, from, SWEPT_AT_ONCE)? {
                self.sweeps.insert(handle.number, next);
            }
        }
        if sweep {
            self.store.drop_forgotten_ids(|partition| {
                let replica = self.replicas.get(partition)?;
                let state = replica.handle.state.lock();
                Some(state.saved_forgotten_ms())
            })?;
        }
        Ok(self)
    }

    fn begin(&self, handle: &Handle) -> anyhow::Result<Option<Checkpoint>> {
        // Before the events of a replica that follows are counted, which reads the index.
        let applied = handle.state.lock().applied().map(|applied| applied.index);
        if !self.everything && applied == handle.saves.saved() {
            return Ok(None);
        }
        let counted = match handle.is_led() {
            true => None,
            // Nobody counts them as they are released.
            false => {
                let counting = handle.state.lock().counting();
                Some(counting.count(&self.store)?)
            }
        };
        let mut state = handle.state.lock();
        // In this order: the leader first says how it stands after a deletion, and then that it has
        // seen it.
        let (released, upto) = match counted {
            Some(counted) => counted,
            None => {
                let (released, upto) = handle.standing.lock().released.clone();
                (released.to_vec(), upto)
            }
        };
        Ok(state.begin_checkpoint(&released, upto))
    }
}
