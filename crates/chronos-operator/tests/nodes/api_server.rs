//! The API server dies while an update is under way. Nodes need it for nothing; the operator waits,
//! and goes on.

use std::time::Duration;

use serde_json::json;

use crate::fault;
use crate::load::Load;
use crate::stage::Stage;
use crate::vigil::Vigil;

/// What a client may wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// It runs alone: every other scenario talks to the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn an_update_outlives_the_api_server() {
    let stage = Stage::with_cluster("api", json!({})).await;
    let load = Load::start(&stage).await;
    let vigil = Vigil::over(&stage, 3);
    load.during("an update without the API server", async {
        let change = json!({ "config": { "maxCredits": 900 } });
        stage.change(json!({ "spec": change })).await;
        fault::kill_api_server().await;
        fault::repair().await;
        stage.ready().await;
        stage.whole(3).await;
    })
    .await;
    load.finish(PATIENCE).await;
    let sights = vigil.end();
    assert_eq!(sights.most_missing, 1, "{sights:?}");
    stage.strike().await;
}
