//! What all leaders together answer.

use super::*;
use chronos_proto::cronos_db::{GetPartitionRequest, ListPartitionsRequest};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_lists_the_same_partitions() {
    let cluster = Cluster::start().await;
    for n in 0..12 {
        cluster.0[0]
            .publish(event(n % 4, &format!("n{n}")))
            .await
            .unwrap();
    }
    let mut lists = Vec::new();
    for node in &cluster.0 {
        let mut client = node.partitions();
        let list = client.list_partitions(ListPartitionsRequest::default());
        lists.push(list.await.unwrap().into_inner().partitions);
    }
    let listed: Vec<_> = lists[0]
        .iter()
        .map(|it| (it.partition_id, it.leader_id.as_str(), it.high_watermark))
        .collect();
    assert_eq!(
        listed,
        [
            (0, "node1", 3),
            (1, "node2", 3),
            (2, "node3", 3),
            (3, "node1", 3),
            (4, "node2", 0),
            (5, "node3", 0),
        ]
    );
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
    let mut client = cluster.0[0].partitions();
    let one = client.get_partition(GetPartitionRequest { partition_id: 2 });
    let one = one.await.unwrap();
    assert_eq!(leaders(one.metadata()).len(), 1);
    assert_eq!(one.into_inner(), lists[0][2]);
}
