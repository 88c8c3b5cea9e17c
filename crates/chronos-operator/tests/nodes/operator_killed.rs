//! The operator is killed in the middle of everything that it does, and the next one goes on.

use std::time::Duration;

use chronos_operator::api::{ChronosCluster, Phase};
use chronos_tests::random::Random;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::load::Load;
use crate::stage::{CLUSTER, Stage};
use crate::vigil::Vigil;

/// Where the chart is installed.
const NAMESPACE: &str = "chronosdb-system";
/// What a client may wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// The procedure has begun by then, and is not over before.
const LATEST_MS: u64 = 2_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn the_next_operator_goes_on() {
    let stage = Stage::set("killed").await;
    let mut random = Random::new(chronos_tests::history::wall_ms().unsigned_abs());
    stage.create_cluster(json!({})).await;
    kill_within(&stage, &mut random).await;
    stage.create_topic(json!({})).await;
    stage.ready().await;
    stage.topic_ready().await;

    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;
    for (change, nodes) in [
        (json!({ "replicas": 5 }), 5),
        (json!({ "config": { "maxCredits": 900 } }), 5),
        (json!({ "replicas": 3 }), 3),
    ] {
        load.during("a change without its operator", async {
            begin(&stage, change).await;
            kill_within(&stage, &mut random).await;
            stage.ready().await;
            stage.whole(nodes).await;
        })
        .await;
    }
    load.finish(PATIENCE).await;
    let sights = vigil.end();
    assert_eq!(sights.most_missing, 1, "{sights:?}");
    assert_eq!(sights.claims_lost, Vec::<String>::new());
    stage.strike().await;
}

/// Changes the spec and waits until the operator has begun.
async fn begin(stage: &Stage, change: Value) {
    stage.change(json!({ "spec": change })).await;
    stage
        .until(CLUSTER, "is being changed", |cluster: &ChronosCluster| {
            cluster.status.as_ref().is_some_and(|status| {
                Some(status.observed_generation) == cluster.metadata.generation
                    && status.phase != Some(Phase::Running)
            })
        })
        .await;
}

/// Kills the operator at a moment that is left to chance, without asking it.
async fn kill_within(stage: &Stage, random: &mut Random) {
    let moment = Duration::from_millis(random.range(0, LATEST_MS));
    println!("killed after {moment:?}");
    tokio::time::sleep(moment).await;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let all = pods.list(&ListParams::default()).await.unwrap();
    assert!(!all.items.is_empty(), "no operator runs in {NAMESPACE}");
    for pod in all {
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete(&pod.name_any(), &at_once).await.unwrap();
    }
}
