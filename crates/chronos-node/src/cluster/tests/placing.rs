//! Replicas go where the catalog places them.

use super::node::{Cluster, Node, all_led, events_of, leader, led, publish, publish_due};
use super::{soon, until};
use crate::engine::retention::{Extent, Request};
use chronos_core::catalog::{ClusterCommand, Drain, Outcome};
use std::time::Duration;

fn total(node: &Node, partitions: u32) -> u64 {
    (0..partitions)
        .filter_map(|partition| events_of(node, partition))
        .sum()
}

fn replicas(node: &Node) -> usize {
    node.engine.replicas().all().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_gets_its_share_and_one_that_drains_gives_up_all() {
    let mut cluster = Cluster::new(3, 6, 2).await;
    let mut nodes = cluster.start().await;
    all_led(&nodes, 6).await;
    for number in 0..60 {
        publish(&nodes, &format!("event-{number}"), 10).await;
    }
    let fourth = cluster.start_one(4).await;
    let joined = nodes[1].engine.change_catalog(&cluster.put(4)).await;
    assert_eq!(joined.unwrap(), Outcome::Node(4));
    nodes.push(fourth);
    // Twelve replicas over four nodes.
    until("an even spread", || {
        nodes.iter().all(|node| replicas(node) == 3)
    })
    .await;

    let drain = ClusterCommand::SetDraining {
        id: 1,
        drain: Drain::Replicas,
        now_ms: 1,
    };
    let drained = nodes[2].engine.change_catalog(&drain.into()).await;
    assert_eq!(drained.unwrap(), Outcome::Done);
    until("an empty node", || replicas(&nodes[0]) == 0).await;
    until("two replicas of everything", || {
        nodes[1..].iter().map(|node| total(node, 6)).sum::<u64>() == 120
    })
    .await;
    for number in 0..60 {
        let (_, offset) = publish(&nodes, &format!("event-{number}"), 10).await;
        assert_eq!(offset, -1, "event-{number} is gone");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_too_far_behind_is_copied() {
    let mut cluster = Cluster::new(3, 1, 3).await;
    let mut nodes = cluster.start().await;
    all_led(&nodes, 1).await;
    // Into several segments of 64 KiB.
    for number in 0..60 {
        publish(&nodes, &format!("early-{number}"), 6_000).await;
    }
    let leads = led(&nodes, 0).await.id;
    let away = nodes.iter().position(|node| node.id != leads).unwrap();
    let away = nodes.remove(away);
    let id = away.id;
    away.stop().await;
    // What has fired may go, and the log's beginning with it.
    for number in 0..300 {
        publish_due(&nodes, &format!("late-{number}"), 6_000, 0).await;
    }
    reclaim(&nodes).await;

    let back = cluster.start_one(id).await;
    nodes[0]
        .engine
        .change_catalog(&cluster.put(id))
        .await
        .unwrap();
    until("a copy", || events_of(&back, 0) == Some(360)).await;
    publish(&nodes, "after", 10).await;
    until("what comes after the copy", || {
        events_of(&back, 0) == Some(361)
    })
    .await;
    nodes.push(back);
    lead(&nodes, id).await;
    for number in 0..60 {
        let (_, offset) = publish(&nodes, &format!("early-{number}"), 10).await;
        assert_eq!(offset, -1, "early-{number} is gone");
    }
    for node in nodes {
        node.stop().await;
    }
}

/// Lets the leader of partition 0 remove what it may, also when the lead moves meanwhile.
async fn reclaim(nodes: &[Node]) {
    let request = Request {
        extent: Extent::Everything,
        kept_for: Some(Duration::ZERO),
        ..Request::REGULAR
    };
    soon("segments to be removed", async {
        loop {
            let leader = led(nodes, 0).await;
            if let Some(retention) = leader.engine.retention(0)
                && let Ok(reclaimed) = retention.reclaim(request).await
                && reclaimed.segments > 0
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Makes a node lead partition 0. What the placer prefers may undo it.
async fn lead(nodes: &[Node], id: u64) {
    soon("the lead of one node", async {
        while leader(nodes, 0).is_none_or(|node| node.id != id) {
            let leader = led(nodes, 0).await;
            if let Some(replica) = leader.engine.replicas().get(0)
                && leader.id != id
            {
                // Refused by one that leads no more: then the next is asked.
                let _ = replica.handle.raft.transfer_lead(id).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
