//! What most nodes have survives the loss of the others.

use super::node::{Cluster, all_led, events_of, led, publish};
use super::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_gets_what_is_published_and_others_lead_when_a_node_goes() {
    let mut cluster = Cluster::new(3, 4, 3).await;
    let mut nodes = cluster.start().await;
    all_led(&nodes, 4).await;
    for number in 0..40 {
        publish(&nodes, &format!("before-{number}"), 10).await;
    }
    let total = |node: &super::node::Node| -> u64 {
        (0..4)
            .filter_map(|partition| events_of(node, partition))
            .sum()
    };
    until("everything on every node", || {
        nodes.iter().all(|node| total(node) == 40)
    })
    .await;

    let gone = led(&nodes, 0).await.id;
    let at = nodes.iter().position(|node| node.id == gone).unwrap();
    nodes.remove(at).stop().await;
    all_led(&nodes, 4).await;
    for number in 0..40 {
        publish(&nodes, &format!("after-{number}"), 10).await;
        // What was acknowledged before is known to whoever leads now.
        let (_, offset) = publish(&nodes, &format!("before-{number}"), 10).await;
        assert_eq!(offset, -1, "before-{number} was taken twice");
    }
    let back = cluster.start_one(gone).await;
    nodes[0]
        .engine
        .change_catalog(&cluster.put(gone))
        .await
        .unwrap();
    until("the one that was away to catch up", || total(&back) == 80).await;
    nodes.push(back);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_can_stop_and_come_back_at_other_addresses() {
    let mut cluster = Cluster::new(3, 2, 3).await;
    let nodes = cluster.start().await;
    all_led(&nodes, 2).await;
    for number in 0..10 {
        publish(&nodes, &format!("before-{number}"), 10).await;
    }
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.start().await;
    all_led(&nodes, 2).await;
    for number in 0..10 {
        let (_, offset) = publish(&nodes, &format!("before-{number}"), 10).await;
        assert_eq!(offset, -1, "before-{number} is gone");
    }
    for node in nodes {
        node.stop().await;
    }
}
