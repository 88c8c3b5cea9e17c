//! The life of a Secret with a cluster's certificates: missing, made in parts, renewed, deleted.

use chronos_operator::api::{ChronosCluster, ConditionStatus};
use chronos_operator::build::TLS_FLAG;
use chronos_operator::database::Access;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn nodes_wait_for_their_secret_and_outlive_it() {
    let stage = Stage::set("certificates").await;
    stage.create(json!({})).await;
    stage.running().await;
    let open = stage.pods().await;

    // Asked for before it is there: nobody is stopped for a pod that could not start.
    let tls = json!({ "spec": { "tls": { "secretName": "certificates" } } });
    stage.change(tls).await;
    ready_is(&stage, ConditionStatus::False, "SecretMissing").await;
    // Nobody is told to delete pods by hand.
    stage.says("The Secret certificates does not exist").await;
    put(&stage, &[("tls.crt", "first"), ("tls.key", "first")]).await;
    ready_is(&stage, ConditionStatus::False, "SecretIncomplete").await;
    assert_eq!(stage.pods().await, open);
    assert!(access(&stage).is_none(), "no node serves with TLS yet");

    put(&stage, &[("ca.crt", "first")]).await;
    ready_is(&stage, ConditionStatus::True, "AsAskedFor").await;
    stage
        .until("Running", async |stage| {
            assert!(stage.names::<Pod>().await.len() >= 2, "two nodes at once");
        })
        .await;
    let secured = stage.pods().await;
    assert!(open.is_disjoint(&secured), "every pod was made anew");
    assert_eq!(flags(&stage).await, 3);
    let way = access(&stage).expect("the operator asks with TLS");
    assert_eq!(way.ca, b"first");
    assert_eq!(
        way.server_name,
        format!("db-client.{}.svc", stage.namespace)
    );

    // Nodes read files that change: a renewal restarts none, and the operator heeds it.
    put(&stage, &[("ca.crt", "second")]).await;
    let heeds = async |_: &_| access(&stage).is_some_and(|way| way.ca == b"second");
    stage.turn_until("asked by the new authority", heeds).await;
    stage
        .api::<Secret>()
        .delete("certificates", &DeleteParams::default())
        .await
        .unwrap();
    ready_is(&stage, ConditionStatus::False, "SecretMissing").await;
    put(
        &stage,
        &[("tls.crt", "3"), ("tls.key", "3"), ("ca.crt", "3")],
    )
    .await;
    ready_is(&stage, ConditionStatus::True, "AsAskedFor").await;
    stage.running().await;
    assert_eq!(stage.pods().await, secured);

    stage.change(json!({ "spec": { "tls": null } })).await;
    stage.running().await;
    assert!(stage.pods().await.is_disjoint(&secured));
    assert_eq!(flags(&stage).await, 0);
    assert!(access(&stage).is_none());
    stage.delete_namespace().await;
}

/// Adds keys to the Secret, and makes it if it is not there.
async fn put(stage: &Stage, keys: &[(&str, &str)]) {
    let data: serde_json::Map<_, _> = keys
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let secret = json!({ "metadata": { "name": "certificates" }, "stringData": data });
    let api = stage.api::<Secret>();
    let done = match api.get_opt("certificates").await.unwrap() {
        Some(_) => {
            let patch = Patch::Merge(secret);
            api.patch("certificates", &PatchParams::default(), &patch)
                .await
        }
        None => {
            let secret = serde_json::from_value(secret).unwrap();
            api.create(&PostParams::default(), &secret).await
        }
    };
    done.unwrap();
}

/// How the operator reaches the database, if with TLS.
fn access(stage: &Stage) -> Option<Access> {
    let state = stage.database.state();
    state.way.as_ref().and_then(|way| way.tls.clone())
}

/// How many pods serve with TLS.
async fn flags(stage: &Stage) -> usize {
    let pods: Vec<Pod> = stage
        .api()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let flags = pods
        .iter()
        .flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers))
        .flat_map(|container| container.args.iter().flatten());
    flags.filter(|flag| *flag == TLS_FLAG).count()
}

/// Turns until the condition says so.
async fn ready_is(stage: &Stage, status: ConditionStatus, reason: &str) {
    let says_so = async |cluster: &ChronosCluster| {
        let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
        conditions
            .filter(|condition| condition.type_ == "TLSReady")
            .any(|found| found.status == status && found.reason == reason)
    };
    stage.turn_until(reason, says_so).await;
}
