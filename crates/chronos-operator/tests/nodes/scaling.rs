//! Three nodes, five, and three again under load; then five once more, on fresh disks.

use std::time::Duration;

use chronos_operator::build::RETIRED_ANNOTATION;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use serde_json::json;

use crate::load::Load;
use crate::stage::Stage;
use crate::vigil::Vigil;

/// What a client may wait while replicas move.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn three_five_three_five() {
    let stage = Stage::with_cluster("scale", json!({})).await;
    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;
    let claims = stage.api::<PersistentVolumeClaim>();

    grow(&stage, &load).await;
    let first = claims.get("data-db-4").await.unwrap().uid();

    load.during("five to three", async {
        stage.change(json!({ "spec": { "replicas": 3 } })).await;
        stage.ready().await;
        stage.whole(3).await;
    })
    .await;
    for name in ["data-db-3", "data-db-4"] {
        let claim = claims.get(name).await.unwrap();
        assert!(claim.annotations().contains_key(RETIRED_ANNOTATION));
    }

    grow(&stage, &load).await;
    let claim = claims.get("data-db-4").await.unwrap();
    assert_ne!(
        claim.uid(),
        first,
        "a member that was removed has its disk back"
    );
    load.finish(PATIENCE).await;
    let sights = vigil.end();
    assert_eq!(sights.claims_lost, Vec::<String>::new());
    assert_eq!(sights.stopped, Vec::<String>::new(), "{sights:?}");
    stage.strike().await;
}

/// The new nodes hold their share.
async fn grow(stage: &Stage, load: &Load) {
    load.during("three to five", async {
        stage.change(json!({ "spec": { "replicas": 5 } })).await;
        stage.ready().await;
        let status = stage.whole(5).await;
        let idle: Vec<_> = status.nodes.iter().filter(|it| it.replicas == 0).collect();
        assert!(idle.is_empty(), "{idle:#?}");
    })
    .await;
}
