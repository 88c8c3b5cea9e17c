//! Nodes that are started in any order, killed at any moment, and wiped, end in one cluster.

use super::scene::{Catalogs, Running, config, found, places, seeds};
use chronos_core::catalog::NodeState;
use chronos_raft::First;
use std::collections::BTreeSet;
use std::time::Duration;

/// A sequence that depends on its seed only.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    async fn pause(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_found_one_cluster_and_are_in_it_after_a_restart() {
    let (places, catalogs) = (places(3).await, Catalogs::default());
    let (nodes, members) = found(&places, &catalogs).await;
    let numbers: Vec<_> = members.iter().map(|member| member.me).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for member in &members {
        assert_eq!(member.cluster_id, members[0].cluster_id);
        assert_eq!((member.partitions, member.replication_factor), (16, 3));
        assert_eq!(member.first(), First::Voters(BTreeSet::from([1, 2, 3])));
        assert_eq!(member.founding, members[0].founding);
    }
    let founding = members[0].founding.as_ref().unwrap();
    for ((_, info), place) in founding.iter().zip(&places) {
        assert_eq!(info.name, place.name);
        // Found out by asking the seeds.
        assert_eq!(info.cluster_addr, place.address.to_string());
        assert_eq!(info.grpc_addr, "127.0.0.1:1");
    }
    for node in nodes {
        node.kill().await;
    }
    let config = config(&seeds(&places));
    for (place, member) in places.iter().zip(members) {
        // Alone: what is known for good needs nobody.
        let mut node = Running::start(place, &config, &catalogs).await;
        assert_eq!(node.member().await, member);
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_comes_late_is_waited_for() {
    let (places, catalogs) = (places(3).await, Catalogs::default());
    let config = config(&seeds(&places));
    let mut nodes = Vec::new();
    for place in &places[..2] {
        nodes.push(Running::start(place, &config, &catalogs).await);
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(catalogs.lock().unwrap().is_empty());
    nodes.push(Running::start(&places[2], &config, &catalogs).await);
    for node in &mut nodes {
        node.member().await;
    }
    assert_eq!(catalogs.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_or_wiped_meanwhile_one_cluster_comes_out() {
    for seed in 1..=4 {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed);
        let (mut places, catalogs) = (places(3).await, Catalogs::default());
        let config = config(&seeds(&places));
        let mut nodes: Vec<Option<Running>> = places.iter().map(|_| None).collect();
        for _ in 0..10 {
            let at = chance.below(3) as usize;
            if let Some(node) = nodes[at].take() {
                node.kill().await;
                // The founder's disk is not wiped: whether its founding held could not be known.
                if at != 0 && chance.below(3) == 0 {
                    places[at].wipe();
                }
            }
            nodes[at] = Some(Running::start(&places[at], &config, &catalogs).await);
            chance.pause(400).await;
        }
        let (mut ids, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for (at, node) in nodes.iter_mut().enumerate() {
            if node.is_none() {
                *node = Some(Running::start(&places[at], &config, &catalogs).await);
            }
        }
        for node in nodes.iter_mut().flatten() {
            let member = node.member().await;
            ids.insert(member.cluster_id);
            numbers.insert(member.me);
        }
        assert_eq!((ids.len(), numbers.len()), (1, 3), "seed {seed}");
        let only = catalogs.lock().unwrap().keys().copied().collect();
        assert_eq!(ids, only, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_comes_back_as_another_node() {
    let (mut places, catalogs) = (places(3).await, Catalogs::default());
    let (mut nodes, members) = found(&places, &catalogs).await;
    nodes.remove(1).kill().await;
    places[1].wipe();
    let config = config(&seeds(&places));
    let mut wiped = Running::start(&places[1], &config, &catalogs).await;
    let member = wiped.member().await;
    assert_eq!((member.cluster_id, member.me), (members[0].cluster_id, 4));
    assert_eq!(member.first(), First::Wait);
    assert_eq!(member.found_command(0), None);
    let shared = catalogs.lock().unwrap()[&member.cluster_id].clone();
    let known = shared.lock().unwrap().nodes();
    assert_eq!(known[&2].state, NodeState::Gone);
    assert_eq!(known[&4].info.name, "n1");
    // It is the same one from now on.
    wiped.kill().await;
    let mut again = Running::start(&places[1], &config, &catalogs).await;
    assert_eq!(again.member().await, member);
}
