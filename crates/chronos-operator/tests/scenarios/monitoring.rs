//! Objects for the Prometheus operator: made where its kinds exist, and missed where they do not.

use std::time::{Duration, Instant};

use chronos_operator::api::ConditionStatus;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(90);
const GROUP: &str = "monitoring.coreos.com";
const KINDS: [(&str, &str); 2] = [
    ("ServiceMonitor", "servicemonitors"),
    ("PrometheusRule", "prometheusrules"),
];

// The only scenario that has these kinds: they are the whole API server's.
#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn monitors_are_made_only_where_their_kinds_exist() {
    let stage = Stage::set("monitored").await;
    remove_kinds(&stage.client).await;
    stage.create(json!({})).await;
    stage.running().await;
    let available = (ConditionStatus::True, "AsAskedFor".to_owned());
    assert_eq!(condition(&stage).await.as_ref(), Some(&available));

    let both = json!({ "serviceMonitor": true, "prometheusRule": true });
    stage
        .change(json!({ "spec": { "monitoring": both } }))
        .await;
    let unavailable = (ConditionStatus::False, "MonitoringUnavailable".to_owned());
    comes_to(&stage, Some(unavailable.clone())).await;
    stage.running().await;

    install_kinds(&stage.client).await;
    comes_to(&stage, Some(available)).await;
    let uid = stage.cluster().await.uid().unwrap();
    for (kind, _) in KINDS {
        let made = objects(&stage, kind).get("db").await.unwrap();
        assert_eq!(
            made.owner_references()[0].uid,
            uid,
            "it goes with the cluster"
        );
    }

    let one = json!({ "serviceMonitor": false, "prometheusRule": null });
    stage.change(json!({ "spec": { "monitoring": one } })).await;
    for (kind, _) in KINDS {
        let gone = async || objects(&stage, kind).get_opt("db").await.unwrap().is_none();
        let began = Instant::now();
        while !gone().await {
            stage.turn().await;
            assert!(began.elapsed() < PATIENCE, "{kind} is still there");
        }
    }
    let foreign = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ServiceMonitor",
        "metadata": { "name": "db", "namespace": stage.namespace }, "spec": { "theirs": true },
    });
    let foreign: DynamicObject = serde_json::from_value(foreign).unwrap();
    let monitors = objects(&stage, "ServiceMonitor");
    monitors
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    let both = json!({ "serviceMonitor": true, "prometheusRule": true });
    stage
        .change(json!({ "spec": { "monitoring": both } }))
        .await;
    comes_to(&stage, Some(unavailable.clone())).await;
    let kept = monitors.get("db").await.unwrap();
    assert_eq!(kept.data["spec"], json!({ "theirs": true }));

    remove_kinds(&stage.client).await;
    comes_to(&stage, Some(unavailable)).await;
    stage.delete_namespace().await;
}

async fn condition(stage: &Stage) -> Option<(ConditionStatus, String)> {
    let status = stage.cluster().await.status.unwrap_or_default();
    let found = status
        .conditions
        .into_iter()
        .find(|c| c.type_ == "MonitoringReady");
    found.map(|found| (found.status, found.reason))
}

async fn comes_to(stage: &Stage, wanted: Option<(ConditionStatus, String)>) {
    let began = Instant::now();
    while condition(stage).await != wanted {
        stage.turn().await;
        let now = condition(stage).await;
        assert!(began.elapsed() < PATIENCE, "{now:?} is not {wanted:?}");
    }
}

fn objects(stage: &Stage, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", kind));
    Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource)
}

/// Kinds that hold anything: what is in the objects is the Prometheus operator's to check.
async fn install_kinds(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (kind, plural) in KINDS {
        let name = format!("{plural}.{GROUP}");
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": name },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    } },
                }],
            },
        });
        let force = PatchParams::apply("scenarios").force();
        let patch = Patch::Apply(&definition);
        definitions.patch(&name, &force, &patch).await.unwrap();
        let there = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        timeout(PATIENCE, there).await.unwrap().unwrap();
    }
}

async fn remove_kinds(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, plural) in KINDS {
        let name = format!("{plural}.{GROUP}");
        let Some(definition) = definitions.get_opt(&name).await.unwrap() else {
            continue;
        };
        definitions
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
        let uid = definition.uid().unwrap();
        let gone = conditions::is_deleted(&uid);
        let gone = await_condition(definitions.clone(), &name, gone);
        timeout(PATIENCE, gone).await.unwrap().unwrap();
    }
}
