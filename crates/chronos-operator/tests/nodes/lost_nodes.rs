//! Nodes that are lost under load: a process that is killed, a pod that is deleted, a pod that is
//! deleted without being asked, and the node that leads the catalog.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::fault;
use crate::load::Load;
use crate::stage::{Stage, is_ready, uid};
use crate::vigil::Vigil;

/// What a client may wait while a node is lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn nothing_is_lost_when_nodes_are() {
    let stage = Stage::with_cluster("lost", json!({})).await;
    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;

    load.during("kill of the catalog's leader", async {
        let leader = stage.catalog_leader().await;
        let pod = stage.pod(&leader).await;
        fault::kill(&stage.namespace, &leader).await;
        let restarts = restarts(&pod);
        stage
            .until(&leader, "has started again", move |pod: &Pod| {
                self::restarts(pod) > restarts && is_ready(pod)
            })
            .await;
        stage.whole(3).await;
    })
    .await;

    for (what, parameters) in [
        ("deletion", DeleteParams::default()),
        ("deletion by force", DeleteParams::default().grace_period(0)),
    ] {
        load.during(what, async {
            let leader = stage.catalog_leader().await;
            let pod = stage.pod(&leader).await;
            let pods = stage.api::<Pod>();
            pods.delete(&leader, &parameters).await.unwrap();
            stage.replaced(&leader, &uid(&pod)).await;
            stage.whole(3).await;
        })
        .await;
    }
    stage.ready().await;
    load.finish(PATIENCE).await;
    let sights = vigil.end();
    assert_eq!(sights.claims_lost, Vec::<String>::new());
    assert_eq!(
        sights.stopped.len(),
        2,
        "the operator stopped a pod: {sights:?}"
    );
    stage.strike().await;
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers
        .and_then(|all| all.first())
        .map_or(0, |it| it.restart_count)
}
