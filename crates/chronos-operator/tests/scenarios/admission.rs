//! What the API server itself refuses, by the rules of the schema.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::Stage;

fn words(answer: Result<impl std::fmt::Debug, kube::Error>) -> String {
    match answer {
        Err(kube::Error::Api(status)) => status.message,
        other => panic!("expected a refusal, not {other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn nonsense_is_refused_in_words() {
    let stage = Stage::set("admission").await;
    for (spec, why) in [
        (json!({ "replicas": 4 }), "should be odd"),
        (json!({ "replicas": 0 }), "spec.replicas"),
        (
            json!({ "replicas": 1, "replicationFactor": 3 }),
            "must not exceed",
        ),
        (
            json!({ "storage": { "size": "plenty" } }),
            "must be a quantity",
        ),
        (
            json!({ "updateStrategy": { "drainTimeout": "soon" } }),
            "drainTimeout",
        ),
        (json!({ "zoneSpread": "Sometimes" }), "zoneSpread"),
    ] {
        // Not through the types, which could not even say some of these.
        let said = words(create_raw(&stage, spec).await);
        assert!(said.contains(why), "{said}");
    }
    stage.create(json!({ "storage": { "size": "10Gi" } })).await;
    for (patch, why) in [
        (json!({ "storage": { "size": "9Gi" } }), "can only grow"),
        (
            json!({ "storage": { "size": "20Gi", "className": "fast" } }),
            "className is fixed",
        ),
        (json!({ "partitions": 8 }), "partitions is fixed"),
        (
            json!({ "replicationFactor": 1 }),
            "replicationFactor is fixed",
        ),
    ] {
        let said = words(stage.try_change(json!({ "spec": patch })).await);
        assert!(said.contains(why), "{said}");
    }
    stage
        .change(json!({ "spec": { "storage": { "size": "20Gi" } } }))
        .await;
    stage.delete_namespace().await;
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn what_the_engine_has_not_is_refused_and_not_ignored() {
    let stage = Stage::set("unknown").await;
    let said = words(create_raw(&stage, json!({ "config": { "turbo": true } })).await);
    assert!(said.contains("turbo"), "{said}");
    stage.delete_namespace().await;
}

/// As kubectl does it: unknown fields are errors.
async fn create_raw(stage: &Stage, spec: Value) -> Result<kube::api::DynamicObject, kube::Error> {
    use kube::CustomResourceExt;
    let resource = chronos_operator::api::ChronosCluster::api_resource();
    let api: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let object = json!({
        "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
        "metadata": { "name": "raw" }, "spec": spec,
    });
    let strict = PatchParams::apply("scenarios").validation_strict();
    api.patch("raw", &strict, &Patch::Apply(object)).await
}

/// What stands in the repository for users to copy, as the API server sees it.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn every_sample_is_accepted() {
    let stage = Stage::set("samples").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let object: kube::api::DynamicObject = serde_yaml_ng::from_str(&text).unwrap();
        let kind = object.types.clone().unwrap();
        let resource = kube::api::ApiResource::from_gvk(&kind.try_into().unwrap());
        let api: kube::Api<kube::api::DynamicObject> =
            kube::Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
        let name = object.metadata.name.clone().unwrap();
        let strict = PatchParams::apply("scenarios").validation_strict();
        api.patch(&name, &strict, &Patch::Apply(&object))
            .await
            .unwrap();
        seen += 1;
    }
    assert!(seen >= 3);
    stage.delete_namespace().await;
}
