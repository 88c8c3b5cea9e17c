//! The partitions of this node: opened, driven, saved and stopped.
//!
//! | file | holds |
//! |---|---|
//! | `replica.rs` | a partition's replica, following or leading |
//! | `opening.rs` | opening a replica |
//! | `placing.rs` | which replicas are on this node |
//! | `heeded.rs` | which of its placements this node has heeded |
//! | `copy/` | copying a partition to a node that is far behind |
//! | `mark.rs` | what happened to a replica that is not whole |
//! | `wanted.rs` | which partitions are to be copied to this node |
//! | `trimming.rs` | removing the beginning of logs that follow |
//! | `network.rs` | what an engine knows of other nodes |
//! | `changing.rs` | changing the catalog, from any node |
//! | `driver/` | the owner task of a partition that this node leads |
//! | `dead_letters.rs` | reading, changing and expiring dead letters |
//! | `expiry.rs` | dead letters whose time is over |
//! | `forgetting.rs` | forgetting ids of partitions that nobody publishes to |
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

mod changing;
mod checkpointer;
pub mod clock;
pub mod copy;
mod credit;
pub mod dead_letters;
mod driver;
mod events;
mod expiry;
mod forgetting;
mod handing;
mod heeded;
mod lookup;
mod machine;
mod mark;
mod message;
mod network;
mod opening;
mod pauses;
mod placing;
mod rates;
mod replica;
pub mod retention;
mod saves;
mod schedule;
pub mod topics;
mod trimming;
mod wanted;

pub use changing::{CatalogLeader, Made};
pub use credit::Credit;
pub use events::{ReadError, StoredEvent};
pub use message::{
    Answers, DeleteTopic, Expired, Handle, Join, Message, Publish, Refused, Replace, Standing,
};
pub use network::{Network, Peers};
pub use pauses::Standing as PauseStanding;
pub use rates::Exceeded;

use crate::config::Config;
use crate::delivery::SessionId;
use crate::metrics::Metrics;
use anyhow::Context;
use checkpointer::Checkpointer;
use chronos_core::catalog::topics::TopicInfo;
use chronos_core::catalog::{self, Catalog, GroupInfo, NodeState};
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_raft::{First, Group};
use chronos_store::RocksStore;
use chronos_wal::Flusher;
use machine::{CatalogMachine, SharedCatalog};
use opening::Opening;
use parking_lot::Mutex;
use pauses::Pauses;
use placing::Residents;
pub use replica::Replicas;
use retention::Retention;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use topics::Topics;

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
    replicas: Arc<Replicas>,
    residents: Mutex<Residents>,
    catalog: SharedCatalog,
    /// The index of the last command of the catalog that was applied here.
    catalog_applied: watch::Receiver<u64>,
    topics: Arc<Topics>,
    catalog_raft: Group<CatalogMachine>,
    pauses: watch::Receiver<Arc<Pauses>>,
    store: RocksStore,
    /// Bytes of publishes that may be under way.
    inflight: Arc<Semaphore>,
    next_session: AtomicU64,
    members: Mutex<BTreeMap<SessionId, Member>>,
    tasks: Mutex<JoinSet<anyhow::Result<()>>>,
    /// What was last found of this node's clock.
    clock_verdict: Mutex<Option<bool>>,
    failed: watch::Sender<Option<String>>,
    inflight_limit: usize,
    opening: Opening,
}

impl Engine {
    /// Opens what is in `dir`. A node that stands alone then leads every partition; another one has
    /// replicas as soon as its catalog places them, and leads when it is elected.
    pub async fn open(
        config: &Config,
        dir: &Path,
        metrics: &Arc<Metrics>,
        network: Network,
    ) -> anyhow::Result<Arc<Self>> {
        let store = {
            let options = chronos_store::Options {
                block_cache_bytes: config.store.block_cache_bytes as usize,
                write_buffer_bytes: config.store.write_buffer_bytes as usize,
                ..chronos_store::Options::default()
            };
            let path = dir.join("index");
            tokio::task::spawn_blocking(move || RocksStore::open(path, &options)).await??
        };
        let topics = Arc::new(Topics::new(config));
        let replicas: Arc<Replicas> = Arc::default();
        let (telling, pauses) = watch::channel(Arc::default());
        // In a cluster the others have to say so first.
        let is_alone = network.is_alone();
        let opening = Opening {
            config: config.clone(),
            dir: dir.to_owned(),
            metrics: Arc::clone(metrics),
            store: store.clone(),
            flusher: Flusher::start(FLUSHERS),
            topics: Arc::clone(&topics),
            pauses: pauses.clone(),
            network,
            wanted: Arc::default(),
            leads: replicas.tell_leads(),
            begun: tokio::time::Instant::now(),
            on_time: Arc::new(AtomicBool::new(is_alone)),
        };

        let catalog = Arc::new(Mutex::new(Catalog::open(store.clone())?));
        let wal = opening.wal("catalog", u64::from(catalog::NUMBER))?;
        let (applied, catalog_applied) = watch::channel(0);
        let machine =
            CatalogMachine::new(Arc::clone(&catalog), telling, Arc::clone(&topics), applied);
        let raft_options = opening.raft("catalog", catalog::NUMBER);
        let catalog_raft = Group::open(raft_options, wal, machine, opening.network.catalog.clone())
            .await
            .context("cannot open the catalog")?;
        if let Some(peers) = &opening.network.peers {
            let group = Arc::new(catalog_raft.clone());
            peers.served.insert(catalog::NUMBER, group);
        }

        let inflight_limit = usize::try_from(config.limits.max_inflight_bytes)
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize);
        let (failed, _) = watch::channel(None);
        let engine = Arc::new(Self {
            replicas,
            residents: Mutex::default(),
            catalog,
            catalog_applied,
            topics,
            catalog_raft,
            pauses,
            store,
            inflight: Arc::new(Semaphore::new(inflight_limit)),
            next_session: AtomicU64::new(clock::now_us() as u64),
            members: Mutex::default(),
            tasks: Mutex::default(),
            clock_verdict: Mutex::default(),
            failed,
            inflight_limit,
            opening,
        });
        match engine.opening.network.is_alone() {
            true => engine.lead_everything().await?,
            false => {
                engine.spawn(placing::run(Arc::clone(&engine)));
            }
        }
        let checkpointer = Checkpointer::new(engine.store.clone(), Arc::clone(&engine.replicas));
        engine.spawn(checkpointer.run());
        let expiry = expiry::run(
            Arc::clone(&engine.replicas),
            config.delivery.dead_letter_ttl,
        );
        engine.spawn(expiry);
        engine.spawn(forgetting::run(
            Arc::clone(&engine.replicas),
            config.dedup.ttl,
        ));
        engine.spawn(trimming::run(
            Arc::clone(&engine.replicas),
            engine.store.clone(),
        ));
        Ok(engine)
    }

    /// Opens every partition, and waits until this node leads all of them and the catalog.
    async fn lead_everything(&self) -> anyhow::Result<()> {
        let mut serving = Vec::new();
        for number in 0..self.partition_count() {
            let first = First::only(self.opening.network.me);
            let (_, served) = self.open_replica(number, first).await?;
            serving.push(served);
        }
        self.catalog_raft.lead().await?;
        for mut served in serving {
            // The sender is gone when the replica has failed: what watches the failures tells.
            let _ = served.wait_for(|term| *term > 0).await;
        }
        Ok(())
    }

    /// Runs a task that must not end by itself.
    pub fn spawn(
        &self,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> AbortHandle {
        let failed = self.failed.clone();
        let mut tasks = self.tasks.lock();
        // Replicas and copies come and go; nothing is kept of those that have gone.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(watched(task, failed))
    }

    /// How many partitions there are, on whatever nodes.
    pub fn partition_count(&self) -> u32 {
        self.opening.network.partitions
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

    /// Tells the index of each command of the catalog that was applied here.
    pub fn catalog_applied(&self) -> watch::Receiver<u64> {
        self.catalog_applied.clone()
    }

    /// The catalog's group on this node.
    pub fn catalog_group(&self) -> &Group<CatalogMachine> {
        &self.catalog_raft
    }

    /// This node's number.
    pub fn me(&self) -> NodeId {
        self.opening.network.me
    }

    /// The numbers of the other nodes that are not gone.
    pub fn other_nodes(&self) -> Vec<NodeId> {
        let me = self.me();
        let catalog = self.catalog.lock();
        let nodes = catalog
            .cluster()
            .into_iter()
            .flat_map(|it| it.nodes.values());
        nodes
            .filter(|node| node.id != me && node.state != NodeState::Gone)
            .map(|node| node.id)
            .collect()
    }

    /// Waits until this node has heard of the catalog.
    pub async fn knows_its_cluster(&self) {
        let mut applied = self.catalog_applied();
        while self.catalog.lock().cluster().is_none() {
            if applied.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The cluster as the catalog has it; `None` on a node that stands alone, and on one that has not
    /// heard of the catalog yet.
    pub fn cluster(&self) -> Option<catalog::Cluster> {
        self.catalog.lock().cluster().cloned()
    }

    /// The names of the nodes that a partition is placed on; none on a node that stands alone.
    pub fn replica_names(&self, partition: PartitionNumber) -> Vec<String> {
        let catalog = self.catalog.lock();
        let Some(cluster) = catalog.cluster() else {
            return Vec::new();
        };
        let placement = cluster.placements.get(partition as usize);
        let replicas = placement.into_iter().flat_map(|it| &it.replicas);
        let nodes = replicas.filter_map(|id| cluster.nodes.get(id));
        nodes.map(|node| node.info.name.clone()).collect()
    }

    /// Says whether this node's clock is right. While it is not, the node delivers nothing and begins to
    /// serve nothing; the placer gives its leads to others. In a cluster that holds until it is said for
    /// the first time, or a wrong clock would move the horizon of what the node leads.
    pub fn set_on_time(&self, on_time: bool) {
        self.opening.on_time.store(on_time, Ordering::Relaxed);
        let was = self.clock_verdict.lock().replace(on_time);
        match (was, on_time) {
            (None | Some(true), false) => tracing::error!(
                "the clock of this node is off by more than -clock-skew-threshold-ms: it delivers nothing until the clock is right"
            ),
            (Some(false), true) => tracing::info!("the clock of this node is right again"),
            _ => {}
        }
    }

    /// Whether this node's clock was compared with others.
    pub fn knows_clock(&self) -> bool {
        self.clock_verdict.lock().is_some()
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
            replica.handle.raft.shutdown().await;
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
