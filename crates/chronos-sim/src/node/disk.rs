//! A node's disk: files in memory that can lose, tear and damage writes, and writes that take time.

use crate::random::Random;
use chronos_wal::Flusher;
use chronos_wal::faulty::FaultyFiles;
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A disk. It outlives the processes that use it.
#[derive(Debug)]
pub struct Disk {
    /// The file system on it.
    pub files: FaultyFiles,
    takes_ms: RangeInclusive<u64>,
    random: Mutex<Random>,
    /// How many times slower than usual it is.
    slowness: AtomicU64,
}

impl Disk {
    /// An empty disk whose writes take so long.
    #[must_use]
    pub fn new(mut random: Random, takes_ms: RangeInclusive<u64>) -> Arc<Self> {
        Arc::new(Self {
            files: FaultyFiles::new(random.number()),
            takes_ms,
            random: Mutex::new(random),
            slowness: AtomicU64::new(1),
        })
    }

    /// The folder of the log.
    #[must_use]
    pub fn log_dir() -> PathBuf {
        PathBuf::from("/data/log")
    }

    /// The folder of the group's small files.
    #[must_use]
    pub fn group_dir() -> PathBuf {
        PathBuf::from("/data/group")
    }

    /// Makes it so many times slower than it is usually.
    pub fn slow_down(&self, times: u64) {
        self.slowness.store(times, Ordering::Relaxed);
    }

    fn next_write(&self) -> Duration {
        let mut random = self.random.lock();
        let usual = random.between(*self.takes_ms.start(), *self.takes_ms.end());
        Duration::from_millis(usual * self.slowness.load(Ordering::Relaxed))
    }

    /// Starts what writes for one process, on simulated time. Flush intervals are over that often.
    #[must_use]
    pub fn start_writing(self: &Arc<Self>, flush_every: Duration) -> Writing {
        let work = Arc::new(Notify::new());
        let flusher = {
            let work = Arc::clone(&work);
            Flusher::manual_with(move || work.notify_one())
        };
        let task = tokio::spawn({
            let (disk, flusher) = (Arc::clone(self), flusher.clone());
            async move {
                loop {
                    work.notified().await;
                    loop {
                        tokio::time::sleep(disk.next_write()).await;
                        if !flusher.run_one() {
                            break;
                        }
                    }
                }
            }
        });
        let timer = tokio::spawn({
            let flusher = flusher.clone();
            async move {
                loop {
                    tokio::time::sleep(flush_every).await;
                    flusher.fire_timers();
                }
            }
        });
        Writing {
            flusher,
            tasks: [task, timer],
        }
    }
}

/// What writes for one process.
#[derive(Debug)]
pub struct Writing {
    /// Where its logs hand their work to.
    pub flusher: Flusher,
    tasks: [JoinHandle<()>; 2],
}

impl Writing {
    /// The process ends. What waits to be written meets files that are closed.
    pub fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
        while self.flusher.run_one() {}
    }
}
