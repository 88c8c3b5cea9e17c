//! Prints what a group costs: proposals per second with several in flight, and CPU when idle.
//!
//! `cargo run --release -p chronos-raft --example propose -- [folder]`

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronos_raft::{Applied, First, Group, GroupOptions, LogId, Machine, MachineError};
use chronos_wal::{Flusher, Options, RealFiles, Wal};

const RUN: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

struct Nothing;

impl Machine for Nothing {
    type Response = u64;

    fn applied(&self) -> Applied {
        Applied::default()
    }

    fn apply(&mut self, log_id: LogId, _command: Bytes) -> Result<u64, MachineError> {
        Ok(log_id.index)
    }

    fn apply_blank(&mut self, _log_id: LogId) {}

    fn apply_membership(&mut self, _log_id: LogId, _membership: Vec<u8>) {}
}

#[tokio::main]
async fn main() {
    let parent = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("chronos-raft-{}", std::process::id()));
    let flusher = Flusher::start(2);

    println!("in flight  bytes      proposals/s       MB/s    mean latency   CPU per proposal");
    for bytes in [100, 100_000] {
        for in_flight in [1, 64, 1000] {
            throughput(
                &dir.join(format!("{bytes}-{in_flight}")),
                &flusher,
                bytes,
                in_flight,
            )
            .await;
        }
    }
    for count in [1, 16] {
        idle(&dir.join(format!("idle-{count}")), &flusher, count).await;
    }
    fs::remove_dir_all(&dir).expect("the folder was just written");
}

async fn throughput(dir: &Path, flusher: &Flusher, bytes: usize, in_flight: usize) {
    let group = open(dir, flusher, 0).await;
    let command = Bytes::from(vec![7; bytes]);
    let mut waiting = VecDeque::new();
    let mut done = 0_u32;
    let (start, cpu) = (Instant::now(), CpuTime::now());
    while start.elapsed() < RUN {
        while waiting.len() < in_flight {
            waiting.push_back(group.propose(command.clone()));
        }
        if let Some(first) = waiting.pop_front() {
            first.await.expect("the group runs");
            done += 1;
        }
    }
    for rest in waiting {
        rest.await.expect("the group runs");
        done += 1;
    }
    let (wall, cpu) = (start.elapsed(), cpu.elapsed());
    let rate = f64::from(done) / wall.as_secs_f64();
    println!(
        "{in_flight:>9}  {bytes:>6}  {rate:>14.0}  {:>9.1}  {:>14?}  {:>17?}",
        rate * bytes as f64 / 1e6,
        Duration::from_secs_f64(in_flight as f64 / rate),
        cpu / done,
    );
    group.shutdown().await;
}

async fn idle(dir: &Path, flusher: &Flusher, count: usize) {
    let mut groups = Vec::new();
    let start = Instant::now();
    for n in 0..count {
        groups.push(open(&dir.join(n.to_string()), flusher, n as u64).await);
    }
    let opened = start.elapsed();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = CpuTime::now();
    tokio::time::sleep(IDLE).await;
    let share = before.elapsed().as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!("{count} idle groups: {share:.4} % CPU; opened and leading after {opened:?}");
    for group in groups {
        group.shutdown().await;
    }
}

async fn open(dir: &Path, flusher: &Flusher, log_id: u64) -> Group<Nothing> {
    let log = Options::new(dir.join("log"), log_id);
    let (wal, _) = Wal::open(Arc::new(RealFiles), log, flusher).expect("a new folder");
    let options = GroupOptions::new(1, format!("group-{log_id}"), dir.join("group"));
    let group = Group::open(options, wal, Nothing, First::only(1))
        .await
        .expect("a new folder");
    group.lead().await.expect("a single voter leads");
    group
}

/// The CPU time of each thread of this process so far, in nanoseconds.
struct CpuTime(HashMap<OsString, u64>);

impl CpuTime {
    fn now() -> Self {
        let tasks = fs::read_dir("/proc/self/task").expect("Linux");
        let time = |task: DirEntry| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanos = stat.split(' ').next()?.parse().ok()?;
            Some((task.file_name(), nanos))
        };
        Self(tasks.filter_map(|task| time(task.ok()?)).collect())
    }

    fn elapsed(&self) -> Duration {
        let now = Self::now();
        let since = |(task, nanos): (&OsString, &u64)| nanos - self.0.get(task).unwrap_or(&0);
        Duration::from_nanos(now.0.iter().map(since).sum())
    }
}
