//! CancelAndPublish: both or neither.

use super::{cancel, get, named, told};
use crate::serve;
use chronos_proto::cronos_db::{
    CancelAndPublishRequest, CancelAndPublishResponse, Event, GetScheduledRequest, ScheduleOutcome,
};
use chronos_tests::client::{Client, event_at, ids, subscription};
use chronos_tests::history::wall_ms;
use std::time::Duration;
use tonic::{Code, Status};

const HOUR_MS: i64 = 3_600_000;

async fn replace(client: &Client, id: &str, by: Event) -> Result<CancelAndPublishResponse, Status> {
    let request = CancelAndPublishRequest {
        cancel: named("t", id),
        if_version: None,
        publish: Some(by),
    };
    let answer = client.schedules.clone().cancel_and_publish(request).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn one_event_goes_and_another_comes() {
    let (_server, client) = serve(&[]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let due_ms = wall_ms() + HOUR_MS;
    client
        .publish(event_at("old", "t", wall_ms() + 700))
        .await
        .unwrap();
    let answer = replace(&client, "old", event_at("new", "t", wall_ms() + 900))
        .await
        .unwrap();
    assert_eq!(
        (answer.outcome(), answer.offset),
        (ScheduleOutcome::Cancelled, 1)
    );
    assert_eq!(ids(&deliveries.take(1).await), ["new"]);
    assert!(
        deliveries
            .within(Duration::from_millis(300))
            .await
            .is_none()
    );

    // Under the same id too.
    client.publish(event_at("a", "t", due_ms)).await.unwrap();
    let mut other = event_at("a", "t", due_ms + 1);
    other.payload = "another payload".into();
    let answer = replace(&client, "a", other).await.unwrap();
    assert_eq!(answer.outcome(), ScheduleOutcome::Cancelled);
    let found = get(&client, "t", "a").await;
    assert_eq!(told(&found), (ScheduleOutcome::Found, 1, due_ms + 1));
    assert_eq!(found.event.unwrap().offset, answer.offset);
}

/// Whatever may be published may come in the place of another event.
#[tokio::test]
async fn the_largest_event_comes_in_the_place_of_another() {
    let (_server, client) = serve(&[]).await;
    let due_ms = wall_ms() + HOUR_MS;
    client.publish(event_at("a", "t", due_ms)).await.unwrap();
    let mut largest = event_at("a", "t", due_ms + 1);
    largest.payload = vec![7; 4 << 20].into();
    let answer = replace(&client, "a", largest).await.unwrap();
    assert_eq!(answer.outcome(), ScheduleOutcome::Cancelled);
    let request = GetScheduledRequest {
        event: named("t", "a"),
        with_payload: true,
    };
    let found = client.schedules.clone().get(request).await.unwrap();
    assert_eq!(found.into_inner().event.unwrap().payload.len(), 4 << 20);
}

#[tokio::test]
async fn neither_happens_when_one_cannot() {
    let (_server, client) = serve(&["-partition-count=8"]).await;
    let due_ms = wall_ms() + HOUR_MS;
    let keyed = |id: &str| {
        let mut event = event_at(id, "t", due_ms);
        event.meta.insert("partition_key".into(), "k".into());
        event
    };
    for id in ["a", "taken", "gone"] {
        client.publish(keyed(id)).await.unwrap();
    }
    // The new event is a duplicate.
    let answer = replace(&client, "a", keyed("taken")).await.unwrap();
    assert_eq!(answer.outcome(), ScheduleOutcome::Duplicate);
    assert_eq!(
        told(&get(&client, "t", "a").await),
        (ScheduleOutcome::Found, 1, due_ms)
    );
    // The old event is gone already.
    cancel(&client, "t", "gone").await;
    let answer = replace(&client, "gone", keyed("new")).await.unwrap();
    assert_eq!(answer.outcome(), ScheduleOutcome::AlreadyCancelled);
    let answer = replace(&client, "nobody", keyed("new")).await.unwrap();
    assert_eq!(answer.outcome(), ScheduleOutcome::NotFound);
    assert_eq!(
        get(&client, "t", "new").await.outcome(),
        ScheduleOutcome::NotFound
    );
    // They belong to two partitions, which share no log.
    let mut elsewhere = event_at("new", "t", due_ms);
    elsewhere.meta.insert("partition_key".into(), "k0".into());
    let status = replace(&client, "a", elsewhere).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
}
