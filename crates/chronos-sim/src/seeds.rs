//! Many runs, on several threads.

use crate::faults::{Histogram, Kind};
use crate::plan::{Plan, Wish};
use crate::run::{REPEATS, Report, run};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One in so many seeds is run twice, to see that it repeats itself.
const REPEAT_EVERY: u64 = 50;

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many there were.
    pub runs: u64,
    /// How many of them were run again.
    pub repeated: u64,
    /// Seeds that did not repeat themselves.
    pub unsteady: Vec<u64>,
    /// Operations of clients.
    pub operations: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: i64,
    /// Faults by class.
    pub faults: Histogram,
    /// Runs that broke a rule, in the order of their seeds.
    pub failed: Vec<Report>,
    /// How long it took, seconds.
    pub seconds: f64,
}

impl Summary {
    /// Classes of faults that were never injected.
    #[must_use]
    pub fn missing(&self) -> Vec<Kind> {
        let counts = self.faults.counts();
        let is_missing = |kind: &Kind| counts.get(kind).copied().unwrap_or(0) == 0;
        Kind::ALL.into_iter().filter(is_missing).collect()
    }

    /// How much was done and which faults it met, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let counts = self.faults.counts();
        let rows = Kind::ALL.into_iter().map(|kind| {
            let count = counts.get(&kind).copied().unwrap_or(0);
            format!("| `{kind}` | {count} |\n")
        });
        format!(
            "{} runs: {} operations of clients, {} faults, {:.1} hours of simulated time.\n\n\
             | fault | times |\n|---|---|\n{}",
            self.runs,
            self.operations,
            counts.values().sum::<u64>(),
            self.simulated_ms as f64 / 3_600_000.0,
            rows.collect::<String>(),
        )
    }
}

/// Runs the seeds of a range, or only until one fails.
#[must_use]
pub fn run_seeds(
    seeds: Range<u64>,
    wish: &Wish,
    until_failure: bool,
    threads: Option<usize>,
) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let threads = threads.unwrap_or_else(processors);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || until_failure && !summary.lock().failed.is_empty() {
                return;
            }
            let report = run(Plan::of(seed, wish));
            let again =
                (REPEATS && seed.is_multiple_of(REPEAT_EVERY)).then(|| run(Plan::of(seed, wish)));
            let mut summary = summary.lock();
            summary.runs += 1;
            summary.operations += report.operations;
            summary.simulated_ms += report.simulated_ms;
            summary.faults.merge(&report.faults);
            if let Some(again) = again {
                summary.repeated += 1;
                if again.hash != report.hash {
                    summary.unsteady.push(seed);
                }
            }
            if !report.violations.is_empty() {
                summary.failed.push(report);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner();
    summary.failed.sort_by_key(|report| report.seed);
    summary.seconds = began.elapsed().as_secs_f64();
    summary
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
