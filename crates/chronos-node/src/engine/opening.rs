//! Opening the log, the state and the group of a partition.

use super::driver;
use super::events::Events;
use super::machine::PartitionMachine;
use super::message::{Handle, Message};
use super::pauses::{self, Pauses};
use super::replica::{self, Replica};
use super::retention::{self, Retention};
use super::saves::Saves;
use super::topics::Topics;
use crate::config::Config;
use crate::metrics::Metrics;
use chronos_core::partition::Partition;
use chronos_core::types::PartitionNumber;
use chronos_raft::{First, Group, GroupOptions};
use chronos_store::RocksStore;
use chronos_wal::{Flusher, RealFiles, Wal};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages that may wait for a driver; what they hold is bounded by bytes elsewhere.
const INBOX: usize = 8 * 1024;

/// What opening a partition or the catalog needs.
pub(super) struct Opening {
    pub config: Config,
    pub dir: PathBuf,
    pub metrics: Arc<Metrics>,
    pub store: RocksStore,
    pub flusher: Flusher,
    pub topics: Arc<Topics>,
    pub pauses: watch::Receiver<Arc<Pauses>>,
    /// How many partitions there are.
    pub partition_count: u32,
    /// This node's number in every group.
    pub me: u64,
}

impl Opening {
    pub fn wal(&self, name: &str, log_id: u64) -> anyhow::Result<Wal> {
        let seconds = self.metrics.wal_fsync_seconds.clone();
        let dir = self.dir.join("partitions").join(name).join("log");
        let mut options = chronos_wal::Options::new(dir, log_id);
        options.segment_bytes = self.config.wal.segment_bytes;
        options.index_interval = self.config.wal.index_interval;
        options.fsync = self.config.wal.fsync_mode;
        options.flush_interval = self.config.wal.flush_interval;
        options.fsync_observer = Some(Arc::new(move |took: Duration| {
            seconds.observe(took.as_secs_f64())
        }));
        let (wal, recovery) = Wal::open(Arc::new(RealFiles), options, &self.flusher)?;
        if recovery.truncated_bytes > 0 {
            tracing::info!(
                log = name,
                bytes = recovery.truncated_bytes,
                "cut an unfinished write off the end of the log"
            );
        }
        Ok(wal)
    }

    pub fn raft(&self, name: &str, group: u32) -> GroupOptions {
        let dir = self.dir.join("partitions").join(name).join("raft");
        let mut options = GroupOptions::new(self.me, name, dir);
        options.group = group;
        options.set_heartbeat(self.config.raft.heartbeat);
        options
    }

    /// Opens a partition's replica, and what its task works with.
    pub async fn replica(
        &self,
        number: PartitionNumber,
    ) -> anyhow::Result<(Arc<Replica>, replica::Parts)> {
        let name = number.to_string();
        let wal = self.wal(&name, u64::from(number))?;
        let state = Arc::new(Mutex::new(Partition::open(number, self.store.clone())?));
        let saved = state.lock().applied().map(|applied| applied.index);
        let machine = PartitionMachine::new(Arc::clone(&state), Arc::clone(&self.metrics));
        let raft = Group::open(
            self.raft(&name, number),
            wal.clone(),
            machine,
            First::only(self.me),
        )
        .await?;
        let (sender, inbox) = mpsc::channel::<Message>(INBOX);
        let handle = Handle {
            number,
            partitions: self.partition_count,
            inbox: sender,
            events: Arc::new(Events::new(number, self.store.clone(), wal.clone())),
            state,
            wal,
            saves: Arc::new(Saves::new(saved)),
            standing: Arc::default(),
            led: Arc::default(),
        };
        let retention = Arc::new(Retention::new(
            handle.clone(),
            raft.clone(),
            self.store.clone(),
            self.retention_policy(),
            self.metrics.partition(number),
            Arc::clone(&self.topics),
        ));
        let parts = replica::Parts {
            handle: handle.clone(),
            raft: raft.clone(),
            store: self.store.clone(),
            options: driver::Options {
                topics: Arc::clone(&self.topics),
                fire_ahead: self.config.scheduler.fire_ahead,
                near_window: self.config.scheduler.near_window,
            },
            metrics: Arc::clone(&self.metrics),
            inbox,
            pauses: pauses::Watch::new(self.pauses.clone()),
        };
        let replica = Replica {
            handle,
            raft,
            retention,
        };
        Ok((Arc::new(replica), parts))
    }

    fn retention_policy(&self) -> retention::Policy {
        retention::Policy {
            kept_for: self.config.retention.max_age,
            most_bytes: self.config.retention.max_size_gb << 30,
            segment_bytes: self.config.wal.segment_bytes,
        }
    }
}
