//! Two operators: one acts, the other takes over.

use std::sync::Arc;
use std::time::Duration;

use chronos_operator::api::ChronosCluster;
use chronos_operator::controller::{self, Leadership};
use chronos_tests::patience::within;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(60);

struct Operator {
    stop: watch::Sender<bool>,
    held: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
}

fn start(stage: &Stage, me: &str) -> Operator {
    let (stop, stopped) = watch::channel(false);
    let (holding, held) = watch::channel(false);
    let leadership = Leadership::new(stage.client.clone(), &stage.namespace, "operator", me);
    // Of its own: both share the rest.
    let tenure = Arc::default();
    let lease = tokio::spawn(controller::hold(
        leadership,
        tenure,
        holding,
        stopped.clone(),
    ));
    let work = controller::run(Arc::clone(&stage.context), held.clone(), stopped);
    Operator {
        stop,
        held,
        tasks: vec![lease, tokio::spawn(work)],
    }
}

impl Operator {
    async fn acts(&mut self) {
        let acts = self.held.wait_for(|held| *held);
        timeout(PATIENCE, acts).await.unwrap().unwrap();
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn one_operator_acts_and_the_other_takes_over() {
    let stage = Stage::set("leases").await;
    // Kubernetes lists all clusters at once; what is wrong with one must not hide the others.
    let wrong = json!({ "pod": { "env": [{ "name": "PORT", "value": 8080 }] } });
    stage.create_named("wrong", wrong).await;
    let mut first = start(&stage, "first");
    first.acts().await;
    let mut second = start(&stage, "second");
    assert!(!*second.held.borrow());

    // It watches: nobody calls the reconciler here.
    stage.create(json!({})).await;
    let sets: Api<StatefulSet> = stage.api();
    let made = await_condition(sets, "db", |set: Option<&StatefulSet>| set.is_some());
    timeout(PATIENCE, made).await.unwrap().unwrap();
    let clusters: Api<ChronosCluster> = stage.api();
    let told = await_condition(clusters, "wrong", |cluster: Option<&ChronosCluster>| {
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        status.is_some_and(|status| status.phase_reason.contains("spec.pod.env[0]"))
    });
    timeout(PATIENCE, told).await.unwrap().unwrap();

    assert!(!*second.held.borrow(), "the Lease is held by the first");
    first.stop().await;
    second.acts().await;
    stage.change(json!({ "spec": { "paused": true } })).await;
    let clusters: Api<ChronosCluster> = stage.api();
    let paused = await_condition(clusters, "db", |cluster: Option<&ChronosCluster>| {
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        status.is_some_and(|s| s.phase == Some(chronos_operator::api::Phase::Paused))
    });
    timeout(PATIENCE, paused).await.unwrap().unwrap();

    // Somebody takes it away: whoever acts looks, and acts no more.
    let leader = |is: &str| {
        let counted = stage.context.metrics.render().unwrap();
        counted.contains(&format!("chronos_operator_leader {is}"))
    };
    assert!(leader("1"));
    let leases: Api<Lease> = stage.api();
    let thief = Patch::Merge(json!({ "spec": { "holderIdentity": "thief" } }));
    // A renewal at the same time would undo it.
    while *second.held.borrow() {
        leases
            .patch("operator", &PatchParams::default(), &thief)
            .await
            .unwrap();
        let lost = second.held.wait_for(|held| !held);
        let _ = timeout(Duration::from_secs(5), lost).await;
    }
    within(PATIENCE, || async { leader("0").then_some(()) })
        .await
        .expect("it acts on");
    second.stop().await;
    stage.delete_namespace().await;
}
