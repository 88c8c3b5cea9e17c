//! Whichever node is asked, it tells of the whole cluster and acts on it.

use std::process::Command;
use std::time::Duration;

use chronos_proto::cronos_db::raft_service_client::RaftServiceClient;
use chronos_proto::cronos_db_admin::admin_service_client::AdminServiceClient;
use chronos_proto::{cronos_db as wire, cronos_db_admin as admin};
use chronos_tests::cluster::ClusterProcesses;
use chronos_tests::http;
use chronos_tests::patience::eventually;
use chronos_tests::server::binary;

use super::load::{Load, PARTITIONS, three_nodes};

/// What is published meanwhile.
const WHILE: Duration = Duration::from_millis(1_500);

async fn topology(cluster: &ClusterProcesses, node: usize) -> admin::ClusterTopology {
    let channel = cluster.node(node).channel().unwrap();
    let asked = AdminServiceClient::new(channel)
        .get_cluster_topology(admin::GetClusterTopologyRequest::default())
        .await;
    asked.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_of_the_whole_cluster() {
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, crate::seed(140));
    tokio::time::sleep(WHILE).await;
    cluster.settled().await.unwrap();
    for node in 0..cluster.count() {
        let seen = topology(&cluster, node).await;
        assert!(seen.is_cluster_mode);
        assert_eq!((seen.total_nodes, seen.alive_nodes), (3, 3));
        assert_eq!(seen.total_partitions, PARTITIONS as i32);
        let names: Vec<&str> = seen.nodes.iter().map(|it| it.node_id.as_str()).collect();
        assert_eq!(names, ["node1", "node2", "node3"]);
        assert!(seen.partitions.iter().all(|it| it.replicas.len() == 3));
        // Leads may still move.
        eventually("the topology has the leaders", || async {
            let leaders = cluster.leaders_by(node).await?;
            let leaders = leaders.iter().map(|leader| format!("node{}", leader + 1));
            let seen = topology(&cluster, node).await;
            let told = seen.partitions.iter().map(|it| it.leader_id.clone());
            leaders.eq(told).then_some(())
        })
        .await;

        let mut client = AdminServiceClient::new(cluster.node(node).channel().unwrap());
        eventually("the groups have their members", || {
            let mut client = client.clone();
            async move {
                let request = admin::AdminListConsumerGroupsRequest::default();
                let groups = client.list_consumer_groups(request).await.ok()?;
                let groups = groups.into_inner().groups;
                let members = |group: &str| {
                    let found = groups.iter().find(|it| it.group_id == group);
                    found.map(|it| it.member_count)
                };
                (members("shared") == Some(2) && members("alone") == Some(1)).then_some(())
            }
        })
        .await;
        for partition_id in 0..PARTITIONS as i32 {
            let health = client.get_partition_health(admin::PartitionHealth { partition_id });
            let health = health.await.unwrap().into_inner();
            assert!(
                health.disk_usage_bytes > 0 && !health.replay_error,
                "{health:?}"
            );
            let lag = client.get_replication_lag(admin::ReplicationLag { partition_id });
            let lag = lag.await.unwrap().into_inner();
            // Partition 0 asks for all of them: who leads one may follow in another.
            let followers = lag.followers.len();
            assert!(
                followers == 2 || followers == 3 && partition_id == 0,
                "{lag:?}"
            );
        }

        let mut raft = RaftServiceClient::new(cluster.node(node).channel().unwrap());
        let status = raft.status(wire::RaftStatusRequest::default()).await;
        let status = status.unwrap().into_inner();
        assert_eq!((status.peers.len(), status.term > 0), (2, true));
    }
    load.finish(&mut cluster).await;

    // One that is gone is told of by the others.
    cluster.kill(2).await.unwrap();
    eventually("the loss of a node is noticed", || async {
        (topology(&cluster, 0).await.alive_nodes == 2).then_some(())
    })
    .await;
    let (status, body) = http::get(cluster.node(0).http_address().as_str(), "/health/deep")
        .await
        .unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("2 of 3 nodes answer"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_is_given_to_a_node_that_is_named() {
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, crate::seed(141));
    let leader = cluster.settled().await.unwrap()[0];
    let heir = (leader + 1) % cluster.count();
    let moved = Command::new(binary("chronosctl").unwrap())
        .args(["cluster", "transfer-leader", "0", "--to"])
        .arg(format!("node{}", heir + 1))
        .env("CHRONOS_ADDR", cluster.addresses().join(","))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&moved.stderr);
    assert!(moved.status.success(), "{said}");
    eventually("the heir leads", || async {
        (cluster.leaders_by(leader).await?[0] == heir).then_some(())
    })
    .await;
    // Another node may have led by the time the command came.
    let mut handed = 0.0;
    for node in 0..cluster.count() {
        let name = "chronos_raft_leads_handed_over_total";
        handed += cluster.node(node).metric(name).await.unwrap();
    }
    assert!(handed >= 1.0);
    load.finish(&mut cluster).await;
}
