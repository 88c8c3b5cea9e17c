//! What somebody else changes is changed back: the StatefulSet, the Services, a topic in the
//! database.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::stage::{CLUSTER, Stage};
use crate::vigil::Vigil;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn what_others_change_is_changed_back() {
    let stage = Stage::with_cluster("drift", json!({})).await;
    let vigil = Vigil::over(&stage, 3);

    // Somebody takes a node away, and changes what pods are made of.
    let sets = stage.api::<StatefulSet>();
    let patch = json!({ "spec": { "replicas": 2, "template": { "spec": {
        "terminationGracePeriodSeconds": 1,
    } } } });
    sets.patch(CLUSTER, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    stage
        .until(CLUSTER, "is as before", |set: &StatefulSet| {
            let spec = set.spec.as_ref().unwrap();
            let pod = spec.template.spec.as_ref().unwrap();
            spec.replicas == Some(3) && pod.termination_grace_period_seconds != Some(1)
        })
        .await;
    stage.whole(3).await;

    // Deleted objects come back.
    stage.delete::<Service>("db-client").await;
    stage.delete::<PodDisruptionBudget>(CLUSTER).await;
    stage.delete::<ConfigMap>("db-record").await;
    stage
        .until("db-client", "is back", |_: &Service| true)
        .await;
    stage
        .until(CLUSTER, "is back", |_: &PodDisruptionBudget| true)
        .await;
    let record = stage
        .until("db-record", "is back", |_: &ConfigMap| true)
        .await;
    assert!(record.data.unwrap().contains_key("join"));

    // A setting of the topic, and the topic itself.
    stage.alter_retries(3).await;
    stage.until_retries(20).await;
    stage.delete_topic().await;
    stage.until_retries(20).await;

    stage.ready().await;
    stage.whole(3).await;
    let sights = vigil.end();
    assert_eq!(sights.claims_lost, Vec::<String>::new());
    stage.strike().await;
}
