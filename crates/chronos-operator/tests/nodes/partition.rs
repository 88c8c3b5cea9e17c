//! A pod that is cut off from the others, and comes back.

use std::time::Duration;

use serde_json::json;

use crate::fault;
use crate::load::Load;
use crate::stage::{PATIENCE, Stage};
use crate::vigil::Vigil;

/// What a client may wait: it may have to find out by itself that its node is cut off.
const CUT_OFF: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_pod_is_cut_off_and_comes_back() {
    let stage = Stage::with_cluster("cut", json!({})).await;
    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;
    load.during("a cut", async {
        let leader = stage.catalog_leader().await;
        fault::isolate(&stage.namespace, &leader).await;
        // The others notice, choose another leader of the catalog, and lead everything.
        let others_lead = chronos_tests::patience::within(PATIENCE, || async {
            let status = stage.database().await?;
            let lost = status.nodes.iter().find(|node| node.name == leader)?;
            (!lost.alive && !lost.catalog_leader && status.leaderless == 0).then_some(())
        });
        assert!(others_lead.await.is_some(), "{:#?}", stage.database().await);
        fault::heal().await;
        stage.whole(3).await;
    })
    .await;
    stage.ready().await;
    load.finish(CUT_OFF).await;
    let sights = vigil.end();
    assert_eq!(sights.stopped, Vec::<String>::new(), "{sights:?}");
    stage.strike().await;
}
