//! Rolling updates under load: another setting, another image, and one that does not come up.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_operator::api::{ChronosCluster, ConditionStatus};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::load::Load;
use crate::stage::{CLUSTER, Stage};
use crate::vigil::{Sights, Vigil};

/// What a client may wait while nodes are restarted as planned.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn one_node_after_the_other_and_the_catalog_s_leader_last() {
    let stage = Stage::with_cluster("roll", json!({})).await;
    let load = Load::start(&stage).await;
    for change in [
        json!({ "config": { "maxCredits": 900 } }),
        json!({ "image": image("CHRONOS_TEST_NEXT_IMAGE") }),
    ] {
        let sights = roll(&stage, &load, change).await;
        assert_eq!(sights.most_missing, 1, "{sights:?}");
        let each: BTreeSet<&String> = sights.stopped.iter().collect();
        assert_eq!((each.len(), sights.stopped.len()), (3, 3), "{sights:?}");
        assert_eq!(
            sights.stopped.last(),
            sights.catalog_leader.as_ref(),
            "{sights:?}"
        );
    }
    leads_moved_before_restarts(&stage).await;
    let cluster = stage.cluster().await;
    assert_eq!(cluster.status.unwrap().updated_replicas, 3);
    load.finish(PATIENCE).await;
    stage.strike().await;
}

async fn roll(stage: &Stage, load: &Load, change: Value) -> Sights {
    let vigil = Vigil::over(stage, 3);
    load.during("a rolling update", async {
        stage.change(json!({ "spec": change })).await;
        stage.ready().await;
        stage.whole(3).await;
    })
    .await;
    vigil.end()
}

/// Every restart is told of, and before it that the node's leads moved.
async fn leads_moved_before_restarts(stage: &Stage) {
    let events = stage.api::<Event>().list(&ListParams::default()).await;
    let told = |reason: &str| -> BTreeSet<String> {
        let all = events.as_ref().unwrap().iter();
        all.filter(|event| event.reason.as_deref() == Some(reason))
            .filter_map(|event| event.related.as_ref()?.name.clone())
            .collect()
    };
    let nodes: BTreeSet<String> = (0..3).map(|n| format!("{CLUSTER}-{n}")).collect();
    assert_eq!(told("RollingUpdate"), nodes);
    assert_eq!(told("LeadersMoving"), nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn an_update_that_fails_stops_at_its_first_node_and_can_be_taken_back() {
    let stage = Stage::with_cluster("failing", json!({})).await;
    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;
    load.during("an update that fails", async {
        let wrong = json!({ "spec": { "image": "chronosdb/node:that-is-nowhere" } });
        stage.change(wrong).await;
        stage
            .until(CLUSTER, "is blocked", |cluster: &ChronosCluster| {
                let mut conditions = cluster.status.iter().flat_map(|status| &status.conditions);
                conditions.any(|condition| {
                    condition.type_ == "UpgradeBlocked"
                        && condition.status == ConditionStatus::True
                        && condition.reason == "UpdateFailed"
                })
            })
            .await;
        stage.change(json!({ "spec": { "image": null } })).await;
        stage.ready().await;
        stage.whole(3).await;
    })
    .await;
    let sights = vigil.end();
    let stopped: BTreeSet<&String> = sights.stopped.iter().collect();
    assert_eq!((stopped.len(), sights.most_missing), (1, 1), "{sights:?}");
    load.finish(PATIENCE).await;
    stage.strike().await;
}

fn image(variable: &str) -> String {
    std::env::var(variable).expect("run scripts/test-kubernetes-nodes")
}
