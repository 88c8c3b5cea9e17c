//! Nodes of one group over a network, in simulated time: a few seconds take milliseconds, and the
//! same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chronos_raft::{Disk, First, Group, GroupOptions, LogId, OpenError, SeedWanted};
use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Flusher, FsyncMode, Options, Wal};

use crate::journal::{Journal, Notes};
use crate::net::Net;
use crate::numbered;

/// How often the disks do their work.
const DISK_STEP: Duration = Duration::from_millis(1);

pub(crate) struct Cluster {
    pub(crate) net: Net,
    pub(crate) seeds: Arc<Mutex<Vec<(u64, SeedWanted)>>>,
    pub(crate) fsync: FsyncMode,
    pub(crate) segment_bytes: u64,
    seed: u64,
    nodes: BTreeMap<u64, Node>,
}

/// A node's files, and the group if it runs.
struct Node {
    files: FaultyFiles,
    flusher: Arc<Flusher>,
    is_stalled: Arc<AtomicBool>,
    running: Option<(Group<Journal>, Wal, Notes)>,
}

impl Node {
    fn new(seed: u64) -> Self {
        let flusher = Arc::new(Flusher::manual());
        let is_stalled = Arc::new(AtomicBool::new(false));
        tokio::spawn(work(Arc::downgrade(&flusher), Arc::clone(&is_stalled)));
        Self {
            files: FaultyFiles::new(seed),
            flusher,
            is_stalled,
            running: None,
        }
    }
}

/// Writes and syncs what waits, every millisecond.
async fn work(flusher: Weak<Flusher>, is_stalled: Arc<AtomicBool>) {
    while let Some(flusher) = flusher.upgrade() {
        while !is_stalled.load(Ordering::Relaxed) && flusher.run_one() {}
        drop(flusher);
        tokio::time::sleep(DISK_STEP).await;
    }
}

impl Cluster {
    /// No node yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            net: Net::default(),
            seeds: Arc::default(),
            fsync: FsyncMode::Batch,
            segment_bytes: 1 << 20,
            seed,
            nodes: BTreeMap::new(),
        }
    }

    /// A new group of the voters `1..=count`, all of which run.
    pub(crate) async fn of_voters(seed: u64, count: u64) -> Self {
        let mut cluster = Self::new(seed);
        for id in 1..=count {
            cluster
                .start(id, First::Voters((1..=count).collect()))
                .await;
        }
        cluster
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn files(&self, id: u64) -> FaultyFiles {
        self.nodes[&id].files.clone()
    }

    pub(crate) fn options(&self, id: u64) -> GroupOptions {
        let mut options = GroupOptions::new(id, "test", "/group");
        options.group = 5;
        options.files = Arc::new(self.files(id));
        options.disk = Disk::Inline;
        options.transport = self.net.exit(id);
        options.seed = Some(self.seed * 100 + id);
        options.followers_may_forget = self.fsync == FsyncMode::Periodic;
        let seeds = Arc::clone(&self.seeds);
        options.on_seed_wanted = Arc::new(move |wanted| seeds.lock().unwrap().push((id, wanted)));
        options
    }

    /// Starts a node with a machine that applied nothing.
    pub(crate) async fn start(&mut self, id: u64, first: First) {
        self.start_with(id, first, Journal::new()).await.unwrap();
    }

    pub(crate) async fn start_with(
        &mut self,
        id: u64,
        first: First,
        (machine, notes): (Journal, Notes),
    ) -> Result<(), OpenError> {
        self.nodes
            .entry(id)
            .or_insert_with(|| Node::new(self.seed + id));
        let mut options = Options::new("/log", 1);
        options.fsync = self.fsync;
        options.segment_bytes = self.segment_bytes;
        let files = Arc::new(self.files(id));
        let (wal, _) = Wal::open(files, options, &self.nodes[&id].flusher).unwrap();
        let group = Group::open(self.options(id), wal.clone(), machine, first).await?;
        self.net.connect(id, group.clone());
        let node = self.nodes.get_mut(&id).unwrap();
        node.running = Some((group, wal, notes));
        Ok(())
    }

    /// Starts a node again, with a machine that lost everything.
    pub(crate) async fn restart(&mut self, id: u64) {
        self.start(id, First::Wait).await;
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&mut self, id: u64) {
        self.net.disconnect(id);
        if let Some((group, wal, _)) = self.nodes.get_mut(&id).unwrap().running.take() {
            drop(wal);
            group.shutdown().await;
        }
    }

    /// Takes a node's power away: what it did not sync is lost.
    pub(crate) async fn lose_power(&mut self, id: u64) {
        let files = self.files(id);
        files.cut_power_at(1);
        self.stop(id).await;
        files.power_loss(self.seed);
    }

    /// Has a node's disk take its time, without end, or go on.
    pub(crate) fn stall_disk(&self, id: u64, is_stalled: bool) {
        let node = &self.nodes[&id];
        node.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    pub(crate) fn group(&self, id: u64) -> Group<Journal> {
        self.nodes[&id].running.as_ref().unwrap().0.clone()
    }

    pub(crate) fn wal(&self, id: u64) -> Wal {
        self.nodes[&id].running.as_ref().unwrap().1.clone()
    }

    pub(crate) fn notes(&self, id: u64) -> Notes {
        self.nodes[&id].running.as_ref().unwrap().2.clone()
    }

    pub(crate) fn running(&self) -> Vec<u64> {
        let running = self.nodes.iter().filter(|(_, node)| node.running.is_some());
        running.map(|(id, _)| *id).collect()
    }

    /// Waits until one of these leads and holds the lease.
    pub(crate) async fn leader_among(&self, ids: &[u64]) -> u64 {
        self.until(&format!("one of {ids:?} leads"), || {
            ids.iter().copied().find(|id| {
                let group = self.group(*id);
                group.leadership().get().leads && group.holds_lease()
            })
        })
        .await
    }

    pub(crate) async fn leader(&self) -> u64 {
        self.leader_among(&self.running()).await
    }

    /// Looks every millisecond of simulated time until there is something, for a minute.
    pub(crate) async fn until<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        for _ in 0..60_000 {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not within a minute: {what}");
    }

    /// Waits until all of these have applied the same, and that is all that any of them knows.
    pub(crate) async fn converge(&self, ids: &[u64]) {
        self.until(&format!("{ids:?} converge"), || {
            let statuses: BTreeSet<_> = ids
                .iter()
                .map(|id| {
                    let status = self.group(*id).status();
                    (status.last_index, status.applied_index)
                })
                .collect();
            let same = statuses.len() == 1 && statuses.iter().all(|(last, done)| last == done);
            same.then_some(())
        })
        .await;
        let first = self.notes(ids[0]).commands();
        for id in &ids[1..] {
            assert_eq!(
                self.notes(*id).commands(),
                first,
                "node {id} and {}",
                ids[0]
            );
        }
    }

    /// Proposes the command until it is acknowledged, wherever the lead is among these.
    pub(crate) async fn write(&self, ids: &[u64], number: u64) -> LogId {
        for _ in 0..100 {
            let leader = self.leader_among(ids).await;
            let proposed = self.group(leader).propose(numbered(number));
            if let Ok(Ok(id)) = tokio::time::timeout(Duration::from_secs(5), proposed).await {
                return id;
            }
        }
        panic!("{number} cannot be written");
    }

    /// Where the group's small files are.
    pub(crate) fn dir() -> PathBuf {
        "/group".into()
    }
}
