//! Three lines of YAML, and an event comes back through the Service, through a forwarded port, and
//! through `kubectl chronos`.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use chronos_operator::api::Phase;
use chronos_tests::client::{Client, event_of};
use chronos_tests::history::wall_ms;
use chronos_tests::server::{binary, watchful_channel};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_stream::StreamExt;

use chronos_proto::cronos_db::{Event, SubscribeRequest};

use crate::stage::{PARTITIONS, PATIENCE, Stage, TOPIC};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn three_lines_and_the_first_event_fires() {
    let stage = Stage::set("first").await;
    stage.create_cluster(json!({})).await;
    stage.create_topic(json!({})).await;
    let cluster = stage.ready().await;
    let status = cluster.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (3, 3));
    assert_eq!(status.phase, Some(Phase::Running));
    let topic = stage.topic_ready().await.status.unwrap();
    assert_eq!(topic.partitions, Some(PARTITIONS));

    let inside = watchful_channel(&stage.address().await).unwrap();
    fires(&Client::new(inside), "inside").await;
    let (_forwarding, address) = forward(&stage).await;
    let outside = watchful_channel(&address).unwrap();
    fires(&Client::new(outside), "outside").await;
    fires_through_kubectl(&stage).await;
    stage.strike().await;
}

/// Publishes an event of this id, and receives it when it is due.
pub async fn fires(client: &Client, id: &str) {
    let request = SubscribeRequest {
        consumer_group: id.to_owned(),
        topic: TOPIC.to_owned(),
        partition_id: -1,
        start_offset: -1,
        subscription_id: "one".to_owned(),
        ..SubscribeRequest::default()
    };
    let mut subscription = timeout(PATIENCE, client.subscribe(request))
        .await
        .unwrap()
        .unwrap();
    let due_ms = wall_ms() + 1_000;
    let event = Event {
        message_id: id.to_owned(),
        topic: TOPIC.to_owned(),
        schedule_ts: due_ms,
        payload: b"on time".to_vec().into(),
        ..Event::default()
    };
    let stored = timeout(PATIENCE, client.publish(event)).await.unwrap();
    assert!(stored.as_ref().is_ok_and(|it| it.success), "{stored:?}");
    let delivery = timeout(PATIENCE, subscription.deliveries.next()).await;
    let delivery = delivery.unwrap().unwrap().unwrap();
    assert!(wall_ms() >= due_ms, "it came early");
    assert_eq!(event_of(&delivery).message_id, id);
    assert_eq!(&event_of(&delivery).payload[..], b"on time");
}

/// As somebody does it who is not inside Kubernetes. It ends with the value that is returned.
async fn forward(stage: &Stage) -> (Child, String) {
    let mut child = Command::new("kubectl")
        .args(["port-forward", "--namespace", &stage.namespace])
        .args(["service/db-client", ":9000"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(30), lines.next_line()).await;
    // Forwarding from 127.0.0.1:43210 -> 9000
    let line = line.unwrap().unwrap().unwrap();
    let address = line.split_whitespace().nth(2).unwrap().to_owned();
    // It tells of every connection, and ends when nobody listens.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// As in the quick start. The plugin finds the cluster, which is the only one of the namespace, and the
/// way to it.
async fn fires_through_kubectl(stage: &Stage) {
    let plugins = tempfile::tempdir().unwrap();
    let chronosctl = binary("chronosctl").unwrap();
    symlink(chronosctl, plugins.path().join("kubectl-chronos")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", plugins.path().display());
    let run = async |arguments: &[&str]| {
        let mut kubectl = Command::new("kubectl");
        let kubectl = kubectl
            .args(["chronos", "--namespace", &stage.namespace])
            .args(arguments)
            .env("PATH", &path)
            .kill_on_drop(true);
        let output = timeout(PATIENCE, kubectl.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["publish", TOPIC, "--in", "1s", "--payload", "by kubectl"]).await;
    let group = ["--group", "kubectl", "--from", "earliest", "--count", "3"];
    let came = run(&[&["subscribe", TOPIC], &group[..]].concat()).await;
    assert!(came.contains("by kubectl"), "{came}");
}
