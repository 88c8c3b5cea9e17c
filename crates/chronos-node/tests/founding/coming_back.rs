//! Members that come back, perhaps elsewhere, perhaps unwanted.

use super::scene::{Catalogs, Place, Running, config, found, free_address, places, seeds, soon};
use chronos_core::catalog::{ClusterCommand, NodeInfo};
use chronos_core::types::NodeId;
use chronos_node::cluster::announcing::announce;
use chronos_node::cluster::finder;
use chronos_node::cluster::joining::Rejected;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_all_moved_at_once_find_each_other() {
    let (mut places, catalogs) = (places(3).await, Catalogs::default());
    let (nodes, _) = found(&places, &catalogs).await;
    for node in nodes {
        node.kill().await;
    }
    for place in &mut places {
        place.address = free_address().await;
    }
    let config = config(&seeds(&places));
    let (mut nodes, mut finders) = (Vec::new(), Vec::new());
    for place in &places {
        let mut node = Running::start(place, &config, &catalogs).await;
        let member = node.member().await;
        let (found, finding) = mpsc::unbounded_channel::<(NodeId, NodeInfo)>();
        let learned = move |number, info: &NodeInfo| drop(found.send((number, info.clone())));
        let run = finder::run(Arc::clone(&node.me), member, learned);
        finders.push((tokio::spawn(run), finding));
        nodes.push(node);
    }
    for (at, (task, finding)) in finders.iter_mut().enumerate() {
        let mut found = BTreeMap::new();
        while found.len() < 2 {
            let (number, info) = soon("another member", finding.recv()).await.unwrap();
            found.insert(number as usize - 1, info.cluster_addr);
        }
        let mut expected: BTreeMap<_, _> = (places.iter().enumerate())
            .map(|(at, place)| (at, place.address.to_string()))
            .collect();
        expected.remove(&at);
        assert_eq!(found, expected);
        task.abort();
    }
    // The first seed turned out to be the first node, so that is where it tells others to go.
    assert_eq!(
        nodes[0].me.info().cluster_addr,
        places[0].address.to_string()
    );
    let member = nodes[1].me.standing();
    let chronos_node::cluster::founding::Standing::Member(member) = member else {
        panic!("{member:?}");
    };
    soon("the announcement", announce(&nodes[1].me, &member))
        .await
        .unwrap();
    let shared = catalogs.lock().unwrap()[&member.cluster_id].clone();
    let known = shared.lock().unwrap().nodes();
    assert_eq!(known[&2].info.cluster_addr, places[1].address.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_is_told_so() {
    let (places, catalogs) = (places(3).await, Catalogs::default());
    let (nodes, members) = found(&places, &catalogs).await;
    let shared = catalogs.lock().unwrap()[&members[0].cluster_id].clone();
    let remove = ClusterCommand::RemoveNode {
        id: 3,
        force: true,
        now_ms: 9,
    };
    shared.lock().unwrap().apply(remove.into());
    let told = soon("the answer", announce(&nodes[2].me, &members[2])).await;
    assert_eq!(told, Err(Rejected::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_joins_gets_a_number_from_whoever_leads() {
    let (places, catalogs) = (places(3).await, Catalogs::default());
    let (_nodes, members) = found(&places, &catalogs).await;
    let place = Place::new("late").await;
    let mut config = config(&seeds(&places));
    // It does not lead the catalog, but knows who does.
    config.cluster.join = vec![places[2].address.to_string().parse().unwrap()];
    config.cluster.listen = place.address.to_string().parse().unwrap();
    let mut node = Running::start(&place, &config, &catalogs).await;
    let member = node.member().await;
    assert_eq!((member.cluster_id, member.me), (members[0].cluster_id, 4));
    assert_eq!((member.partitions, member.replication_factor), (16, 3));
    let shared = catalogs.lock().unwrap()[&member.cluster_id].clone();
    let known = shared.lock().unwrap().nodes();
    assert_eq!(known[&4].info.cluster_addr, place.address.to_string());
}
