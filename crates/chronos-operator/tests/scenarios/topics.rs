//! Topics: made, changed by others, and let go in every order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_operator::api::{ConditionStatus, ScheduledTopic};
use chronos_operator::controller;
use chronos_operator::database::{Database, TopicSettings};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
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
    condition(topic, "Ready")
}

fn condition(topic: &ScheduledTopic, name: &str) -> (ConditionStatus, String) {
    let status = topic.status.clone().unwrap();
    let mut all = status.conditions.into_iter();
    let found = all.find(|condition| condition.type_ == name).unwrap();
    (found.status, found.reason)
}

async fn change(stage: &Stage, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let topics: Api<ScheduledTopic> = stage.api();
    topics
        .patch("orders", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn delete(stage: &Stage) {
    let topics: Api<ScheduledTopic> = stage.api();
    topics
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
}

/// The notes of events that were published for this reason.
async fn told(stage: &Stage, reason: &str) -> Vec<String> {
    let events: Api<Event> = stage.api();
    let all = events.list(&ListParams::default()).await.unwrap();
    all.into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason))
        .filter_map(|event| event.note)
        .collect()
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
    let drifted = |topic: &ScheduledTopic| condition(topic, "Drifted");
    let corrected = (ConditionStatus::True, "Corrected".to_owned());
    assert_eq!(drifted(&topic), corrected);
    assert_eq!(told(&stage, "Drifted").await.len(), 1);

    // A change of the spec is no drift, and one that is taken away is cleared.
    change(&stage, json!({ "maxRetries": null })).await;
    let topic = turn(&stage).await.unwrap();
    assert_eq!(retries(), None);
    assert_eq!(drifted(&topic).0, ConditionStatus::False);

    // Lost altogether, it is made again, and that is told.
    stage.database.state().topics.clear();
    let topic = turn(&stage).await.unwrap();
    assert!(stage.database.state().topics.contains_key("orders"));
    let recreated = (ConditionStatus::True, "Recreated".to_owned());
    assert_eq!(drifted(&topic), recreated);
    assert_eq!(ready(&topic).0, ConditionStatus::True);
    assert_eq!(told(&stage, "TopicRecreated").await.len(), 1);
    let topic = turn(&stage).await.unwrap();
    assert_eq!(drifted(&topic).0, ConditionStatus::False);
    stage.delete_namespace().await;
}

/// Who changes the spec while nobody compares is not somebody else.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_spec_that_changed_while_the_cluster_slept_is_no_drift() {
    let stage = Stage::set("slept").await;
    stage.create(json!({})).await;
    make(&stage, json!({})).await;
    let before = turn(&stage).await.unwrap().status.unwrap();
    stage.change(json!({ "spec": { "hibernate": true } })).await;
    change(&stage, json!({ "maxRetries": 5 })).await;
    let topic = turn(&stage).await.unwrap();
    assert_eq!(ready(&topic).1, "ClusterHibernated");
    let observed = topic.status.unwrap().observed_generation;
    assert_eq!(observed, before.observed_generation);
    stage
        .change(json!({ "spec": { "hibernate": false } }))
        .await;
    let topic = turn(&stage).await.unwrap();
    let retries = stage.database.state().topics["orders"].settings.max_retries;
    assert_eq!(retries, Some(5));
    assert_eq!(condition(&topic, "Drifted").0, ConditionStatus::False);
    assert!(told(&stage, "Drifted").await.is_empty());
    stage.delete_namespace().await;
}

/// Whoever deleted the resource may believe that its events do not fire any more.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_topic_that_stays_though_it_was_to_go_is_told_of() {
    let stage = Stage::set("left").await;
    stage.create(json!({})).await;
    make(&stage, json!({ "deletionPolicy": "Delete" })).await;
    turn(&stage).await.unwrap();
    change(&stage, json!({ "paused": true })).await;
    let topic = turn(&stage).await.unwrap();
    let paused = (ConditionStatus::Unknown, "Paused".to_owned());
    assert_eq!(ready(&topic), paused);
    delete(&stage).await;
    assert!(turn(&stage).await.is_none());
    assert!(stage.database.state().topics.contains_key("orders"));
    let notes = told(&stage, "TopicLeft").await;
    assert!(notes.len() == 1 && notes[0].contains("paused"), "{notes:?}");

    make(&stage, json!({ "deletionPolicy": "Delete" })).await;
    turn(&stage).await.unwrap();
    stage.change(json!({ "spec": { "hibernate": true } })).await;
    delete(&stage).await;
    assert!(turn(&stage).await.is_none());
    assert!(stage.database.state().topics.contains_key("orders"));
    let notes = told(&stage, "TopicLeft").await;
    let asleep = notes.iter().filter(|note| note.contains("stopped"));
    assert_eq!(asleep.count(), 1, "{notes:?}");
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn deleting_keeps_the_topic_unless_told_otherwise() {
    let stage = Stage::set("kept").await;
    stage.create(json!({})).await;
    for (policy, stays) in [("Retain", true), ("Delete", false)] {
        make(&stage, json!({ "deletionPolicy": policy })).await;
        turn(&stage).await.unwrap();
        delete(&stage).await;
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
    delete(&stage).await;
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
