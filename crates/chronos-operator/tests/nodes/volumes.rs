//! Larger disks, as far as there is somebody who enlarges them. A StorageClass that cannot grow
//! volumes refuses it, which is said, and holds nothing else up.

use std::collections::BTreeMap;

use chronos_operator::api::{ChronosCluster, ConditionStatus};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::stage::{CLUSTER, Stage};
use crate::vigil::Vigil;

async fn grow(stage: &Stage, more: Value) {
    let mut spec = json!({ "storage": { "size": "2Gi" } });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    stage.change(json!({ "spec": spec })).await;
}

async fn says(stage: &Stage, reason: &str) {
    stage
        .until(CLUSTER, reason, |cluster: &ChronosCluster| {
            let mut conditions = cluster.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| {
                condition.type_ == "StorageReady"
                    && condition.status == ConditionStatus::False
                    && condition.reason == reason
                    && Some(condition.observed_generation) == cluster.metadata.generation
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_disk_that_cannot_grow_holds_nothing_up() {
    let stage = Stage::with_cluster("rigid", json!({})).await;
    let vigil = Vigil::over(&stage, 3);
    grow(&stage, json!({ "config": { "maxCredits": 900 } })).await;
    says(&stage, "GrowthRefused").await;
    stage
        .until(CLUSTER, "is updated", |cluster: &ChronosCluster| {
            cluster.status.as_ref().is_some_and(|status| {
                Some(status.observed_generation) == cluster.metadata.generation
                    && status.updated_replicas == 3
            })
        })
        .await;
    stage.whole(3).await;
    let sights = vigil.end();
    assert_eq!(
        (sights.stopped.len(), sights.most_missing),
        (3, 1),
        "{sights:?}"
    );
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn disks_grow_while_their_nodes_run() {
    let class = expandable().await;
    let storage = json!({ "storage": { "size": "1Gi", "className": class } });
    let stage = Stage::with_cluster("growing", storage).await;
    let vigil = Vigil::over(&stage, 3);
    grow(&stage, json!({})).await;
    says(&stage, "Growing").await;
    for ordinal in 0..3 {
        resize(&stage, &format!("data-{CLUSTER}-{ordinal}")).await;
    }
    stage.ready().await;
    // Nodes that come later have the new size, though the set was made with the old one.
    stage.change(json!({ "spec": { "replicas": 5 } })).await;
    stage.ready().await;
    let claims = stage.api::<PersistentVolumeClaim>();
    for ordinal in 0..5 {
        let claim = claims.get(&format!("data-{CLUSTER}-{ordinal}")).await;
        let requests = claim.unwrap().spec.unwrap().resources.unwrap().requests;
        assert_eq!(requests.unwrap()["storage"].0, "2Gi", "{ordinal}");
    }
    assert_eq!(vigil.end().stopped, Vec::<String>::new());
    let client = stage.client.clone();
    stage.strike().await;
    let classes: Api<StorageClass> = Api::all(client);
    classes
        .delete(&class, &DeleteParams::default())
        .await
        .unwrap();
}

/// A StorageClass like the default one, but that volumes may grow.
async fn expandable() -> String {
    let client = kube::Client::try_default().await.unwrap();
    let classes: Api<StorageClass> = Api::all(client);
    let standard = classes.get("standard").await.unwrap();
    let unique = chronos_client::unique_id()[24..].to_lowercase();
    let class = StorageClass {
        metadata: kube::core::ObjectMeta {
            name: Some(format!("growing-{unique}")),
            ..Default::default()
        },
        allow_volume_expansion: Some(true),
        ..standard
    };
    let class = classes.create(&PostParams::default(), &class).await;
    class.unwrap().name_any()
}

/// Does what the testbed has nobody for: makes the volume of a claim as large as the claim asks.
async fn resize(stage: &Stage, name: &str) {
    let asks = stage
        .until(name, "asks for more", |claim: &PersistentVolumeClaim| {
            requested(claim).is_some_and(|size| size == "2Gi")
        })
        .await;
    let larger = json!({ "capacity": BTreeMap::from([("storage", "2Gi")]) });
    let volumes: Api<PersistentVolume> = Api::all(stage.client.clone());
    let volume = asks.spec.unwrap().volume_name.unwrap();
    let change = Patch::Merge(json!({ "spec": larger }));
    let parameters = PatchParams::default();
    volumes.patch(&volume, &parameters, &change).await.unwrap();
    let status = Patch::Merge(json!({ "status": larger }));
    let claims = stage.api::<PersistentVolumeClaim>();
    claims
        .patch_status(name, &parameters, &status)
        .await
        .unwrap();
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(&requests.get("storage")?.0)
}
