//! A client inside Kubernetes, which finds the nodes by name and goes to leaders itself: it gets all
//! that is published from there, while nodes are restarted and one is killed.

use std::collections::BTreeSet;

use chronos_tests::patience::within;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fault;
use crate::stage::{PATIENCE, Stage, TOPIC, is_ready};

/// Where the client runs.
const CLIENT: &str = "client";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn a_client_inside_gets_everything() {
    let stage = Stage::with_cluster("inside", json!({})).await;
    let pods = stage.api::<Pod>();
    pods.create(&PostParams::default(), &subscriber())
        .await
        .unwrap();
    let works = |pod: &Pod| is_ready(pod);
    stage.until(CLIENT, "works", works).await;

    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(keep_publishing(stage.namespace.clone(), stopped));
    let change = json!({ "config": { "maxCredits": 900 } });
    stage.change(json!({ "spec": change })).await;
    stage.ready().await;
    stage.whole(3).await;
    fault::kill(&stage.namespace, &stage.catalog_leader().await).await;
    stage.whole(3).await;
    stop.send_replace(true);
    let published = timeout(PATIENCE, publisher).await.unwrap().unwrap();
    assert!(published.len() > 10, "{published:?}");

    let all_came = within(PATIENCE, || async {
        let said = pods.logs(CLIENT, &LogParams::default()).await.ok()?;
        received(&said).is_superset(&published).then_some(())
    });
    if all_came.await.is_none() {
        let said = pods.logs(CLIENT, &LogParams::default()).await.unwrap();
        let received = received(&said);
        let missing: Vec<_> = published.difference(&received).collect();
        panic!("never came: {missing:?}\n{said}");
    }
    stage.strike().await;
}

/// Publishes one event after the other, each by a client of its own; the ids.
async fn keep_publishing(namespace: String, stopped: watch::Receiver<bool>) -> BTreeSet<String> {
    let mut published = BTreeSet::new();
    while !*stopped.borrow() {
        let id = format!("e{}", published.len());
        let output = Command::new("kubectl")
            .args([
                "exec",
                "--namespace",
                &namespace,
                CLIENT,
                "--",
                "chronosctl",
            ])
            .args(["publish", TOPIC, "--id", &id, "--in", "1s"])
            .args(["--payload", "from inside", "--addr", "db-client:9000"])
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        assert!(output.status.success(), "{id}: {output:?}");
        published.insert(id);
    }
    published
}

fn subscriber() -> Pod {
    let image = std::env::var("CHRONOS_TEST_CLIENT_IMAGE");
    serde_json::from_value(json!({
        "metadata": { "name": CLIENT },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": CLIENT,
                "image": image.expect("run scripts/test-kubernetes-nodes"),
                "imagePullPolicy": "Never",
                "args": [
                    "subscribe", TOPIC, "--from", "earliest", "--addr", "db-client:9000",
                    "--output", "json",
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    }))
    .unwrap()
}

/// The ids of the events that a subscriber printed, one object per line.
fn received(said: &str) -> BTreeSet<String> {
    said.lines()
        .filter_map(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            Some(event["message_id"].as_str()?.to_owned())
        })
        .collect()
}
