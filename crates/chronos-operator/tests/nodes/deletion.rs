//! Deletion in every order: nothing is stuck, and what is to be kept is kept.

use chronos_operator::api::{ChronosCluster, ScheduledTopic};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use crate::stage::{ALL_GONE, CLUSTER, Stage, TOPIC};

async fn prepared(name: &str) -> Stage {
    let stage = Stage::set(name).await;
    stage.create_cluster(json!({})).await;
    stage
        .create_topic(json!({ "deletionPolicy": "Delete" }))
        .await;
    stage.ready().await;
    stage.topic_ready().await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_topic_then_its_cluster_then_the_namespace() {
    let stage = prepared("going-up").await;
    stage.delete::<ScheduledTopic>(TOPIC).await;
    stage.until_gone::<ScheduledTopic>(TOPIC, ALL_GONE).await;
    assert_eq!(stage.topic().await, None);
    stage.delete::<ChronosCluster>(CLUSTER).await;
    for ordinal in 0..3 {
        stage
            .until_gone::<Pod>(&format!("{CLUSTER}-{ordinal}"), ALL_GONE)
            .await;
        // The disks stay, as nobody said otherwise.
        let claims = stage.api::<PersistentVolumeClaim>();
        claims
            .get(&format!("data-{CLUSTER}-{ordinal}"))
            .await
            .unwrap();
    }
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_cluster_then_its_topic_and_then_the_namespace() {
    let stage = prepared("going-down").await;
    stage.delete::<ChronosCluster>(CLUSTER).await;
    stage.until_gone::<ChronosCluster>(CLUSTER, ALL_GONE).await;
    stage.delete::<ScheduledTopic>(TOPIC).await;
    stage.until_gone::<ScheduledTopic>(TOPIC, ALL_GONE).await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_namespace_with_all_that_is_in_it() {
    prepared("going-whole").await.strike().await;
}
