//! A machine is emptied: leads leave its node before it is evicted, one node at a time goes, and it
//! comes back when the machine does. New nodes stand in different zones.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as Machine, Pod};
use kube::Api;
use kube::api::EvictParams;
use serde_json::json;
use tokio::time::timeout;

use crate::load::Load;
use crate::stage::{CLUSTER, PATIENCE, Stage, uid};
use crate::vigil::Vigil;

/// An eviction that is not allowed by then is refused.
const REFUSED: Duration = Duration::from_secs(2);
/// What a client may wait.
const WAIT: Duration = Duration::from_secs(30);

/// It runs alone: no pod of anybody finds a place on a machine that is being emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes of three machines: scripts/test-kubernetes-nodes"]
async fn leads_leave_a_machine_that_is_emptied() {
    let stage = Stage::with_cluster("emptied", json!({ "zoneSpread": "Required" })).await;
    let status = stage.whole(3).await;
    let zones: BTreeSet<String> = status.nodes.into_iter().map(|node| node.zone).collect();
    assert_eq!(zones.len(), 3, "{zones:?}");
    let vigil = Vigil::over(&stage, 3);
    let load = Load::start(&stage).await;

    load.during("a machine is emptied", async {
        let leader = stage.catalog_leader().await;
        let pod = stage.pod(&leader).await;
        let machines: Api<Machine> = Api::all(stage.client.clone());
        let machine = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        machines.cordon(&machine).await.unwrap();
        let led_elsewhere = chronos_tests::patience::within(PATIENCE, || async {
            let nodes = stage.database().await?.nodes;
            let node = nodes.iter().find(|node| node.name == leader)?;
            (node.leaders == 0 && !node.catalog_leader).then_some(())
        });
        let elsewhere = led_elsewhere.await;
        // Before anything can fail: others need the machine.
        let pods = stage.api::<Pod>();
        let evicted = pods.evict(&leader, &EvictParams::default()).await;
        let mut nodes = (0..3).map(|ordinal| format!("{CLUSTER}-{ordinal}"));
        let other = nodes.find(|node| *node != leader).unwrap();
        // Who is refused is told to try again, which the client does by itself.
        let second = timeout(REFUSED, pods.evict(&other, &EvictParams::default())).await;
        machines.uncordon(&machine).await.unwrap();
        assert!(elsewhere.is_some(), "{:#?}", stage.database().await);
        evicted.unwrap();
        assert!(
            !matches!(&second, Ok(Ok(_))),
            "a second node may be evicted"
        );
        stage.replaced(&leader, &uid(&pod)).await;
        stage.whole(3).await;
    })
    .await;
    // Work comes back to the machine.
    let works = chronos_tests::patience::within(PATIENCE, || async {
        let nodes = stage.database().await?.nodes;
        nodes.iter().all(|node| node.leaders > 0).then_some(())
    });
    assert!(works.await.is_some(), "{:#?}", stage.database().await);
    stage.ready().await;
    load.finish(WAIT).await;
    let sights = vigil.end();
    assert_eq!(
        (sights.stopped.len(), sights.most_missing),
        (1, 1),
        "{sights:?}"
    );
    stage.strike().await;
}
