//! Opening the log, the state and the group of a partition.

use super::driver;
use super::events::Events;
use super::machine::PartitionMachine;
use super::mark::Mark;
use super::message::{Handle, Message};
use super::network::Network;
use super::pauses::{self, Pauses};
use super::replica::{self, Replica};
use super::retention::{self, Retention};
use super::saves::Saves;
use super::topics::Topics;
use super::wanted::Wanted;
use crate::config::Config;
use crate::metrics::Metrics;
use chronos_core::partition::Partition;
use chronos_core::types::PartitionNumber;
use chronos_raft::{First, Group, GroupOptions};
use chronos_store::RocksStore;
use chronos_wal::{Flusher, FsyncMode, Wal, system_files};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

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
    pub network: Network,
    pub wanted: Arc<Wanted>,
    /// Told when this node begins or ceases to serve a partition.
    pub leads: watch::Sender<()>,
    /// What all partitions do at regular times they do together, counted from here.
    pub begun: Instant,
    /// Whether this node's clock is right as far as the others can tell.
    pub on_time: Arc<AtomicBool>,
}

impl Opening {
    pub fn wal(&self, name: &str, log_id: u64) -> anyhow::Result<Wal> {
        let seconds = self.metrics.wal_fsync_seconds.clone();
        let dir = self.folder(name).join("log");
        let mut options = chronos_wal::Options::new(dir, log_id);
        options.segment_bytes = self.config.wal.segment_bytes;
        options.index_interval = self.config.wal.index_interval;
        options.fsync = self.config.wal.fsync_mode;
        options.flush_interval = self.config.wal.flush_interval;
        options.fsync_observer = Some(Arc::new(move |took: Duration| {
            seconds.observe(took.as_secs_f64())
        }));
        let (wal, recovery) = Wal::open(system_files(), options, &self.flusher)?;
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
        let dir = self.folder(name).join("raft");
        let mut options = GroupOptions::new(self.network.me, name, dir);
        options.group = group;
        options.files = system_files();
        options.set_heartbeat(self.config.raft.heartbeat);
        options.beats_from = self.begun;
        options.transport = self.network.transport();
        options.followers_may_forget = self.config.wal.fsync_mode == FsyncMode::Periodic;
        let wanted = Arc::clone(&self.wanted);
        options.on_seed_wanted = Arc::new(move |seed| wanted.add(seed));
        options
    }

    /// Where a group keeps its files.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.partitions().join(name)
    }

    /// The folder of all replicas.
    pub fn partitions(&self) -> PathBuf {
        self.dir.join("partitions")
    }

    /// What a partition is if nothing of it is on the disk, when its catalog says that it was placed
    /// on `founders` at first and never moved.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub fn first(
        &self,
        number: PartitionNumber,
        founders: Option<BTreeSet<u64>>,
    ) -> anyhow::Result<First> {
        let mark = Mark::read(&self.folder(&number.to_string()))?;
        Ok(match (founders, mark) {
            (Some(founders), None) => First::Voters(founders),
            // It was here and went: others may have decided much since.
            (_, Some(_)) | (None, None) => First::Wait,
        })
    }

    /// Opens a partition's replica, and what its task works with.
    pub async fn replica(
        &self,
        number: PartitionNumber,
        first: First,
    ) -> anyhow::Result<(Arc<Replica>, replica::Parts)> {
        let name = number.to_string();
        let wal = self.wal(&name, u64::from(number))?;
        let mut partition = Partition::open(number, self.store.clone())?;
        // Others may come in the place of the entries that the log has lost.
        if partition.knows_upto()? > wal.last_index() {
            partition.discard_unknown()?;
            tracing::warn!(
                partition = number,
                "the log had lost its end; the index has forgotten it too"
            );
        }
        let state = Arc::new(Mutex::new(partition));
        let saved = state.lock().applied().map(|applied| applied.index);
        let machine = PartitionMachine::new(Arc::clone(&state), Arc::clone(&self.metrics));
        let raft = Group::open(self.raft(&name, number), wal.clone(), machine, first).await?;
        let (sender, inbox) = mpsc::channel::<Message>(INBOX);
        let handle = Handle {
            number,
            partitions: self.network.partitions,
            inbox: sender,
            events: Arc::new(Events::new(number, self.store.clone(), wal.clone())),
            state,
            wal,
            raft,
            saves: Arc::new(Saves::new(saved)),
            standing: Arc::default(),
            led_in: Arc::default(),
            on_time: Arc::clone(&self.on_time),
        };
        let retention = Arc::new(Retention::new(
            handle.clone(),
            self.store.clone(),
            self.retention_policy(),
            self.metrics.partition(number),
            Arc::clone(&self.topics),
        ));
        let parts = replica::Parts {
            handle: handle.clone(),
            store: self.store.clone(),
            options: driver::Options {
                topics: Arc::clone(&self.topics),
                fire_ahead: self.config.scheduler.fire_ahead,
                near_window: self.config.scheduler.near_window,
            },
            metrics: Arc::clone(&self.metrics),
            inbox,
            pauses: pauses::Watch::new(self.pauses.clone()),
            leads: self.leads.clone(),
        };
        let replica = Replica { handle, retention };
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
