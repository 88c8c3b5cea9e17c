//! A cluster that sleeps and wakes up still has every event: those that were pending, and those that
//! fell due meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_operator::api::{ChronosCluster, Phase};
use chronos_proto::cronos_db::{Event, SubscribeRequest};
use chronos_tests::client::{Client, event_of};
use chronos_tests::history::wall_ms;
use chronos_tests::server::watchful_channel;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use serde_json::json;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::stage::{CLUSTER, PATIENCE, Stage, TOPIC};

/// Events in all.
const EVENTS: usize = 60;
/// How far apart they are.
const APART_MS: i64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn events_outlive_a_sleep() {
    let stage = Stage::with_cluster("sleep", json!({})).await;
    let client = Client::new(watchful_channel(&stage.address().await).unwrap());
    let begin_ms = wall_ms();
    for number in 0..EVENTS {
        let event = Event {
            message_id: format!("e{number}"),
            topic: TOPIC.to_owned(),
            schedule_ts: begin_ms + i64::try_from(number).unwrap() * APART_MS,
            payload: b"kept".to_vec().into(),
            ..Event::default()
        };
        let stored = timeout(PATIENCE, client.publish(event)).await.unwrap();
        assert!(stored.as_ref().is_ok_and(|it| it.success), "{stored:?}");
    }
    let claims = stage.uids::<PersistentVolumeClaim>().await;
    assert_eq!(claims.len(), 3);

    stage.change(json!({ "spec": { "hibernate": true } })).await;
    stage.until(CLUSTER, "sleeps", is(Phase::Hibernated)).await;
    let pods = stage.api::<Pod>().list(&ListParams::default()).await;
    assert_eq!(pods.unwrap().items.len(), 0);

    stage
        .change(json!({ "spec": { "hibernate": false } }))
        .await;
    stage.ready().await;
    stage.whole(3).await;
    assert_eq!(stage.uids::<PersistentVolumeClaim>().await, claims);
    let client = Client::new(watchful_channel(&stage.address().await).unwrap());
    let request = SubscribeRequest {
        consumer_group: "g".to_owned(),
        topic: TOPIC.to_owned(),
        partition_id: -1,
        start_offset: 0,
        subscription_id: "one".to_owned(),
        ..SubscribeRequest::default()
    };
    let mut subscription = timeout(PATIENCE, client.subscribe(request))
        .await
        .unwrap()
        .unwrap();
    let last = Duration::from_millis(EVENTS as u64 * APART_MS.unsigned_abs());
    let mut seen = BTreeSet::new();
    while seen.len() < EVENTS {
        let delivery = timeout(last + PATIENCE, subscription.deliveries.next()).await;
        let delivery = delivery.unwrap().unwrap().unwrap();
        let event = event_of(&delivery);
        assert!(wall_ms() >= event.schedule_ts, "early: {event:?}");
        seen.insert(event.message_id.clone());
    }
    stage.strike().await;
}

fn is(phase: Phase) -> impl Fn(&ChronosCluster) -> bool {
    move |cluster| {
        cluster.status.as_ref().is_some_and(|status| {
            status.phase == Some(phase)
                && Some(status.observed_generation) == cluster.metadata.generation
        })
    }
}
