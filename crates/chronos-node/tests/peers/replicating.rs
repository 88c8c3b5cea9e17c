//! Groups of three nodes that agree over real connections and real files.

use super::{Listening, soon};
use bytes::Bytes;
use chronos_node::cluster::peers::Peers;
use chronos_raft::{Applied, First, Group, GroupOptions, LogId, Machine, MachineError};
use chronos_wal::{Flusher, RealFiles, Wal};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Journal = Arc<Mutex<Vec<Bytes>>>;

/// Keeps what it applies.
struct Keeper(Journal);

impl Machine for Keeper {
    type Response = usize;

    fn applied(&self) -> Applied {
        Applied::default()
    }

    fn apply(&mut self, _: LogId, command: Bytes) -> Result<usize, MachineError> {
        let mut journal = self.0.lock().unwrap();
        journal.push(command);
        Ok(journal.len())
    }

    fn apply_blank(&mut self, _: LogId) {}

    fn apply_membership(&mut self, _: LogId, _: Vec<u8>) {}
}

struct Node {
    listening: Listening,
    peers: Arc<Peers>,
    groups: Vec<Group<Keeper>>,
    journals: Vec<Journal>,
    _flusher: Flusher,
}

/// How many groups share the connections.
const GROUPS: u32 = 8;

async fn open(id: u64, dir: &Path, listening: Listening, peers: Arc<Peers>) -> Node {
    let flusher = Flusher::start(2);
    let (mut groups, mut journals) = (Vec::new(), Vec::new());
    for number in 0..GROUPS {
        let dir = dir.join(number.to_string());
        let wal_options = chronos_wal::Options::new(dir.join("log"), u64::from(number));
        let (wal, _) = Wal::open(Arc::new(RealFiles), wal_options, &flusher).unwrap();
        let mut options = GroupOptions::new(id, number.to_string(), dir.join("raft"));
        options.group = number;
        options.transport = Arc::clone(&peers) as _;
        let journal = Journal::default();
        let machine = Keeper(Arc::clone(&journal));
        let voters = First::Voters(BTreeSet::from([1, 2, 3]));
        let group = Group::open(options, wal, machine, voters).await.unwrap();
        listening.served.insert(number, Arc::new(group.clone()));
        groups.push(group);
        journals.push(journal);
    }
    Node {
        listening,
        peers,
        groups,
        journals,
        _flusher: flusher,
    }
}

async fn three(dir: &Path) -> Vec<Node> {
    let mut listening = Vec::new();
    for _ in 0..3 {
        listening.push(Listening::start().await);
    }
    let addresses: Vec<String> = (listening.iter())
        .map(|listening| listening.address.to_string())
        .collect();
    let mut nodes = Vec::new();
    for (id, listening) in (1..).zip(listening) {
        let peers = Arc::new(Peers::new());
        for (other, address) in (1..).zip(&addresses) {
            if other != id {
                peers.locate(other, address);
            }
        }
        nodes.push(open(id, &dir.join(id.to_string()), listening, peers).await);
    }
    nodes
}

/// Proposes on whatever node leads until it is done there.
async fn propose(nodes: &[Node], group: usize, command: &'static [u8]) {
    loop {
        for node in nodes {
            let proposed = node.groups[group].propose(Bytes::from_static(command));
            if proposed.await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn all_hold(nodes: &[Node], group: usize, command: &[u8]) {
    for node in nodes {
        while !node.journals[group]
            .lock()
            .unwrap()
            .iter()
            .any(|held| held == command)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_and_two_go_on_without_the_third() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = three(dir.path()).await;
    for group in 0..GROUPS as usize {
        soon("a first command", propose(&nodes, group, b"first")).await;
        soon("its way to all", all_hold(&nodes, group, b"first")).await;
    }
    // The node that leads the first group goes, with all its connections.
    let leader = (nodes.iter())
        .position(|node| node.groups[0].leadership().get().leads)
        .unwrap();
    let gone = nodes.remove(leader);
    drop(gone.listening);
    for group in &gone.groups {
        group.shutdown().await;
    }
    drop(gone.peers);
    for group in 0..GROUPS as usize {
        soon("a second command", propose(&nodes, group, b"second")).await;
        soon("its way to both", all_hold(&nodes, group, b"second")).await;
        let journals: BTreeSet<Vec<Bytes>> = (nodes.iter())
            .map(|node| node.journals[group].lock().unwrap().clone())
            .collect();
        assert_eq!(journals.len(), 1, "group {group}: {journals:?}");
    }
    for node in &nodes {
        for group in &node.groups {
            group.shutdown().await;
        }
    }
}
