//! A lead is told of with the term in which it is held, also in the moment in which it is lost.

use super::node::{Cluster, all_led, leader};
use super::until;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often the lead changes hands.
const HANDOVERS: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_nodes_tell_that_they_lead_in_the_same_term() {
    let mut cluster = Cluster::new(3, 1, 3).await;
    let nodes = cluster.start().await;
    all_led(&nodes, 1).await;
    let engines: Vec<_> = nodes
        .iter()
        .map(|node| (node.id, Arc::clone(&node.engine)))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    // As often as can be: the moment is short.
    let watching = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut told = HashMap::new();
            while !over.load(Ordering::Acquire) {
                for (id, engine) in &engines {
                    for (partition, term) in engine.replicas().leads() {
                        let first = *told.entry((partition, term)).or_insert(*id);
                        if first != *id {
                            return Err((partition, term, first, *id));
                        }
                    }
                }
            }
            Ok(told.len())
        }
    });
    for number in 0..HANDOVERS {
        until("somebody to lead", || leader(&nodes, 0).is_some()).await;
        let Some(from) = leader(&nodes, 0) else {
            continue;
        };
        let to = nodes[(number % 3) as usize].id;
        let replica = from.engine.replicas().get(0).unwrap();
        if to != from.id && replica.handle.raft.transfer_lead(to).await.is_ok() {
            until("the other one to lead", || {
                leader(&nodes, 0).is_some_and(|node| node.id == to)
            })
            .await;
        }
    }
    over.store(true, Ordering::Release);
    let told = watching.join().unwrap();
    for node in nodes {
        node.stop().await;
    }
    let terms = told.unwrap_or_else(|(partition, term, first, second)| {
        panic!("{first} and {second} tell that they lead partition {partition} in term {term}")
    });
    assert!(terms > 3, "the lead did not change hands");
}
