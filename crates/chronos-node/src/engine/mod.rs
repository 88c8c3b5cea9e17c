//! The partitions of this node: opened, driven, saved and stopped.
//!
//! | file | holds |
//! |---|---|
//! | `replica.rs` | a partition's replica, following or leading |
//! | `opening.rs` | opening a replica |
//! | `driver/` | the owner task of a partition that this node leads |
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
mod opening;
mod pauses;
mod rates;
mod replica;
pub mod retention;
mod saves;
mod schedule;
pub mod topics;

pub use credit::Credit;
pub use events::{ReadError, StoredEvent};
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
use chronos_core::types::PartitionNumber;
use chronos_raft::{First, Group};
use chronos_store::RocksStore;
use chronos_wal::Flusher;
use machine::{CatalogMachine, SharedCatalog};
use opening::Opening;
use parking_lot::Mutex;
use pauses::Pauses;
pub use replica::Replicas;
use retention::Retention;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use topics::Topics;

/// Replica number of the only node there is.
const THIS_NODE: u64 = 1;
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
    partition_count: u32,
    replicas: Arc<Replicas>,
    catalog: SharedCatalog,
    topics: Arc<Topics>,
    catalog_raft: Group<CatalogMachine>,
    pauses: watch::Receiver<Arc<Pauses>>,
    store: RocksStore,
    /// Bytes of publishes that may be under way.
    inflight: Arc<Semaphore>,
    next_session: AtomicU64,
    members: Mutex<BTreeMap<SessionId, Member>>,
    tasks: Mutex<JoinSet<anyhow::Result<()>>>,
    failed: watch::Sender<Option<String>>,
    inflight_limit: usize,
    opening: Opening,
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
        let topics = Arc::new(Topics::new(config));
        let (telling, pauses) = watch::channel(Arc::default());
        let opening = Opening {
            config: config.clone(),
            dir: dir.to_owned(),
            metrics: Arc::clone(metrics),
            store: store.clone(),
            flusher: Flusher::start(FLUSHERS),
            topics: Arc::clone(&topics),
            pauses: pauses.clone(),
            partition_count: config.partitions.count,
            me: THIS_NODE,
        };

        let catalog = Arc::new(Mutex::new(Catalog::open(store.clone())?));
        let wal = opening.wal("catalog", u64::from(catalog::NUMBER))?;
        let machine = CatalogMachine::new(Arc::clone(&catalog), telling, Arc::clone(&topics));
        let raft_options = opening.raft("catalog", catalog::NUMBER);
        let catalog_raft = Group::open(raft_options, wal, machine, First::only(THIS_NODE))
            .await
            .context("cannot open the catalog")?;

        let inflight_limit = usize::try_from(config.limits.max_inflight_bytes)
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize);
        let (failed, _) = watch::channel(None);
        let engine = Arc::new(Self {
            partition_count: config.partitions.count,
            replicas: Arc::default(),
            catalog,
            topics,
            catalog_raft,
            pauses,
            store,
            inflight: Arc::new(Semaphore::new(inflight_limit)),
            next_session: AtomicU64::new(clock::now_us() as u64),
            members: Mutex::default(),
            tasks: Mutex::default(),
            failed,
            inflight_limit,
            opening,
        });
        let mut serving = Vec::new();
        for number in 0..engine.partition_count {
            serving.push(engine.open_replica(number).await?);
        }
        engine.catalog_raft.lead().await?;
        for mut served in serving {
            // The sender is gone when the replica has failed: what watches the failures tells.
            let _ = served.wait_for(|term| *term > 0).await;
        }
        let checkpointer = Checkpointer::new(engine.store.clone(), Arc::clone(&engine.replicas));
        engine.spawn(checkpointer.run());
        let expiry = expiry::run(
            Arc::clone(&engine.replicas),
            config.delivery.dead_letter_ttl,
        );
        engine.spawn(expiry);
        Ok(engine)
    }

    /// Opens the replica of a partition and lets it run. Tells the term in which this node serves the
    /// partition, 0 while it does not.
    async fn open_replica(&self, number: PartitionNumber) -> anyhow::Result<watch::Receiver<u64>> {
        let (replica, parts) = self
            .opening
            .replica(number)
            .await
            .with_context(|| format!("cannot open partition {number}"))?;
        let (served, serving) = watch::channel(0);
        self.spawn(replica::run(parts, served));
        self.spawn(Arc::clone(&replica.retention).run());
        self.replicas.insert(replica);
        Ok(serving)
    }

    /// Runs a task that must not end by itself.
    fn spawn(&self, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let failed = self.failed.clone();
        self.tasks.lock().spawn(watched(task, failed));
    }

    /// How many partitions there are, on whatever nodes.
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// The partitions that this node leads and serves, in order.
    pub fn partitions(&self) -> Vec<Handle> {
        self.replicas.led()
    }

    /// A partition, if this node leads and serves it.
    pub fn partition(&self, number: PartitionNumber) -> Option<Handle> {
        let replica = self.replicas.get(number)?;
        replica.handle.is_led().then(|| replica.handle.clone())
    }

    /// The replicas on this node.
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Retention of a partition, if this node has a replica of it.
    pub fn retention(&self, number: PartitionNumber) -> Option<Arc<Retention>> {
        let replica = self.replicas.get(number)?;
        Some(Arc::clone(&replica.retention))
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
        let replicas = self.replicas.all();
        let drained = futures::future::join_all(replicas.iter().map(|replica| async {
            let (reply, stopped) = oneshot::channel();
            if replica.handle.send(Message::Stop(reply)).await.is_ok() {
                let _ = stopped.await;
            }
        }));
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!("some requests were still under way when the time to stop ran out");
        }
        self.tasks.lock().abort_all();
        let checkpointer =
            Checkpointer::of_everything(self.store.clone(), Arc::clone(&self.replicas));
        tokio::task::spawn_blocking(move || checkpointer.save().map(drop)).await??;
        for replica in &replicas {
            replica.raft.shutdown().await;
        }
        self.catalog_raft.shutdown().await;
        Ok(())
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
