//! A node's process: what a kill ends and a start begins again.

use super::Ended;
use super::disk::{Disk, Writing};
use super::exit::Exit;
use super::leader::{Deposed, Leader};
use super::machine::{PartitionMachine, SharedPartition};
use super::mark::Mark;
use super::message::{Refused, Request};
use super::read::{PARTITION, ReadError, read};
use super::take::{TakeError, throw_away};
use crate::rules;
use crate::time::WallClock;
use crate::world::World;
use chronos_core::mutant;
use chronos_core::partition::Partition;
use chronos_core::partition::change::version_at;
use chronos_core::store::{MemoryStore, StoreError};
use chronos_raft::{First, Group, GroupOptions, OpenError, SeedWanted};
use chronos_wal::{FsyncMode, MIN_SEGMENT_BYTES, Options, Wal};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] chronos_wal::Error),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The group.
    #[error(transparent)]
    Group(#[from] OpenError),
    /// What a copy that broke off has left.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The mark of such a copy.
    #[error(transparent)]
    Mark(#[from] std::io::Error),
    /// It was killed meanwhile.
    #[error("it was killed while it started")]
    Killed,
}

/// A running process.
pub struct Process {
    /// The node it is of.
    pub node: u64,
    /// The node's clock.
    pub clock: Arc<WallClock>,
    /// Its log.
    pub wal: Wal,
    /// Its index.
    pub store: MemoryStore,
    /// Its partition.
    pub partition: SharedPartition,
    /// Its group.
    pub group: Group<PartitionMachine>,
    inbox: mpsc::UnboundedSender<Request>,
    writing: Writing,
    exit: Arc<Exit>,
    paused: watch::Sender<bool>,
    /// A leader says that the node needs a copy.
    wanted: watch::Sender<Option<SeedWanted>>,
    /// Held while the log's beginning is given up, or must not be.
    pub purging: tokio::sync::Mutex<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    failure: Mutex<Option<String>>,
}

impl Process {
    /// Starts on what the disk and the index hold.
    pub async fn start(
        world: &Arc<World>,
        node: u64,
        disk: &Arc<Disk>,
        store: MemoryStore,
        ended: Ended,
        clock: &Arc<WallClock>,
    ) -> Result<Arc<Self>, StartError> {
        let writing = disk.start_writing(Duration::from_millis(world.plan.flush_ms));
        let exit = Exit::new(world, node);
        let wanted = watch::Sender::new(None);
        let opening = Opening {
            world,
            node,
            disk,
            ended,
            writing: &writing,
            exit: &exit,
            wanted: &wanted,
        };
        let opened = opening.open(store.clone()).await;
        let (wal, partition, group) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                exit.close();
                writing.stop();
                return Err(error);
            }
        };
        let (inbox, requests) = mpsc::unbounded_channel();
        let process = Arc::new(Self {
            node,
            clock: Arc::clone(clock),
            wal,
            store,
            partition,
            group,
            inbox,
            writing,
            exit,
            paused: watch::Sender::new(false),
            wanted,
            purging: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            failure: Mutex::default(),
        });
        let tasks = [
            tokio::spawn(serve(Arc::clone(world), Arc::clone(&process), requests)),
            tokio::spawn(super::checkpoint::run(
                Arc::clone(world),
                Arc::clone(&process),
            )),
        ];
        process.tasks.lock().extend(tasks);
        Ok(process)
    }

    /// Hands it a request.
    pub fn request(&self, request: Request) {
        if let Err(mpsc::error::SendError(request)) = self.inbox.send(request) {
            request.refuse(Refused::Unknown);
        }
    }

    /// Whether a leader here may send events.
    #[must_use]
    pub fn may_deliver(&self) -> bool {
        self.group.holds_lease() || mutant!("deliver-without-lease")
    }

    /// When an event is wanted, Unix milliseconds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn wanted_ms(&self, offset: u64) -> Result<i64, ReadError> {
        let applied = self.partition.lock().applied();
        let at = applied.map_or(0, |applied| applied.index);
        match version_at(&self.store, PARTITION, offset, at)? {
            Some((version, _)) => Ok(version.schedule_ms),
            None => Ok(read(&self.store, &self.wal, offset)?.schedule_ms),
        }
    }

    /// Why it cannot go on, if something besides its group says so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// It cannot go on.
    async fn fail(&self, reason: String) {
        *self.failure.lock() = Some(reason);
        self.group.shutdown().await;
    }

    /// Holds it, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Waits until it is not held.
    pub async fn resumed(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives as long as this does.
        let _ = paused.wait_for(|paused| !paused).await;
    }

    /// Runs a task that ends with the process.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    /// Waits until a leader says that the node needs a copy.
    pub async fn wants_copy(&self) -> SeedWanted {
        let mut wanted = self.wanted.subscribe();
        loop {
            if let Some(wanted) = *wanted.borrow_and_update() {
                return wanted;
            }
            // The sender lives as long as this does.
            let _ = wanted.changed().await;
        }
    }

    /// Ends it at once, as a kill does. The disk must not take anything from it any more.
    pub fn end(self: &Arc<Self>) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.exit.close();
        self.writing.stop();
        // Whatever of the group is left meets closed files. It takes its time to notice.
        let process = Arc::clone(self);
        tokio::spawn(async move { process.group.shutdown().await });
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.node)
    }
}

/// How the log is set up.
pub(super) fn log_options(world: &World) -> Options {
    let mut options = Options::new(Disk::log_dir(), u64::from(PARTITION) + 1);
    options.fsync = world.plan.fsync;
    options.flush_interval = Duration::from_millis(world.plan.flush_ms);
    // As small as they may be, so that there are several.
    options.segment_bytes = MIN_SEGMENT_BYTES;
    options.index_interval = 8;
    options.tail_bytes = 16 << 10;
    options
}

/// What opening the log, the partition and the group needs.
struct Opening<'a> {
    world: &'a Arc<World>,
    node: u64,
    disk: &'a Arc<Disk>,
    ended: Ended,
    writing: &'a Writing,
    exit: &'a Arc<Exit>,
    wanted: &'a watch::Sender<Option<SeedWanted>>,
}

impl Opening<'_> {
    async fn open(
        &self,
        store: MemoryStore,
    ) -> Result<(Wal, SharedPartition, Group<PartitionMachine>), StartError> {
        let (world, node) = (self.world, self.node);
        let first = self.first(&store)?;
        let files = Arc::new(self.disk.files.clone());
        let (wal, _) = Wal::open(files, log_options(world), &self.writing.flusher)?;
        if world.plan.may_lose() {
            rules::mode::opened(world, node, wal.last_index(), self.ended);
        }
        let partition = Arc::new(Mutex::new(Partition::open(PARTITION, store)?));
        let machine = PartitionMachine::new(node, Arc::clone(world), Arc::clone(&partition));
        let group = Group::open(self.options(), wal.clone(), machine, first).await?;
        Ok((wal, partition, group))
    }

    fn options(&self) -> GroupOptions {
        let mut options = GroupOptions::new(self.node, "partition", Disk::group_dir());
        options.files = Arc::new(self.disk.files.clone());
        options.disk = chronos_raft::Disk::Inline;
        options.transport = Arc::clone(self.exit) as Arc<dyn chronos_raft::Transport>;
        options.seed = Some(self.world.chance());
        options.followers_may_forget = self.world.plan.fsync == FsyncMode::Periodic;
        let wanted = self.wanted.clone();
        options.on_seed_wanted = Arc::new(move |seed| {
            wanted.send_replace(Some(seed));
        });
        options
    }

    /// What the group is with an empty log. What a copy left that broke off goes.
    fn first(&self, store: &MemoryStore) -> Result<First, StartError> {
        let files = &self.disk.files;
        let mark = Mark::read(files)?;
        if mark == Some(Mark::Partial) {
            throw_away(files, store)?;
            Mark::Gone.write(files)?;
        }
        let voters: BTreeSet<u64> = (1..=self.world.plan.nodes as u64).collect();
        Ok(match voters.contains(&self.node) && mark.is_none() {
            true => First::Voters(voters),
            false => First::Wait,
        })
    }
}

/// Answers requests: as a leader while the node leads, with a refusal otherwise.
async fn serve(
    world: Arc<World>,
    process: Arc<Process>,
    mut inbox: mpsc::UnboundedReceiver<Request>,
) {
    loop {
        let term = tokio::select! {
            biased;
            term = process.group.lead() => match term {
                Ok(term) => term,
                Err(_) => return,
            },
            request = inbox.recv() => match request {
                Some(request) => {
                    let leader = process.group.status().leader;
                    request.refuse(Refused::NotLeader(leader.filter(|leader| *leader != process.node)));
                    continue;
                }
                None => return,
            },
        };
        let begun = Leader::begin(Arc::clone(&world), Arc::clone(&process), term).await;
        let deposed = match begun {
            Ok(leader) => leader.run(&mut inbox).await,
            Err(deposed) => deposed,
        };
        world.say(&process, format_args!("leads no more: {deposed}"));
        if let Deposed::Store(_) | Deposed::Read(_) = deposed {
            process.fail(deposed.to_string()).await;
            return;
        }
        // Others are asked before this node claims the lead again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
