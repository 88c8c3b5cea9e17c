//! Which replicas this node has: those that the catalog places on it.
//!
//! ```text
//!  placed here ──► opened ◄──────────────┐
//!                    │ a leader says      │ copied
//!                    │ that it is too     │
//!                    │ far behind         │
//!                    ▼                    │
//!                  closed ──► removed ────┘
//!                    ▲
//!  placed elsewhere ─┘ (and stays removed)
//! ```

use super::copy::{self, GiveError, Part, Taking};
use super::heeded::Heeded;
use super::mark::Mark;
use super::replica::{self, Replica};
use super::{Engine, Message};
use anyhow::Context;
use chronos_core::types::PartitionNumber;
use chronos_raft::{SeedWanted, forget_positions, give_up_log, is_still_wanted};
use chronos_wal::{Wal, system_files};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// Copies that are taken at the same time: each keeps a disk busy.
const MOST_COPIES: usize = 2;
/// A copy that brings nothing for this long has failed.
const PART_LIMIT: Duration = Duration::from_secs(60);
/// How long a closing replica may take to finish what it had taken in.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The replicas that are open on this node or about to be.
#[derive(Default)]
pub(super) struct Residents {
    by_number: BTreeMap<PartitionNumber, Resident>,
}

enum Resident {
    Open(Vec<AbortHandle>),
    /// It is being copied; nobody else may touch it.
    Copying,
}

/// A partition that is to be on this node.
struct Placed {
    number: PartitionNumber,
    epoch: u64,
    /// The nodes it began on, if it never moved.
    founders: Option<BTreeSet<u64>>,
}

/// A partition that is to be on other nodes.
struct Elsewhere {
    number: PartitionNumber,
    epoch: u64,
}

/// Opens, closes and copies for ever.
pub(super) async fn run(engine: Arc<Engine>) -> anyhow::Result<()> {
    let mut changed = engine.catalog_applied();
    let copies = Arc::new(Semaphore::new(MOST_COPIES));
    let (freed, mut copied) = watch::channel(());
    let mut heeded = Heeded::open(&engine.opening.partitions())?;
    loop {
        changed.mark_unchanged();
        engine.place(&mut heeded).await?;
        tokio::select! {
            // The sender lives as long as the catalog.
            Ok(()) = changed.changed() => {}
            Ok(()) = copied.changed() => {}
            () = engine.opening.wanted.any() => {
                for wanted in engine.opening.wanted.take() {
                    copy(&engine, wanted, &copies, &freed).await?;
                }
            }
        }
    }
}

/// Begins to copy a replica that is open and not yet being copied.
async fn copy(
    engine: &Arc<Engine>,
    wanted: SeedWanted,
    copies: &Arc<Semaphore>,
    freed: &watch::Sender<()>,
) -> anyhow::Result<()> {
    let number = wanted.group;
    // A leader asks again, so one that finds no place is asked for once more.
    let Ok(place) = Arc::clone(copies).try_acquire_owned() else {
        return Ok(());
    };
    let tasks = {
        let mut residents = engine.residents.lock();
        match residents.by_number.remove(&number) {
            Some(Resident::Open(tasks)) => {
                residents.by_number.insert(number, Resident::Copying);
                tasks
            }
            Some(Resident::Copying) => {
                residents.by_number.insert(number, Resident::Copying);
                return Ok(());
            }
            None => return Ok(()),
        }
    };
    let (engine, freed) = (Arc::clone(engine), freed.clone());
    let task = {
        let engine = Arc::clone(&engine);
        async move {
            let wal = engine.replicas.get(number).map(|it| it.handle.wal.clone());
            engine.close(number, tasks).await;
            let metrics = &engine.opening.metrics.cluster;
            match engine.take_copy(&wanted, wal).await {
                Ok(true) => metrics.copies_done.inc(),
                // It opens again as it is.
                Ok(false) => {}
                Err(error) => {
                    metrics.copies_broken_off.inc();
                    tracing::warn!(
                        partition = number,
                        from = wanted.leader,
                        error = format!("{error:#}"),
                        "a copy of a partition broke off, it begins again"
                    );
                }
            }
            engine.residents.lock().by_number.remove(&number);
            freed.send_replace(());
            drop(place);
            Ok(())
        }
    };
    engine.spawn(task);
    Ok(())
}

impl Engine {
    /// Opens what is placed here and closes what is placed elsewhere.
    async fn place(&self, heeded: &mut Heeded) -> anyhow::Result<()> {
        let Some((placed, others)) = self.placed() else {
            return Ok(());
        };
        heeded.note(placed.iter().map(|it| (it.number, it.epoch)))?;
        for Elsewhere { number, epoch } in others {
            if !heeded.is_later(number, epoch) {
                continue;
            }
            let open = {
                let mut residents = self.residents.lock();
                match residents.by_number.get(&number) {
                    Some(Resident::Copying) => continue,
                    Some(Resident::Open(_)) => residents.by_number.remove(&number),
                    None => None,
                }
            };
            let tasks = match open {
                Some(Resident::Open(tasks)) => tasks,
                _ => Vec::new(),
            };
            let folder = self.opening.folder(&number.to_string());
            let is_removed = || Mark::read(&folder).map(|mark| mark == Some(Mark::Gone));
            if !folder.is_dir()
                || (tasks.is_empty() && !folder.join("log").exists() && is_removed()?)
            {
                continue;
            }
            self.close(number, tasks).await;
            self.remove_replica(number).await?;
            Mark::Gone.write(&folder)?;
            tracing::info!(partition = number, "the replica went to another node");
        }
        for placed in placed {
            let Placed {
                number, founders, ..
            } = placed;
            if self.residents.lock().by_number.contains_key(&number) {
                continue;
            }
            let folder = self.opening.folder(&number.to_string());
            if Mark::read(&folder)? == Some(Mark::Partial) {
                // A copy or a removal that was cut short.
                self.remove_replica(number).await?;
                Mark::Gone.write(&folder)?;
            }
            let first = self.opening.first(number, founders)?;
            let (tasks, _) = self.open_replica(number, first).await?;
            let mut residents = self.residents.lock();
            residents.by_number.insert(number, Resident::Open(tasks));
        }
        Ok(())
    }

    /// What the catalog places here, and what elsewhere; `None` before it places anything.
    fn placed(&self) -> Option<(Vec<Placed>, Vec<Elsewhere>)> {
        let me = self.opening.network.me;
        let catalog = self.catalog.lock();
        let cluster = catalog.cluster()?;
        let (mut placed, mut others) = (Vec::new(), Vec::new());
        for (number, placement) in (0..).zip(&cluster.placements) {
            match placement.involves(me) {
                true => placed.push(Placed {
                    number,
                    epoch: placement.epoch,
                    founders: (placement.epoch == 1 && placement.replicas.contains(&me))
                        .then(|| placement.replicas.iter().copied().collect()),
                }),
                false => others.push(Elsewhere {
                    number,
                    epoch: placement.epoch,
                }),
            }
        }
        Some((placed, others))
    }

    /// Opens the replica of a partition and lets it run. Tells the term in which this node serves the
    /// partition, 0 while it does not.
    pub(super) async fn open_replica(
        &self,
        number: PartitionNumber,
        first: chronos_raft::First,
    ) -> anyhow::Result<(Vec<AbortHandle>, watch::Receiver<u64>)> {
        let (replica, parts) = self
            .opening
            .replica(number, first)
            .await
            .with_context(|| format!("cannot open partition {number}"))?;
        let (served, serving) = watch::channel(0);
        let tasks = vec![
            self.spawn(replica::run(parts, served)),
            self.spawn(Arc::clone(&replica.retention).run(self.opening.begun)),
        ];
        if let Some(peers) = &self.opening.network.peers {
            let group = Arc::new(replica.handle.raft.clone());
            peers.served.insert(number, group);
        }
        self.replicas.insert(replica);
        Ok((tasks, serving))
    }

    /// Closes a replica, if it is open: nothing of it is written any more once this returns.
    async fn close(&self, number: PartitionNumber, tasks: Vec<AbortHandle>) {
        if let Some(peers) = &self.opening.network.peers {
            peers.served.remove(number);
        }
        let replicas = Arc::clone(&self.replicas);
        let removing = tokio::task::spawn_blocking(move || replicas.remove(number));
        let Ok(Some(replica)) = removing.await else {
            return;
        };
        let closing = async {
            let (reply, stopped) = oneshot::channel();
            if replica.handle.send(Message::Stop(reply)).await.is_ok() {
                let _ = stopped.await;
            }
            let _held = replica.retention.hold().await;
            tasks.iter().for_each(AbortHandle::abort);
        };
        if tokio::time::timeout(CLOSE_LIMIT, closing).await.is_err() {
            tracing::warn!(partition = number, "a replica closes with work under way");
            tasks.iter().for_each(AbortHandle::abort);
        }
        replica.handle.raft.shutdown().await;
    }

    /// Removes what the disk has of a partition, but for the vote that was given and a note of where the
    /// log ended. Leaves it marked as partial: that is durable before anything goes.
    async fn remove_replica(&self, number: PartitionNumber) -> anyhow::Result<()> {
        let folder = self.opening.folder(&number.to_string());
        let store = self.store.clone();
        let log = folder.join("log");
        // What is left of a log that is partly gone ends nowhere.
        let wal = match log.exists() && Mark::read(&folder)? != Some(Mark::Partial) {
            true => Some(self.opening.wal(&number.to_string(), u64::from(number))?),
            false => None,
        };
        let removing = move || -> anyhow::Result<()> {
            if let Some(wal) = wal {
                give_up_log(system_files(), folder.join("raft"), &wal)?;
            }
            Mark::Partial.write(&folder)?;
            chronos_core::store::copy::clear(&store, number)?;
            chronos_core::store::Store::flush(&store)?;
            if log.exists() {
                std::fs::remove_dir_all(&log).with_context(|| format!("cannot remove {log:?}"))?;
            }
            Ok(forget_positions(system_files(), folder.join("raft"))?)
        };
        tokio::task::spawn_blocking(removing).await?
    }

    /// Sends a copy of a replica that leads to another node.
    pub fn give_copy(
        &self,
        replica: Arc<Replica>,
        parts: mpsc::Sender<Part>,
    ) -> impl Future<Output = Result<(), GiveError>> + Send + use<> {
        let sent = self.opening.metrics.cluster.copied_bytes_sent.clone();
        copy::give(replica, self.store.clone(), parts, sent)
    }

    /// Replaces what the disk has of a partition by a copy from its leader. Returns whether it did: the
    /// replica, whose log is `wal`, may have caught up since the leader asked.
    async fn take_copy(&self, wanted: &SeedWanted, wal: Option<Wal>) -> anyhow::Result<bool> {
        let number = wanted.group;
        let Some(peers) = &self.opening.network.peers else {
            anyhow::bail!("there is no other node");
        };
        let mut parts = peers.source.copy(wanted.leader, number).await?;
        // Nothing is removed for a leader that gives nothing, or does not lead any more.
        let first = tokio::time::timeout(PART_LIMIT, parts.next()).await?;
        let first = first.context("the copy is empty")??;
        let Part::Begin { term, .. } = first else {
            anyhow::bail!("the copy does not begin with its beginning");
        };
        let folder = self.opening.folder(&number.to_string());
        if let Some(wal) = wal {
            let (dir, wanted) = (folder.join("raft"), SeedWanted { term, ..*wanted });
            let asks = move || is_still_wanted(system_files(), dir, &wal, &wanted);
            if !tokio::task::spawn_blocking(asks).await?? {
                return Ok(false);
            }
        }
        tracing::info!(
            partition = number,
            from = wanted.leader,
            "the log is too far behind: copying the partition"
        );
        self.remove_replica(number).await?;
        let wal = self.opening.wal(&number.to_string(), u64::from(number))?;
        let (store, raft, leader) = (self.store.clone(), folder.join("raft"), wanted.leader);
        let begin = move || Taking::begin(store, number, wal, raft, leader);
        let mut taking = tokio::task::spawn_blocking(begin).await??;
        let received = &self.opening.metrics.cluster.copied_bytes_received;
        let mut parts = futures::stream::once(async { Ok(first) })
            .chain(parts)
            .boxed();
        while let Some(part) = tokio::time::timeout(PART_LIMIT, parts.next()).await? {
            let part = part?;
            received.inc_by(part.bytes());
            let add = move || taking.add(part).map(|()| taking);
            taking = tokio::task::spawn_blocking(add).await??;
        }
        tokio::task::spawn_blocking(move || taking.finish()).await??;
        Mark::remove(&folder)?;
        tracing::info!(partition = number, "the partition was copied");
        Ok(true)
    }
}
