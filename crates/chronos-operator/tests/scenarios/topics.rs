//! Topics: made, changed by others, and let go in every order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_operator::api::{ConditionStatus, ScheduledTopic};
use chronos_operator::controller;
use chronos_operator::database::{Database, TopicSettings};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::stage::Stage;

/// What the design promises: nothing is stuck longer than this.
const ALL_GONE: Duration = Duration::from_secs(60);

async fn make(stage: &Stage, spec: Value) {
    make_named(stage, "orders", spec).await;
}

pub async fn make_named(stage: &Stage, name: &str, spec: Value) {
    let mut whole = json!({ "clusterRef": { "name": "db" }, "maxRetries": 3 });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let topic: ScheduledTopic = serde_json::from_value(json!({
        "apiVersion": "chronosdb.io/v1alpha1", "kind": "ScheduledTopic",
        "metadata": { "name": name }, "spec": whole,
    }))
    .unwrap();
    stage
        .api()
        .create(&PostParams::default(), &topic)
        .await
        .unwrap();
}

/// Reconciles once; `None` when the resource is gone.
async fn turn(stage: &Stage) -> Option<ScheduledTopic> {
    let topics: Api<ScheduledTopic> = stage.api();
    let topic = topics.get_opt("orders").await.unwrap()?;
    controller::reconcile_topic(Arc::new(topic), Arc::clone(&stage.context))
        .await
        .unwrap();
    topics.get_opt("orders").await.unwrap()
}

pub fn ready(topic: &ScheduledTopic) -> (ConditionStatus, String) {
    let status = topic.status.clone().unwrap();
    let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
    let ready = ready.unwrap();
    (ready.status, ready.reason)
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_topic_is_made_and_what_others_change_is_changed_back() {
    let stage = Stage::set("topic").await;
    make(&stage, json!({})).await;
    let topic = turn(&stage).await.unwrap();
    assert_eq!(ready(&topic).1, "ClusterMissing");
    stage.create(json!({})).await;
    let topic = turn(&stage).await.unwrap();
    assert_eq!(ready(&topic).0, ConditionStatus::True);
    let retries = || stage.database.state().topics["orders"].settings.max_retries;
    assert_eq!(retries(), Some(3));

    stage
        .database
        .state()
        .topics
        .get_mut("orders")
        .unwrap()
        .settings
        .max_retries = Some(9);
    let topic = turn(&stage).await.unwrap();
    assert_eq!(retries(), Some(3));
    let status = topic.status.unwrap();
    let drifted = status.conditions.iter().find(|c| c.type_ == "Drifted");
    assert_eq!(drifted.unwrap().status, ConditionStatus::True);

    // A change of the spec is no drift, and one that is taken away is cleared.
    let patch = Patch::Merge(json!({ "spec": { "maxRetries": null } }));
    let topics: Api<ScheduledTopic> = stage.api();
    topics
        .patch("orders", &PatchParams::default(), &patch)
        .await
        .unwrap();
    turn(&stage).await.unwrap();
    assert_eq!(retries(), None);

    // Lost altogether, it is made again.
    stage.database.state().topics.clear();
    turn(&stage).await.unwrap();
    assert!(stage.database.state().topics.contains_key("orders"));
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn deleting_keeps_the_topic_unless_told_otherwise() {
    let stage = Stage::set("kept").await;
    stage.create(json!({})).await;
    let topics: Api<ScheduledTopic> = stage.api();
    for (policy, stays) in [("Retain", true), ("Delete", false)] {
        make(&stage, json!({ "deletionPolicy": policy })).await;
        turn(&stage).await.unwrap();
        topics
            .delete("orders", &DeleteParams::default())
            .await
            .unwrap();
        assert!(turn(&stage).await.is_none());
        let there = stage.database.state().topics.contains_key("orders");
        assert_eq!(there, stays, "{policy}");
    }
    stage.delete_namespace().await;
}

/// It was refused because the topic is somebody else's; that one outlives it.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_topic_that_was_never_brought_about_is_not_deleted() {
    let stage = Stage::set("refused").await;
    stage.create(json!({})).await;
    let settings = TopicSettings {
        partitions: Some(16),
        ..TopicSettings::default()
    };
    stage
        .database
        .create_topic("orders", &settings)
        .await
        .unwrap();
    let spec = json!({ "partitions": 4, "deletionPolicy": "Delete" });
    make(&stage, spec).await;
    let topic = turn(&stage).await.unwrap();
    assert_eq!(ready(&topic).1, "SpecRefused");
    let topics: Api<ScheduledTopic> = stage.api();
    topics
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    assert!(turn(&stage).await.is_none());
    assert!(stage.database.state().topics.contains_key("orders"));
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_namespace_goes_though_the_database_is_silent_or_its_cluster_gone() {
    for cluster_first in [true, false] {
        let stage = Stage::set("going").await;
        stage.create(json!({})).await;
        make(&stage, json!({ "deletionPolicy": "Delete" })).await;
        turn(&stage).await.unwrap();
        stage.database.state().silent = true;
        if cluster_first {
            let clusters: Api<chronos_operator::api::ChronosCluster> = stage.api();
            clusters
                .delete("db", &DeleteParams::default())
                .await
                .unwrap();
        }
        stage.delete_namespace().await;
        let began = Instant::now();
        while !stage.namespace_is_gone().await {
            turn(&stage).await;
            assert!(began.elapsed() < ALL_GONE, "stuck");
        }
    }
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn another_namespace_has_to_be_allowed() {
    let home = Stage::set("home").await;
    home.create(json!({})).await;
    let mut guest = Stage::set("guest").await;
    guest.database = home.database.clone();
    guest.context = Arc::clone(&home.context);
    let reference = json!({ "name": "db", "namespace": home.namespace });
    make(&guest, json!({ "clusterRef": reference })).await;
    let topic = turn(&guest).await.unwrap();
    assert_eq!(ready(&topic).1, "NamespaceNotAllowed");
    assert!(home.database.state().topics.is_empty());
    home.change(json!({ "spec": { "topicNamespaces": [guest.namespace] } }))
        .await;
    let topic = turn(&guest).await.unwrap();
    assert_eq!(ready(&topic).0, ConditionStatus::True);
    home.delete_namespace().await;
    guest.delete_namespace().await;
}
