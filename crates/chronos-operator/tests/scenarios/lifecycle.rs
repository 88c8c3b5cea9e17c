//! A cluster's life: made, scaled, changed, put to sleep, left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronos_operator::api::ConditionStatus;
use chronos_operator::build::RETIRED_ANNOTATION;
use chronos_operator::controller;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::stage::Stage;

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn three_lines_make_a_cluster_and_looking_again_changes_nothing() {
    let stage = Stage::set("made").await;
    stage.create(json!({})).await;
    let cluster = stage.running().await;
    assert_eq!(stage.names::<Pod>().await, set(["db-0", "db-1", "db-2"]));
    assert!(
        stage
            .names::<Service>()
            .await
            .is_superset(&set(["db-client", "db-nodes"]))
    );
    assert_eq!(stage.names::<PodDisruptionBudget>().await, set(["db"]));
    let status = cluster.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (3, 3));
    assert_eq!(status.cluster_id, Some("ab".repeat(16)));
    assert_eq!(status.image.as_deref(), Some("chronosdb:1"));
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.status, ConditionStatus::True);

    // Founded: the seeds gave way, so that a fresh disk joins and never founds.
    let record: ConfigMap = stage.api().get("db-record").await.unwrap();
    let data = record.data.unwrap();
    assert!(data.contains_key("join") && !data.contains_key("seeds"));

    let before = versions(&stage).await;
    for _ in 0..3 {
        stage.turn().await;
    }
    assert_eq!(versions(&stage).await, before);
    stage.delete_namespace().await;
}

/// What changes with every write. Kubernetes itself writes the set's status.
async fn versions(stage: &Stage) -> Vec<Option<String>> {
    let services = stage.api::<Service>();
    vec![
        stage.cluster().await.resource_version(),
        services.get("db-client").await.unwrap().resource_version(),
        services.get("db-nodes").await.unwrap().resource_version(),
        stage
            .api::<ConfigMap>()
            .get("db-record")
            .await
            .unwrap()
            .resource_version(),
        stage
            .stateful_set()
            .await
            .metadata
            .generation
            .map(|n| n.to_string()),
    ]
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn three_become_five_and_three_again_and_five_with_fresh_disks() {
    let stage = Stage::set("scaled").await;
    stage.create(json!({})).await;
    stage.running().await;
    let template = stage.stateful_set().await.spec.unwrap().template;

    stage.change(json!({ "spec": { "replicas": 5 } })).await;
    stage.running().await;
    assert_eq!(stage.names::<Pod>().await.len(), 5);
    assert_eq!(stage.stateful_set().await.spec.unwrap().template, template);
    let old = stage.claim("data-db-3").await.uid();

    stage.change(json!({ "spec": { "replicas": 3 } })).await;
    stage.running().await;
    assert_eq!(stage.names::<Pod>().await, set(["db-0", "db-1", "db-2"]));
    let calls: Vec<String> = stage.database.state().calls.clone();
    assert_eq!(
        calls,
        [
            "drain db-4 Replicas",
            "remove db-4",
            "drain db-3 Replicas",
            "remove db-3"
        ]
    );
    // The disks are there, and known to be of no use.
    for name in ["data-db-3", "data-db-4"] {
        let claim = stage.claim(name).await;
        assert!(claim.annotations().contains_key(RETIRED_ANNOTATION));
        assert!(claim.metadata.deletion_timestamp.is_none());
    }

    stage.database.state().removed.clear();
    stage.change(json!({ "spec": { "replicas": 5 } })).await;
    stage.running().await;
    let new = stage.claim("data-db-3").await;
    assert_ne!(new.uid(), old);
    assert!(!new.annotations().contains_key(RETIRED_ANNOTATION));
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_change_of_settings_restarts_one_node_at_a_time() {
    let stage = Stage::set("rolled").await;
    stage.create(json!({})).await;
    stage.running().await;
    let before = stage.pods().await;
    stage
        .change(json!({ "spec": { "config": { "logLevel": "debug" } } }))
        .await;
    stage
        .until("Running", async |stage| {
            let there = stage.names::<Pod>().await.len();
            assert!(there >= 2, "two nodes at once");
        })
        .await;
    let after = stage.pods().await;
    assert!(before.is_disjoint(&after), "every pod was made anew");
    let calls = stage.database.state().calls.clone();
    let drained: Vec<&String> = calls.iter().filter(|c| c.starts_with("drain")).collect();
    // db-0 leads the catalog, so it comes last.
    assert_eq!(
        drained,
        [
            "drain db-2 Leaders",
            "drain db-1 Leaders",
            "drain db-0 Leaders"
        ]
    );
    let counted = stage.context.metrics.render().unwrap();
    for line in [
        "chronos_operator_actions_total{reason=\"Created\"} 1",
        "chronos_operator_actions_total{reason=\"LeadersMoving\"} 3",
        "chronos_operator_actions_total{reason=\"RollingUpdate\"} 3",
        "chronos_operator_pod_restarts_total{reason=\"RollingUpdate\"} 3",
    ] {
        assert!(counted.contains(line), "no {line} in {counted}");
    }
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_cluster_sleeps_and_wakes_with_its_disks() {
    let stage = Stage::set("slept").await;
    stage.create(json!({})).await;
    stage.running().await;
    let disk = stage.claim("data-db-1").await.uid();
    stage.change(json!({ "spec": { "hibernate": true } })).await;
    stage.until("Hibernated", async |_| {}).await;
    assert!(stage.names::<Pod>().await.is_empty());
    assert_eq!(stage.names::<PersistentVolumeClaim>().await.len(), 3);
    stage.change(json!({ "spec": { "hibernate": null } })).await;
    stage.running().await;
    assert_eq!(stage.names::<Pod>().await.len(), 3);
    assert_eq!(stage.claim("data-db-1").await.uid(), disk);
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_silent_database_stops_everything_but_repair() {
    let stage = Stage::set("silent").await;
    stage.create(json!({})).await;
    stage.running().await;
    stage.database.state().silent = true;
    stage
        .change(json!({ "spec": { "replicas": 5, "config": { "logLevel": "debug" } } }))
        .await;
    let before = stage.pods().await;
    stage.says("does not answer").await;
    for _ in 0..3 {
        stage.turn().await;
    }
    assert_eq!(stage.pods().await, before);
    stage.database.state().silent = false;
    stage.running().await;
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_paused_cluster_is_left_alone() {
    let stage = Stage::set("paused").await;
    stage.create(json!({})).await;
    stage.running().await;
    let paused = json!({ "spec": { "paused": true, "replicas": 5 } });
    stage.change(paused).await;
    stage.until("Paused", async |_| {}).await;
    assert_eq!(stage.stateful_set().await.spec.unwrap().replicas, Some(3));
    stage.change(json!({ "spec": { "paused": null } })).await;
    stage.running().await;
    assert_eq!(stage.names::<Pod>().await.len(), 5);
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn what_somebody_deletes_comes_back() {
    let stage = Stage::set("deleted").await;
    stage.create(json!({})).await;
    stage.running().await;
    let gone = DeleteParams::default();
    stage
        .api::<Service>()
        .delete("db-client", &gone)
        .await
        .unwrap();
    stage
        .api::<ConfigMap>()
        .delete("db-record", &gone)
        .await
        .unwrap();
    stage.api::<Pod>().delete("db-1", &gone).await.unwrap();
    stage.running().await;
    assert!(stage.names::<Service>().await.contains("db-client"));
    // The record is as it was: from the set and the status.
    let record: ConfigMap = stage.api().get("db-record").await.unwrap();
    let data = record.data.unwrap();
    assert_eq!(data["image"], "chronosdb:1");
    assert_eq!(data["clusterId"], "ab".repeat(16));
    stage.delete_namespace().await;
}

/// A claim that is not bound cannot be grown, nor one whose class does not allow it.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_disk_that_cannot_grow_holds_nothing_else_up() {
    let stage = Stage::set("grown").await;
    stage.create(json!({})).await;
    stage.running().await;
    let before = stage.pods().await;
    let larger = json!({ "spec": {
        "storage": { "size": "20Gi" },
        "config": { "logLevel": "debug" },
    } });
    stage.change(larger).await;
    let cluster = stage.running().await;
    assert!(before.is_disjoint(&stage.pods().await));
    let conditions = cluster.status.unwrap().conditions;
    let reason = |name: &str| {
        let found = conditions.iter().find(|c| c.type_ == name).unwrap();
        (found.status, found.reason.as_str())
    };
    let refused = ConditionStatus::False;
    assert_eq!(reason("StorageReady"), (refused, "GrowthRefused"));
    stage.delete_namespace().await;
}

/// Kubernetes keeps the disk of a deleted claim as long as its pod runs. The operator does not finish it.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn a_claim_that_somebody_deleted_keeps_its_pod() {
    let stage = Stage::set("at-risk").await;
    stage.create(json!({})).await;
    stage.running().await;
    let pods = stage.pods().await;
    let claims: Api<PersistentVolumeClaim> = stage.api();
    // Kubernetes protects claims of pods that have a machine, which these have not.
    let protection = async |finalizers: &[&str]| {
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        claims
            .patch("data-db-1", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap()
    };
    let claim = protection(&["chronosdb.io/test"]).await;
    claims
        .delete("data-db-1", &DeleteParams::default())
        .await
        .unwrap();
    stage.says("deleted the claim of node 1").await;
    stage
        .change(json!({ "spec": { "image": "chronosdb:2" } }))
        .await;
    stage.says("deleted the claim of node 1").await;
    stage.change(json!({ "spec": { "hibernate": true } })).await;
    stage.says("deleted the claim of node 1").await;
    assert_eq!(stage.pods().await, pods);
    let kept = claims.get("data-db-1").await.unwrap();
    assert_eq!(kept.uid(), claim.uid());
    protection(&[]).await;
    stage.delete_namespace().await;
}

/// Disks of an earlier cluster bring their number of copies along, whatever the new one's spec says.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn the_database_says_how_many_copies_there_are() {
    let stage = Stage::set("copies").await;
    stage.database.state().copies = Some(1);
    stage.create(json!({ "replicas": 3 })).await;
    let cluster = stage.running().await;
    assert_eq!(cluster.status.unwrap().replication_factor, Some(1));
    stage.delete_namespace().await;
}

/// An application of the same name keeps what is its own.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn objects_of_others_are_left_as_they_are() {
    let stage = Stage::set("taken").await;
    let accounts: Api<ServiceAccount> = stage.api();
    let theirs = ServiceAccount {
        metadata: ObjectMeta {
            name: Some("db".to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    accounts
        .create(&PostParams::default(), &theirs)
        .await
        .unwrap();
    stage.create(json!({})).await;
    let cluster = Arc::new(stage.cluster().await);
    // The set is made all the same: what running pods do not need holds nothing else up.
    controller::reconcile_cluster(cluster, Arc::clone(&stage.context))
        .await
        .unwrap();
    stage.stateful_set().await;
    let status = stage.cluster().await.status.unwrap();
    let mut conditions = status.conditions.iter();
    let done = conditions.find(|condition| condition.type_ == "ReconcileSuccess");
    assert_eq!(done.unwrap().reason, "NameTaken");
    let kept = accounts.get("db").await.unwrap();
    assert_eq!(kept.metadata.owner_references, None);
    assert_eq!(kept.automount_service_account_token, None);
    accounts
        .delete("db", &DeleteParams::default())
        .await
        .unwrap();
    stage.running().await;
    stage.delete_namespace().await;
}
