//! Changing whatever matches.

use super::of_topic;
use crate::serve;
use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    CancelMatchingRequest, ChangeMatchingResponse, CountPendingRequest, CreateTopicRequest,
    ListPendingRequest, PendingFilter, RescheduleMatchingRequest, TopicSettings,
};
use chronos_tests::client::{Client, event_at, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::server::Options;
use std::collections::BTreeSet;
use tonic::Code;

const HOUR_MS: i64 = 3_600_000;

async fn publish(client: &Client, topic: &str, events: i64, from_ms: i64) {
    let events = (0..events)
        .map(|n| event_at(&format!("{topic}-{n}"), topic, from_ms + n * 10))
        .collect();
    let answer = client.publish_batch(events).await.unwrap();
    assert!(answer.success, "{answer:?}");
}

async fn count(client: &Client, topic: &str) -> i64 {
    let request = CountPendingRequest {
        topic: topic.into(),
    };
    let answer = client
        .schedules
        .clone()
        .count_pending(request)
        .await
        .unwrap();
    answer.into_inner().pending
}

async fn cancel(
    client: &Client,
    filter: PendingFilter,
    dry_run: bool,
    limit: i64,
) -> ChangeMatchingResponse {
    let request = CancelMatchingRequest {
        filter: Some(filter),
        dry_run,
        limit,
    };
    let answer = client
        .schedules
        .clone()
        .cancel_matching(request)
        .await
        .unwrap();
    answer.into_inner()
}

#[tokio::test]
async fn a_dry_run_counts_and_the_real_one_cancels() {
    let (_server, client) = serve(&["-partition-count=3"]).await;
    let from_ms = wall_ms() + HOUR_MS;
    publish(&client, "t", 5_000, from_ms).await;
    publish(&client, "u", 100, from_ms).await;
    let some = PendingFilter {
        from_ts: from_ms + 10_000,
        to_ts: from_ms + 20_000,
        ..of_topic("t")
    };
    let dry = cancel(&client, some.clone(), true, 0).await;
    assert_eq!((dry.matched, dry.changed), (1_000, 0));
    assert_eq!(count(&client, "t").await, 5_000);
    let limited = cancel(&client, some.clone(), false, 10).await;
    assert_eq!((limited.matched, limited.changed), (10, 10));
    let rest = cancel(&client, some.clone(), false, 0).await;
    assert_eq!((rest.matched, rest.changed), (990, 990));
    assert_eq!(cancel(&client, some, false, 0).await.matched, 0);
    let named = PendingFilter {
        message_id_prefix: "t-1".into(),
        ..of_topic("t")
    };
    // 1, 10..19, 100..199; 1000..1999 are gone.
    assert_eq!(cancel(&client, named, false, 0).await.changed, 111);
    assert_eq!(
        (count(&client, "t").await, count(&client, "u").await),
        (3_889, 100)
    );
}

/// An entry that moved events is applied before readers are told of it; here they never are.
#[tokio::test]
async fn nothing_is_moved_twice_before_its_move_is_told() {
    let options = Options::new().arg("-partition-count=2");
    let options = options.mutant(Some("moves-not-told"));
    let server = options.start().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    publish(&client, "t", 6_000, wall_ms() + HOUR_MS).await;
    let shift = RescheduleMatchingRequest {
        filter: Some(of_topic("t")),
        shift_ms: 30_000,
        ..RescheduleMatchingRequest::default()
    };
    let mut schedules = client.schedules.clone();
    let moved = schedules.reschedule_matching(shift).await.unwrap();
    let moved = moved.into_inner();
    assert_eq!((moved.matched, moved.changed), (6_000, 6_000));
}

#[tokio::test]
async fn everything_is_moved_once_and_arrives() {
    let (_server, client) = serve(&["-partition-count=2"]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let from_ms = wall_ms() + HOUR_MS;
    publish(&client, "t", 6_000, from_ms).await;
    // Into what is yet to be read: nothing may be moved twice.
    let shift = RescheduleMatchingRequest {
        filter: Some(of_topic("t")),
        shift_ms: 30_000,
        ..RescheduleMatchingRequest::default()
    };
    let moved = client
        .schedules
        .clone()
        .reschedule_matching(shift)
        .await
        .unwrap();
    let moved = moved.into_inner();
    assert_eq!((moved.matched, moved.changed), (6_000, 6_000));
    let request = ListPendingRequest {
        filter: Some(of_topic("t")),
        page_size: 1,
        ..ListPendingRequest::default()
    };
    let first = client
        .schedules
        .clone()
        .list_pending(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.events[0].schedule_ts, from_ms + 30_000);
    assert_eq!(first.events[0].message_id, "t-0");

    let now = RescheduleMatchingRequest {
        filter: Some(of_topic("t")),
        schedule_ts: wall_ms(),
        ..RescheduleMatchingRequest::default()
    };
    let moved = client
        .schedules
        .clone()
        .reschedule_matching(now)
        .await
        .unwrap();
    assert_eq!(moved.into_inner().changed, 6_000);
    let came = deliveries.take(6_000).await;
    let came: BTreeSet<_> = chronos_tests::client::ids(&came).into_iter().collect();
    assert_eq!(came.len(), 6_000);
}

#[tokio::test]
async fn a_shift_takes_no_event_beyond_the_horizon_of_its_topic() {
    let (server, client) = serve(&["-partition-count=2"]).await;
    let create = CreateTopicRequest {
        name: "t".into(),
        settings: Some(TopicSettings {
            max_horizon_ms: Some(2 * HOUR_MS),
            ..TopicSettings::default()
        }),
    };
    let mut topics = TopicServiceClient::new(server.channel().unwrap());
    topics.create_topic(create).await.unwrap();
    let from_ms = wall_ms() + HOUR_MS / 2;
    publish(&client, "t", 3_000, from_ms).await;
    // These would come to lie beyond it.
    let late = (0..3_000).map(|n| event_at(&format!("late-{n}"), "t", from_ms + HOUR_MS + n));
    assert!(client.publish_batch(late.collect()).await.unwrap().success);
    let shift = |dry_run, limit| RescheduleMatchingRequest {
        filter: Some(of_topic("t")),
        shift_ms: HOUR_MS,
        dry_run,
        limit,
        ..RescheduleMatchingRequest::default()
    };
    let mut schedules = client.schedules.clone();
    for (dry_run, changed) in [(true, 0), (false, 3_000)] {
        let moved = schedules.reschedule_matching(shift(dry_run, 0)).await;
        let moved = moved.unwrap().into_inner();
        assert_eq!((moved.matched, moved.changed), (6_000, changed));
        assert_eq!(moved.refused, 3_000, "dry run: {dry_run}");
    }
    // All stand within the horizon now, and none can go further.
    let moved = schedules.reschedule_matching(shift(false, 10)).await;
    let moved = moved.unwrap().into_inner();
    assert_eq!((moved.matched, moved.changed, moved.refused), (10, 0, 10));
    assert_eq!(count(&client, "t").await, 6_000);
}

#[tokio::test]
async fn a_filter_is_required_and_so_is_a_time() {
    let (_server, client) = serve(&[]).await;
    let mut schedules = client.schedules.clone();
    let status = schedules
        .cancel_matching(CancelMatchingRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let nowhere = RescheduleMatchingRequest {
        filter: Some(of_topic("t")),
        ..RescheduleMatchingRequest::default()
    };
    let status = schedules.reschedule_matching(nowhere).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
