//! The threads that write and sync for many logs.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;

/// A log's work. The log sees to it that only one run is under way or waiting at a time.
pub(crate) trait Job: Send + Sync {
    fn run(self: Arc<Self>);
    fn timer_fired(self: Arc<Self>);
}

/// Writes and syncs for any number of logs. Each log has at most one write under way; different
/// logs are served in parallel, in the order in which they got work.
///
/// A cheap handle: clones share the threads, which end when the last handle and the last log that
/// uses them are gone.
#[derive(Clone)]
pub struct Flusher {
    mode: Mode,
}

#[derive(Clone)]
enum Mode {
    Threads {
        jobs: Sender<Arc<dyn Job>>,
        timers: Sender<Timer>,
    },
    Manual(Arc<Manual>),
}

struct Timer {
    at: Instant,
    job: Weak<dyn Job>,
}

#[derive(Default)]
struct Manual {
    jobs: Mutex<VecDeque<Arc<dyn Job>>>,
    timers: Mutex<Vec<Weak<dyn Job>>>,
    on_work: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Flusher {
    /// Starts `threads` threads (at least one) and one for timers.
    ///
    /// # Panics
    /// When the system cannot start a thread, as [`thread::spawn`] does.
    pub fn start(threads: usize) -> Self {
        let (jobs, work) = unbounded::<Arc<dyn Job>>();
        for number in 0..threads.max(1) {
            let work = work.clone();
            spawn(format!("wal-flush-{number}"), move || {
                for job in work {
                    // A panic must not take the thread away from the other logs.
                    if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                        tracing::error!("a log's flush panicked; that log no longer writes");
                    }
                }
            });
        }
        let (timers, armed) = unbounded();
        spawn("wal-timer".into(), move || run_timers(&armed));
        Self {
            mode: Mode::Threads { jobs, timers },
        }
    }

    /// A flusher without threads, for simulations and tests that want each step in their hands:
    /// work waits until [`Flusher::run_one`] or until a call that waits for it. No time passes, so
    /// periodic syncs happen on [`Flusher::fire_timers`].
    pub fn manual() -> Self {
        Self {
            mode: Mode::Manual(Arc::default()),
        }
    }

    /// As [`Flusher::manual`]; `on_work` is called whenever work begins to wait, so that a
    /// simulation can let the disk take its time and then call [`Flusher::run_one`].
    pub fn manual_with(on_work: impl Fn() + Send + Sync + 'static) -> Self {
        let manual = Manual {
            on_work: Some(Box::new(on_work)),
            ..Manual::default()
        };
        Self {
            mode: Mode::Manual(Arc::new(manual)),
        }
    }

    /// Runs one waiting piece of work of a [`Flusher::manual`] on this thread. `false` when there
    /// is none, and always for a flusher that has threads.
    pub fn run_one(&self) -> bool {
        let Mode::Manual(manual) = &self.mode else {
            return false;
        };
        let job = manual.jobs.lock().pop_front();
        match job {
            Some(job) => {
                job.run();
                true
            }
            None => false,
        }
    }

    /// Lets the flush interval of all logs of a [`Flusher::manual`] pass. The syncs themselves
    /// happen in [`Flusher::run_one`].
    pub fn fire_timers(&self) {
        if let Mode::Manual(manual) = &self.mode {
            let due = std::mem::take(&mut *manual.timers.lock());
            for job in due.iter().filter_map(Weak::upgrade) {
                job.timer_fired();
            }
        }
    }

    pub(crate) fn submit(&self, job: Arc<dyn Job>) {
        match &self.mode {
            Mode::Threads { jobs, .. } => {
                // The receivers live as long as the threads, which outlive all senders.
                let _ = jobs.send(job);
            }
            Mode::Manual(manual) => {
                manual.jobs.lock().push_back(job);
                if let Some(on_work) = &manual.on_work {
                    on_work();
                }
            }
        }
    }

    pub(crate) fn arm(&self, at: Instant, job: Weak<dyn Job>) {
        match &self.mode {
            Mode::Threads { timers, .. } => {
                let _ = timers.send(Timer { at, job });
            }
            Mode::Manual(manual) => manual.timers.lock().push(job),
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher").finish_non_exhaustive()
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name).spawn(body) {
        panic!("cannot start a thread for the log: {error}");
    }
}

fn run_timers(armed: &Receiver<Timer>) {
    let mut waiting: Vec<Timer> = Vec::new();
    loop {
        let received = match waiting.iter().map(|timer| timer.at).min() {
            Some(at) => armed.recv_deadline(at),
            None => armed.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(timer) => waiting.push(timer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        waiting.retain(|timer| {
            let due = timer.at <= now;
            if due && let Some(job) = timer.job.upgrade() {
                job.timer_fired();
            }
            !due
        });
    }
}
