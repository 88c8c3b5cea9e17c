//! How a cluster says it stands, and how nodes are taken in and out of service.

use super::node::{Cluster, Node, all_led};
use super::{LIMIT, soon};
use chronos_proto::cronos_db::{
    ClusterNode, ClusterStatusRequest, ClusterStatusResponse, DrainNodeRequest, DrainScope,
    NodeState, RemoveNodeRequest, SetNodeZoneRequest, UndrainNodeRequest,
};
use tonic::Code;

async fn status(node: &Node) -> Result<ClusterStatusResponse, tonic::Status> {
    let mut client = node.cluster.clone();
    let asked = client.cluster_status(ClusterStatusRequest {});
    Ok(soon("a status", asked).await?.into_inner())
}

/// Asks until the cluster stands as wanted.
async fn reach(
    node: &Node,
    what: &str,
    is_so: impl Fn(&ClusterStatusResponse) -> bool,
) -> ClusterStatusResponse {
    let deadline = tokio::time::Instant::now() + LIMIT;
    let mut last = None;
    while tokio::time::Instant::now() < deadline {
        if let Ok(status) = status(node).await {
            if is_so(&status) {
                return status;
            }
            last = Some(status);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen: {last:#?}");
}

fn of<'a>(status: &'a ClusterStatusResponse, name: &str) -> &'a ClusterNode {
    let found = status.nodes.iter().find(|node| node.name == name);
    found.unwrap()
}

fn is_well(status: &ClusterStatusResponse) -> bool {
    status.under_replicated == 0
        && status.leaderless == 0
        && status.moves == 0
        && status
            .nodes
            .iter()
            .all(|node| node.can_stop && node.leaders > 0)
}

async fn drain(node: &Node, name: &str, scope: DrainScope) -> Result<(), tonic::Status> {
    let request = DrainNodeRequest {
        name: name.into(),
        scope: scope.into(),
    };
    soon("an answer", node.cluster.clone().drain_node(request)).await?;
    Ok(())
}

async fn undrain(node: &Node, name: &str) {
    let name = name.to_owned();
    let request = UndrainNodeRequest { name };
    let undrained = soon("an answer", node.cluster.clone().undrain_node(request)).await;
    undrained.unwrap();
}

async fn remove(node: &Node, name: &str, number: u64, lost: bool) -> Result<(), tonic::Status> {
    let request = RemoveNodeRequest {
        name: name.into(),
        number,
        lost,
    };
    soon("an answer", node.cluster.clone().remove_node(request)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_leave_a_node_and_come_back() {
    let mut cluster = Cluster::new(3, 6, 3).await;
    let nodes = cluster.start().await;
    all_led(&nodes, 6).await;
    // Whichever node is asked, the answer is the same.
    for node in &nodes {
        let status = reach(node, "a healthy cluster", is_well).await;
        assert_eq!((status.partitions, status.replication_factor), (6, 3));
        let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        assert!(of(&status, &status.catalog_leader).catalog_leader);
        for node in &status.nodes {
            assert!(
                node.alive && node.caught_up && node.catalog_voter,
                "{node:?}"
            );
            assert_eq!((node.replicas, node.draining_ms), (6, 0));
        }
    }
    let leader = status(&nodes[0]).await.unwrap().catalog_leader;
    drain(&nodes[0], &leader, DrainScope::DrainLeaders)
        .await
        .unwrap();
    let drained = reach(&nodes[1], "a node without leads", |status| {
        let node = of(status, &leader);
        // Between two leaders of a partition nobody can say who may stop.
        node.leaders == 0 && !node.catalog_leader && node.can_stop && status.leaderless == 0
    })
    .await;
    let node = of(&drained, &leader);
    assert_eq!(node.state(), NodeState::NodeDraining);
    assert_eq!(node.drain(), DrainScope::DrainLeaders);
    assert_eq!(node.replicas, 6);
    assert!(node.catalog_voter && node.can_stop, "{node:?}");
    undrain(&nodes[2], &leader).await;
    reach(&nodes[0], "leads that come back", is_well).await;

    let refused = drain(&nodes[0], "nobody", DrainScope::DrainLeaders).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let refused = drain(&nodes[0], "n1", DrainScope::DrainNone).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_and_removed() {
    let mut cluster = Cluster::new(4, 4, 3).await;
    let nodes = cluster.start().await;
    all_led(&nodes, 4).await;
    reach(&nodes[0], "a healthy cluster", is_well).await;
    let refused = remove(&nodes[0], "n4", 4, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("drain it first"), "{refused}");

    drain(&nodes[0], "n4", DrainScope::DrainReplicas)
        .await
        .unwrap();
    let drained = reach(&nodes[1], "an empty node", |status| {
        let node = of(status, "n4");
        node.replicas == 0 && node.leaders == 0 && !node.catalog_voter && status.moves == 0
    })
    .await;
    assert!(of(&drained, "n4").can_stop);
    assert_eq!(drained.under_replicated, 0);
    let refused = remove(&nodes[0], "n4", 7, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    remove(&nodes[0], "n4", 4, false).await.unwrap();
    let left = status(&nodes[0]).await.unwrap();
    assert_eq!(left.nodes.len(), 3);
    let again = remove(&nodes[0], "n4", 4, false).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_removed_while_the_others_have_its_data() {
    let mut cluster = Cluster::new(3, 2, 3).await;
    let mut nodes = cluster.start().await;
    all_led(&nodes, 2).await;
    let refused = remove(&nodes[0], "n3", 3, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    nodes.remove(2).stop().await;
    let away = reach(&nodes[0], "a dead node", |status| !of(status, "n3").alive).await;
    assert_eq!(away.under_replicated, 2);
    for name in ["n1", "n2"] {
        let node = of(&away, name);
        assert!(!node.can_stop && !node.why_not.is_empty(), "{node:?}");
    }
    let at = tokio::time::Instant::now();
    while let Err(refused) = remove(&nodes[0], "n3", 3, true).await {
        // While others are elected, nobody knows who has the data.
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(at.elapsed() < LIMIT, "{refused}");
    }
    let left = status(&nodes[0]).await.unwrap();
    assert_eq!(left.nodes.len(), 2);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_named_for_a_node() {
    let mut cluster = Cluster::new(3, 1, 3).await;
    let nodes = cluster.start().await;
    all_led(&nodes, 1).await;
    let set = async |name: &str, zone: String| {
        let request = SetNodeZoneRequest {
            name: name.into(),
            zone,
        };
        soon("an answer", nodes[1].cluster.clone().set_node_zone(request)).await
    };
    set("n2", "west".into()).await.unwrap();
    assert_eq!(of(&status(&nodes[2]).await.unwrap(), "n2").zone, "west");
    let refused = set("n2", "x".repeat(129)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        set("n9", "x".into()).await.unwrap_err().code(),
        Code::NotFound
    );
    for node in nodes {
        node.stop().await;
    }
}
