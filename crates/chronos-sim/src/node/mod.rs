//! The nodes of a cluster: what lasts of them, and the processes that come and go.
//!
//! | file | holds |
//! |---|---|
//! | `disk.rs` | files that can misbehave, and writes that take time |
//! | `process.rs` | a process from start to end |
//! | `exit.rs` | the way to other processes |
//! | `machine.rs` | the partition under the log |
//! | `leader.rs` | the driver of the node that leads |
//! | `deliver.rs` | consumer groups there |
//! | `stream.rs` | the way to a consumer |
//! | `read.rs` | reading events back |
//! | `checkpoint.rs` | saving the partition's state |
//! | `purge.rs` | giving up the log's beginning after that |
//! | `copy.rs`, `give.rs`, `take.rs`, `mark.rs` | a copy for a node that is too far behind |
//! | `message.rs` | what clients ask |

mod checkpoint;
mod copy;
mod deliver;
mod disk;
mod exit;
mod give;
mod leader;
mod machine;
mod mark;
mod message;
mod process;
mod purge;
mod read;
mod stream;
mod take;

pub use copy::copy;
pub use deliver::ACK_TIMEOUT;
pub use disk::Disk;
pub use message::{ChangeAnswer, Refused, Reply, Request, Sent};
pub use process::{Process, StartError};
pub use read::{PARTITION, ReadError, StoredEvent, read};

use crate::time::{Timeline, WallClock};
use crate::world::World;
use chronos_core::store::MemoryStore;
use chronos_wal::faulty::Lost;
use parking_lot::Mutex;
use std::sync::Arc;

/// A node. It has a disk, an index and a clock, and a process while it runs.
#[derive(Debug)]
pub struct Node {
    /// Its number, which no other node ever has.
    pub number: u64,
    /// Its disk.
    pub disk: Arc<Disk>,
    /// Its clock.
    pub clock: Arc<WallClock>,
    time: Timeline,
    state: Mutex<State>,
}

/// How the last process of a node ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended {
    /// When, microseconds.
    pub at_us: i64,
    /// Whether the machine lost power then or since.
    pub power: bool,
}

#[derive(Debug)]
struct State {
    /// What is durable of the index.
    store: MemoryStore,
    process: Option<Arc<Process>>,
    /// How often its process was ended.
    ends: u64,
    ended: Ended,
    /// Whether its disk was made to fail, so that it may stop.
    is_disturbed: bool,
}

impl Node {
    /// A node with an empty disk.
    #[must_use]
    pub fn new(world: &World, number: u64) -> Arc<Self> {
        let random = world.plan.random(&format!("disk of {number}"));
        Arc::new(Self {
            number,
            disk: Disk::new(random, world.plan.disk_ms.clone()),
            clock: Arc::new(WallClock::new(world.time)),
            time: world.time,
            state: Mutex::new(State {
                store: MemoryStore::new(),
                process: None,
                ends: 0,
                ended: Ended::default(),
                is_disturbed: false,
            }),
        })
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<Arc<Process>> {
        self.state.lock().process.clone()
    }

    /// Whether this is its process.
    #[must_use]
    pub fn is_running(&self, process: &Arc<Process>) -> bool {
        let state = self.state.lock();
        state
            .process
            .as_ref()
            .is_some_and(|running| Arc::ptr_eq(running, process))
    }

    /// How often its process was ended.
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.state.lock().ends
    }

    /// Its index, while it has no process.
    fn store(&self) -> MemoryStore {
        self.state.lock().store.clone()
    }

    /// Its disk is about to fail.
    pub fn disturb(&self) {
        self.state.lock().is_disturbed = true;
    }

    /// Whether its disk was made to fail at any time.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.state.lock().is_disturbed
    }

    /// Starts its process.
    ///
    /// # Errors
    /// When what it finds on its disk does not let it, or when it is killed meanwhile.
    pub async fn start(&self, world: &Arc<World>) -> Result<Arc<Process>, StartError> {
        let (store, ends, ended) = {
            let state = self.state.lock();
            (state.store.clone(), state.ends, state.ended)
        };
        let started =
            Process::start(world, self.number, &self.disk, store, ended, &self.clock).await;
        let state = &mut *self.state.lock();
        match started {
            Ok(process) if state.ends == ends => {
                world.say(&process, format_args!("starts"));
                state.process = Some(Arc::clone(&process));
                state.ended.power = false;
                Ok(process)
            }
            Ok(process) => {
                process.end();
                Err(StartError::Killed)
            }
            Err(_) if state.ends != ends => Err(StartError::Killed),
            Err(error) => {
                // The partition may have been opened and brought up to the log.
                state.store = state.store.crash();
                Err(error)
            }
        }
    }

    /// Kills its process: files keep what was written, the index what was flushed.
    pub fn kill(&self) {
        self.end(false, |disk| disk.files.kill());
    }

    /// Takes its power: of what was not synced, the disk keeps what chance says. Says what it lost.
    pub fn lose_power(&self, seed: u64) -> Lost {
        self.end(true, |disk| disk.files.power_loss(seed))
    }

    fn end<T>(&self, power: bool, close: impl FnOnce(&Disk) -> T) -> T {
        let state = &mut *self.state.lock();
        let closed = close(&self.disk);
        state.ends += 1;
        state.store = state.store.crash();
        state.ended.power |= power;
        if let Some(process) = state.process.take() {
            state.ended.at_us = self.time.now_us();
            process.end();
        }
        closed
    }

    /// Ends every fault that it suffers.
    pub fn heal(&self) {
        self.disk.files.heal();
        self.disk.files.set_capacity_bytes(None);
        self.disk.slow_down(1);
        self.clock.correct();
        if let Some(process) = self.process() {
            process.pause(false);
        }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
