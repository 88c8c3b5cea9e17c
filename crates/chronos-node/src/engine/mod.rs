//! The partitions of this node: opened, driven, saved and stopped.
//!
//! | file | holds |
//! |---|---|
//! | `driver/` | the owner task of a partition |
//! | `dead_letters.rs` | reading, changing and expiring dead letters |
//! | `expiry.rs` | dead letters whose time is over |
//! | `message.rs` | what it is asked, and the handle to ask it with |
//! | `schedule.rs` | what falls due next |
//! | `events.rs` | reading stored events |
//! | `lookup.rs` | reading what decides about their order |
//! | `pauses.rs` | what is paused, from the catalog to the drivers |
//! | `machine.rs` | the state machines under the replication layer |
//! | `checkpointer.rs` | saving state |
//! | `credit.rs` | credit shared between partitions |
//! | `retention/` | removing what nobody needs, carrying forward what somebody does |
//! | `saves.rs` | asking for a checkpoint |
//! | `topics.rs` | the settings of topics |
//! | `rates.rs` | token buckets |
//! | `clock.rs` | the wall clock |

mod checkpointer;
pub mod clock;
mod credit;
pub mod dead_letters;
mod driver;
mod events;
mod expiry;
mod lookup;
mod machine;
mod message;
mod pauses;
mod rates;
pub mod retention;
mod saves;
mod schedule;
pub mod topics;

pub use credit::Credit;
pub use events::{Events, ReadError, StoredEvent};
pub use message::{
    Answers, DeleteTopic, Expired, Handle, Join, Message, Publish, Refused, Replace,
};
pub use pauses::Standing as PauseStanding;
pub use rates::Exceeded;

use crate::config::Config;
use crate::delivery::SessionId;
use crate::metrics::Metrics;
use anyhow::Context;
use checkpointer::Checkpointer;
use chronos_core::catalog::topics::TopicInfo;
use chronos_core::catalog::{self, Catalog, GroupInfo};
use chronos_core::keys::dedup::FAR_MS;
use chronos_core::partition::Partition;
use chronos_core::types::PartitionNumber;
use chronos_raft::{First, Group, GroupOptions};
use chronos_store::RocksStore;
use chronos_wal::{Flusher, RealFiles, Wal};
use driver::Driver;
use machine::{CatalogMachine, PartitionMachine, SharedCatalog};
use parking_lot::Mutex;
use pauses::Pauses;
use retention::Retention;
use saves::Saves;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use topics::Topics;

/// Replica number of the only node there is.
const THIS_NODE: u64 = 1;
/// Messages that may wait for a driver; what they hold is bounded by bytes elsewhere.
const INBOX: usize = 8 * 1024;
/// Threads that write logs to the disk: one log keeps one busy.
const FLUSHERS: usize = 4;

/// A connected member of a consumer group.
pub struct Member {
    /// The group.
    pub group: String,
    /// What the client calls the subscription.
    pub subscription_id: String,
    /// Its credit, which also knows what it settled last.
    pub credit: Arc<Credit>,
}

/// The running partitions.
pub struct Engine {
    partitions: Vec<Handle>,
    rafts: Vec<Group<PartitionMachine>>,
    catalog: SharedCatalog,
    topics: Arc<Topics>,
    catalog_raft: Group<CatalogMachine>,
    pauses: watch::Receiver<Arc<Pauses>>,
    store: RocksStore,
    /// Bytes of publishes that may be under way.
    inflight: Arc<Semaphore>,
    next_session: AtomicU64,
    members: Mutex<BTreeMap<SessionId, Member>>,
    retention: Vec<Arc<Retention>>,
    tasks: Mutex<JoinSet<anyhow::Result<()>>>,
    failed: watch::Sender<Option<String>>,
    inflight_limit: usize,
    /// The threads live as long as somebody holds this.
    _flusher: Flusher,
}

impl Engine {
    /// Opens everything in `dir` and takes the lead of every partition.
    pub async fn open(
        config: &Config,
        dir: &Path,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Arc<Self>> {
        let store = {
            let options = chronos_store::Options {
                block_cache_bytes: config.store.block_cache_bytes as usize,
                write_buffer_bytes: config.store.write_buffer_bytes as usize,
                // What is in the files may begin to age a day after it was written.
                dedup_ttl: config.dedup.ttl + Duration::from_millis(FAR_MS as u64),
                ..chronos_store::Options::default()
            };
            let path = dir.join("index");
            tokio::task::spawn_blocking(move || RocksStore::open(path, &options)).await??
        };
        let flusher = Flusher::start(FLUSHERS);
        let topics = Arc::new(Topics::new(config));
        let options = driver::Options {
            topics: Arc::clone(&topics),
            fire_ahead: config.scheduler.fire_ahead,
            near_window: config.scheduler.near_window,
        };
        let opening = Opening {
            config,
            dir,
            metrics,
            store: &store,
            flusher: &flusher,
        };

        let catalog = Arc::new(Mutex::new(Catalog::open(store.clone())?));
        let wal = opening.wal("catalog", u64::from(catalog::NUMBER))?;
        let raft_options = opening.raft("catalog");
        let (telling, pauses) = watch::channel(Arc::default());
        let machine = CatalogMachine::new(Arc::clone(&catalog), telling, Arc::clone(&topics));
        let catalog_raft = Group::open(raft_options, wal, machine, First::only(THIS_NODE))
            .await
            .context("cannot open the catalog")?;

        let (mut partitions, mut rafts, mut drivers) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..config.partitions.count {
            let (handle, raft, inbox) = opening
                .partition(number)
                .await
                .with_context(|| format!("cannot open partition {number}"))?;
            partitions.push(handle.clone());
            rafts.push(raft.clone());
            drivers.push(Driver::start(
                handle,
                raft,
                store.clone(),
                options.clone(),
                Arc::clone(metrics),
                inbox,
                pauses::Watch::new(pauses.clone()),
            ));
        }
        catalog_raft.lead().await?;

        let (failed, _) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for driver in futures::future::try_join_all(drivers).await? {
            tasks.spawn(watched(driver.run(), failed.clone()));
        }
        let checkpointer = Checkpointer::new(store.clone(), partitions.clone());
        tasks.spawn(watched(checkpointer.run(), failed.clone()));
        let expiry = expiry::run(partitions.clone(), config.delivery.dead_letter_ttl);
        tasks.spawn(watched(expiry, failed.clone()));
        let policy = retention::Policy {
            kept_for: config.retention.max_age,
            most_bytes: config.retention.max_size_gb << 30,
            segment_bytes: config.wal.segment_bytes,
        };
        let mut retention = Vec::new();
        for (handle, raft) in partitions.iter().zip(&rafts) {
            let counters = metrics.partition(handle.number);
            let of_partition = Retention::new(
                handle.clone(),
                raft.clone(),
                store.clone(),
                policy,
                counters,
                Arc::clone(&topics),
            );
            let of_partition = Arc::new(of_partition);
            tasks.spawn(watched(Arc::clone(&of_partition).run(), failed.clone()));
            retention.push(of_partition);
        }
        let inflight_limit = usize::try_from(config.limits.max_inflight_bytes)
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize);
        Ok(Arc::new(Self {
            partitions,
            rafts,
            catalog,
            topics,
            catalog_raft,
            pauses,
            store,
            inflight: Arc::new(Semaphore::new(inflight_limit)),
            retention,
            next_session: AtomicU64::new(clock::now_us() as u64),
            members: Mutex::default(),
            tasks: Mutex::new(tasks),
            failed,
            inflight_limit,
            _flusher: flusher,
        }))
    }

    /// The partitions by number.
    pub fn partitions(&self) -> &[Handle] {
        &self.partitions
    }

    /// A partition, if it exists.
    pub fn partition(&self, number: PartitionNumber) -> Option<&Handle> {
        self.partitions.get(number as usize)
    }

    /// Retention of a partition, if it exists.
    pub fn retention(&self, number: PartitionNumber) -> Option<&Arc<Retention>> {
        self.retention.get(number as usize)
    }

    /// Bytes of publishes that may still be taken in.
    pub fn inflight(&self) -> &Arc<Semaphore> {
        &self.inflight
    }

    /// Bytes of publishes that may be taken in at once.
    pub fn inflight_limit(&self) -> usize {
        self.inflight_limit
    }

    /// The index.
    pub fn store(&self) -> &RocksStore {
        &self.store
    }

    /// An id for a new subscription. Begins at the clock, so that ids of before a restart do not
    /// come again.
    pub fn new_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// A subscription begins.
    pub fn member_joined(&self, session: SessionId, member: Member) {
        self.members.lock().insert(session, member);
    }

    /// A subscription has ended.
    pub fn member_left(&self, session: SessionId) {
        self.members.lock().remove(&session);
    }

    /// The connected members of a group: what they call themselves and which offset each settled
    /// last.
    pub fn members_of(&self, group: &str) -> BTreeMap<String, i64> {
        let members = self.members.lock();
        let of_group = members.values().filter(|member| member.group == group);
        of_group
            .map(|member| (member.subscription_id.clone(), member.credit.last_settled()))
            .collect()
    }

    /// Tells when a partition fails, with the reason.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }

    /// A consumer group as the catalog has it.
    pub fn group(&self, name: &str) -> Option<GroupInfo> {
        self.catalog.lock().groups().get(name).cloned()
    }

    /// Every consumer group, by name.
    pub fn groups(&self) -> Vec<(String, GroupInfo)> {
        self.catalog
            .lock()
            .groups()
            .iter()
            .map(|(name, group)| (name.clone(), group.clone()))
            .collect()
    }

    /// The settings of topics.
    pub fn topics(&self) -> &Arc<Topics> {
        &self.topics
    }

    /// A topic as the catalog has it, if it was created.
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.catalog.lock().topics().get(name).cloned()
    }

    /// The names of the topics that were created.
    pub fn created_topics(&self) -> Vec<String> {
        self.catalog.lock().topics().keys().cloned().collect()
    }

    /// Changes the catalog; returns when the change is durable and applied.
    pub async fn change_catalog(
        &self,
        command: &catalog::Command,
    ) -> Result<catalog::Outcome, Refused> {
        let proposed = self.catalog_raft.propose(command.encode().into());
        proposed
            .await
            .map_err(|_| Refused::Unknown(catalog::NUMBER))
    }

    /// Stops: what was taken in is finished, what arrives later is refused, state is saved. Gives up
    /// waiting for the log after `limit`; nothing acknowledged is lost then either.
    pub async fn stop(&self, limit: Duration) -> anyhow::Result<()> {
        let drained = futures::future::join_all(self.partitions.iter().map(|handle| async {
            let (reply, stopped) = oneshot::channel();
            if handle.send(Message::Stop(reply)).await.is_ok() {
                let _ = stopped.await;
            }
        }));
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!("some requests were still under way when the time to stop ran out");
        }
        self.tasks.lock().abort_all();
        let checkpointer = Checkpointer::of_everything(self.store.clone(), self.partitions.clone());
        tokio::task::spawn_blocking(move || checkpointer.save().map(drop)).await??;
        for raft in &self.rafts {
            raft.shutdown().await;
        }
        self.catalog_raft.shutdown().await;
        Ok(())
    }
}

/// What opening a partition or the catalog needs.
struct Opening<'a> {
    config: &'a Config,
    dir: &'a Path,
    metrics: &'a Arc<Metrics>,
    store: &'a RocksStore,
    flusher: &'a Flusher,
}

impl Opening<'_> {
    fn wal(&self, name: &str, log_id: u64) -> anyhow::Result<Wal> {
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
        let (wal, recovery) = Wal::open(Arc::new(RealFiles), options, self.flusher)?;
        if recovery.truncated_bytes > 0 {
            tracing::info!(
                log = name,
                bytes = recovery.truncated_bytes,
                "cut an unfinished write off the end of the log"
            );
        }
        Ok(wal)
    }

    fn raft(&self, name: &str) -> GroupOptions {
        let dir = self.dir.join("partitions").join(name).join("raft");
        let mut options = GroupOptions::new(THIS_NODE, name, dir);
        options.set_heartbeat(self.config.raft.heartbeat);
        options
    }

    async fn partition(
        &self,
        number: PartitionNumber,
    ) -> anyhow::Result<(Handle, Group<PartitionMachine>, mpsc::Receiver<Message>)> {
        let name = number.to_string();
        let wal = self.wal(&name, u64::from(number))?;
        let state = Arc::new(Mutex::new(Partition::open(number, self.store.clone())?));
        let saved = state.lock().applied().map_or(0, |applied| applied.index);
        let saves = Arc::new(Saves::new(saved));
        let machine = PartitionMachine::new(Arc::clone(&state), Arc::clone(self.metrics));
        let raft = Group::open(
            self.raft(&name),
            wal.clone(),
            machine,
            First::only(THIS_NODE),
        )
        .await?;
        let (sender, inbox) = mpsc::channel(INBOX);
        let handle = Handle {
            number,
            partitions: self.config.partitions.count,
            inbox: sender,
            events: Arc::new(Events::new(number, self.store.clone(), wal.clone())),
            state,
            wal,
            saves,
            standing: Arc::default(),
        };
        Ok((handle, raft, inbox))
    }
}

/// Runs a task that must not end by itself; its failure is told to whoever watches.
async fn watched(
    task: impl Future<Output = anyhow::Result<()>>,
    failed: watch::Sender<Option<String>>,
) -> anyhow::Result<()> {
    let result = task.await;
    if let Err(error) = &result {
        tracing::error!(
            error = format!("{error:#}"),
            "a partition failed and is no longer served"
        );
        failed.send_replace(Some(format!("{error:#}")));
    }
    result
}
