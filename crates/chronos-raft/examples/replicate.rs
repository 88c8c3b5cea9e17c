//! Prints what replication costs with three nodes in one process: proposals per second, and CPU
//! when idle. The network is a function call.
//!
//! `cargo run --release -p chronos-raft --example replicate -- [folder]`

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronos_raft::{
    Applied, First, Group, GroupOptions, LogId, Machine, MachineError, Request, Transport,
    Unreachable,
};
use chronos_wal::{Flusher, Options, RealFiles, Wal};
use futures::FutureExt;
use futures::future::{self, BoxFuture};

const RUN: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
const NODES: u64 = 3;

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

/// All groups of all nodes, by node and group.
type Groups = HashMap<(u64, u32), Group<Nothing>>;

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Groups>>);

impl Transport for Calls {
    fn call(
        &self,
        target: u64,
        group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let known = self.0.lock().expect("not poisoned");
        match known.get(&(target, group)).cloned() {
            Some(found) => found.serve(request.into_bytes()).map(Ok).boxed(),
            None => future::ready(Err(Unreachable("not there yet".to_owned()))).boxed(),
        }
    }
}

#[tokio::main]
async fn main() {
    let parent = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("chronos-replicate-{}", std::process::id()));
    let flusher = Flusher::start(2);

    println!("in flight  bytes      proposals/s       MB/s    mean latency");
    for (run, (bytes, in_flight)) in [(100, 1), (100, 64), (250_000, 4), (1_000_000, 4)]
        .into_iter()
        .enumerate()
    {
        throughput(&dir.join(run.to_string()), &flusher, bytes, in_flight).await;
    }
    for count in [16, 256] {
        idle(&dir.join(format!("idle-{count}")), &flusher, count).await;
    }
    fs::remove_dir_all(&dir).expect("the folder was just written");
}

async fn throughput(dir: &Path, flusher: &Flusher, bytes: usize, in_flight: usize) {
    let calls = Calls::default();
    let groups = open(dir, flusher, &calls, 0).await;
    let group = leader(&groups).await;
    let command = Bytes::from(vec![7; bytes]);
    let mut waiting = VecDeque::new();
    let mut done = 0_u32;
    let start = Instant::now();
    while start.elapsed() < RUN {
        while waiting.len() < in_flight {
            waiting.push_back(group.propose(command.clone()));
        }
        if let Some(first) = waiting.pop_front() {
            first.await.expect("the group runs");
            done += 1;
        }
    }
    let rate = f64::from(done) / start.elapsed().as_secs_f64();
    println!(
        "{in_flight:>9}  {bytes:>6}  {rate:>14.0}  {:>9.1}  {:>14?}",
        rate * bytes as f64 / 1e6,
        Duration::from_secs_f64(in_flight as f64 / rate),
    );
    stop(&calls, groups).await;
}

async fn idle(dir: &Path, flusher: &Flusher, count: u32) {
    let calls = Calls::default();
    let mut all = Vec::new();
    for group in 0..count {
        let dir = dir.join(group.to_string());
        all.push(open(&dir, flusher, &calls, group).await);
    }
    for groups in &all {
        leader(groups).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu();
    tokio::time::sleep(IDLE).await;
    let share = (cpu() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!("{count} idle groups: {share:.2} % CPU for all three nodes");
    for groups in all {
        stop(&calls, groups).await;
    }
}

async fn leader(groups: &[Group<Nothing>]) -> Group<Nothing> {
    let leads = groups.iter().map(|group| group.lead().boxed());
    let (led, at, _) = future::select_all(leads).await;
    led.expect("the group runs");
    groups[at].clone()
}

async fn open(dir: &Path, flusher: &Flusher, calls: &Calls, group: u32) -> Vec<Group<Nothing>> {
    let mut groups = Vec::new();
    for node in 1..=NODES {
        let dir = dir.join(node.to_string());
        let log = Options::new(dir.join("log"), u64::from(group));
        let (wal, _) = Wal::open(Arc::new(RealFiles), log, flusher).expect("a new folder");
        let mut options = GroupOptions::new(node, format!("group-{group}"), dir.join("group"));
        options.group = group;
        options.transport = Arc::new(calls.clone());
        let first = First::Voters((1..=NODES).collect());
        let opened = Group::open(options, wal, Nothing, first).await;
        let opened = opened.expect("a new folder");
        let mut known = calls.0.lock().expect("not poisoned");
        known.insert((node, group), opened.clone());
        groups.push(opened);
    }
    groups
}

async fn stop(calls: &Calls, groups: Vec<Group<Nothing>>) {
    calls.0.lock().expect("not poisoned").clear();
    for group in groups {
        group.shutdown().await;
    }
}

/// The CPU time of this process so far.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
