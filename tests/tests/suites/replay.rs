//! Replays on every axis, paced, and published again.

use std::time::Duration;

use chronos_proto::cronos_db::replay_service_client::ReplayServiceClient;
use chronos_proto::cronos_db::schedule_service_client::ScheduleServiceClient;
use chronos_proto::cronos_db::{
    CancelRequest, Event, EventRef, ReplayEvent, ReplayOrder, ReplayRequest, RepublishProgress,
    RepublishRequest, RescheduleRequest,
};
use chronos_tests::client::{Client, event_at, event_of, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;
use tonic::{Code, Status};

use crate::serve;

const HOUR_MS: i64 = 3_600_000;

fn ids(events: &[ReplayEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|it| it.event.as_ref().unwrap().message_id.as_str())
        .collect()
}

fn by(order: ReplayOrder) -> ReplayRequest {
    ReplayRequest {
        order: order.into(),
        ..ReplayRequest::default()
    }
}

async fn replay(client: &Client, request: ReplayRequest) -> Vec<ReplayEvent> {
    client.replay(request).await.unwrap()
}

async fn publish(client: &Client, events: Vec<Event>) {
    let count = events.len() as i32;
    let published = client.publish_batch(events).await.unwrap();
    assert_eq!(published.published_count, count, "{published:?}");
}

/// What came of a republish.
async fn republish(
    server: &Server,
    request: RepublishRequest,
) -> Result<RepublishProgress, Status> {
    let mut replays = ReplayServiceClient::new(server.channel().unwrap());
    let mut stream = replays.republish(request).await?.into_inner();
    let mut last = None;
    while let Some(progress) = stream.message().await? {
        last = Some(progress);
    }
    let last = last.expect("a republish says how far it is");
    assert!(last.done);
    Ok(last)
}

/// Two that are late in the order b, a, then three of the future, then one that fires soon.
async fn fill(client: &Client) -> i64 {
    let base_ms = wall_ms() - 10_000;
    let far_ms = base_ms + HOUR_MS;
    publish(client, vec![event_at("b", "t", base_ms + 2_000)]).await;
    publish(client, vec![event_at("a", "t", base_ms + 1_000)]).await;
    let future = vec![
        event_at("z", "t", far_ms + 3),
        event_at("x", "u", far_ms + 1),
        event_at("y", "t", far_ms + 2),
    ];
    publish(client, future).await;
    base_ms
}

#[tokio::test]
async fn by_schedule_events_come_in_the_order_of_their_times_fired_or_not() {
    let (_server, client) = serve(&[]).await;
    let base_ms = fill(&client).await;
    let all = replay(&client, by(ReplayOrder::ReplayBySchedule)).await;
    assert_eq!(ids(&all), ["a", "b", "x", "y", "z"]);
    for it in &all {
        assert_eq!(it.axis_ts, it.event.as_ref().unwrap().schedule_ts);
    }
    let range = ReplayRequest {
        start_ts: base_ms + 2_000,
        end_ts: base_ms + HOUR_MS + 1,
        ..by(ReplayOrder::ReplayBySchedule)
    };
    assert_eq!(ids(&replay(&client, range).await), ["b", "x"]);
    // In parts, each going on where the one before ended.
    let mut rest = by(ReplayOrder::ReplayBySchedule);
    rest.count = 2;
    let mut parts = Vec::new();
    loop {
        let part = replay(&client, rest.clone()).await;
        let Some(last) = part.last() else { break };
        rest.after_ts = Some(last.axis_ts);
        rest.after_offset = last.event.as_ref().unwrap().offset;
        parts.extend(part);
    }
    assert_eq!(ids(&parts), ["a", "b", "x", "y", "z"]);
}

#[tokio::test]
async fn by_fire_only_what_fired_comes_and_as_it_fired() {
    let (_server, client) = serve(&[]).await;
    fill(&client).await;
    let soon_ms = wall_ms() + 200;
    publish(&client, vec![event_at("soon", "t", soon_ms)]).await;
    let fired = eventually("it fires", || async {
        let fired = replay(&client, by(ReplayOrder::ReplayByFire)).await;
        (fired.len() == 3).then_some(fired)
    })
    .await;
    assert_eq!(ids(&fired), ["b", "a", "soon"]);
    assert!(fired.windows(2).all(|w| w[0].axis_ts <= w[1].axis_ts));
    let since = ReplayRequest {
        start_ts: soon_ms,
        ..by(ReplayOrder::ReplayByFire)
    };
    assert_eq!(ids(&replay(&client, since).await), ["soon"]);
    let other_topic = ReplayRequest {
        topic: "u".into(),
        ..by(ReplayOrder::ReplayByFire)
    };
    assert!(replay(&client, other_topic).await.is_empty());
}

#[tokio::test]
async fn a_key_selects_on_every_axis() {
    let (_server, client) = serve(&[]).await;
    let now_ms = wall_ms() - 1_000;
    let keyed = |id: &str, key: &str| {
        let mut event = event_at(id, "t", now_ms);
        event.meta.insert("partition_key".into(), key.into());
        event
    };
    publish(
        &client,
        vec![keyed("a", "k"), keyed("b", "l"), keyed("c", "k")],
    )
    .await;
    publish(&client, vec![event_at("k", "t", now_ms)]).await;
    for order in [
        ReplayOrder::ReplayByOffset,
        ReplayOrder::ReplayBySchedule,
        ReplayOrder::ReplayByFire,
    ] {
        let request = ReplayRequest {
            key: "k".into(),
            ..by(order)
        };
        let found = replay(&client, request).await;
        assert_eq!(ids(&found), ["a", "c", "k"], "{order:?}");
    }
}

#[tokio::test]
async fn moved_events_come_at_their_new_time_and_cancelled_ones_not_at_all() {
    let (server, client) = serve(&[]).await;
    let base_ms = fill(&client).await;
    let mut schedules = ScheduleServiceClient::new(server.channel().unwrap());
    let event = |id: &str| {
        Some(EventRef {
            topic: "t".into(),
            message_id: id.into(),
            ..EventRef::default()
        })
    };
    schedules
        .cancel(CancelRequest {
            event: event("y"),
            ..CancelRequest::default()
        })
        .await
        .unwrap();
    let moved_ms = base_ms + 10 * HOUR_MS;
    schedules
        .reschedule(RescheduleRequest {
            event: event("z"),
            schedule_ts: moved_ms,
            ..RescheduleRequest::default()
        })
        .await
        .unwrap();
    let all = replay(&client, by(ReplayOrder::ReplayBySchedule)).await;
    assert_eq!(ids(&all), ["a", "b", "x", "z"]);
    assert_eq!(all[3].event.as_ref().unwrap().schedule_ts, moved_ms);
    let by_offset = replay(&client, ReplayRequest::default()).await;
    assert_eq!(ids(&by_offset), ["b", "a", "z", "x"]);
    // A range of schedule_ts, in the order of the log, sees the new time too.
    let range = ReplayRequest {
        start_ts: moved_ms,
        end_ts: moved_ms,
        ..ReplayRequest::default()
    };
    assert_eq!(ids(&replay(&client, range).await), ["z"]);
}

#[tokio::test]
async fn a_rate_and_a_factor_of_time_hold_events_back() {
    let (_server, client) = serve(&[]).await;
    let base_ms = wall_ms() - 60_000;
    let events = (0..5).map(|n| event_at(&format!("e{n}"), "t", base_ms + n * 10_000));
    publish(&client, events.collect()).await;
    let paced = ReplayRequest {
        events_per_second: 20.0,
        ..ReplayRequest::default()
    };
    let began_ms = wall_ms();
    assert_eq!(replay(&client, paced).await.len(), 5);
    assert!(wall_ms() - began_ms >= 190, "four pauses of 50 ms");
    let in_time = ReplayRequest {
        time_factor: 100.0,
        ..by(ReplayOrder::ReplayBySchedule)
    };
    let began_ms = wall_ms();
    assert_eq!(replay(&client, in_time).await.len(), 5);
    assert!(
        wall_ms() - began_ms >= 390,
        "40 s in a hundredth of the time"
    );
    for wrong in [f64::NAN, -1.0, f64::INFINITY] {
        let request = ReplayRequest {
            events_per_second: wrong,
            ..ReplayRequest::default()
        };
        let refused = client.replay(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn the_head_of_a_replay_says_from_where_events_are_stored() {
    let (_server, client) = serve(&[]).await;
    fill(&client).await;
    for from in [0, 3, 77] {
        let request = ReplayRequest {
            start_offset: from,
            ..ReplayRequest::default()
        };
        let response = client.events.clone().replay(request).await.unwrap();
        let available = response.metadata().get("chronos-available-from");
        let available: i64 = available.unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(available, from.min(5));
    }
}

#[tokio::test]
async fn a_republish_is_repeated_without_effect() {
    let (server, client) = serve(&["-partition-count=4"]).await;
    let base_ms = wall_ms() - 10_000;
    // All in one partition, so that one replay reads them.
    let events = (0..600).map(|n| {
        let mut event = event_at(&format!("e{n}"), "t", base_ms + n);
        event.meta.insert("partition_key".into(), "k".into());
        event
    });
    let mut partition = 0;
    for event in events {
        partition = client.publish(event).await.unwrap().partition_id;
    }
    let range = ReplayRequest {
        partition_id: partition,
        topic: "t".into(),
        ..by(ReplayOrder::ReplayByFire)
    };
    let request = RepublishRequest {
        range: Some(range),
        target_topic: "again".into(),
        shift_ms: 5_000,
        id_prefix: "again-".into(),
    };
    let first = republish(&server, request.clone()).await.unwrap();
    assert_eq!(
        (first.read, first.published, first.duplicates),
        (600, 600, 0)
    );
    let second = republish(&server, request.clone()).await.unwrap();
    assert_eq!(
        (second.read, second.published, second.duplicates),
        (600, 0, 600)
    );
    let mut subscription = client
        .subscribe(subscription("g", "m", "again"))
        .await
        .unwrap();
    let delivered = subscription.take(600).await;
    for (n, delivery) in delivered.iter().enumerate() {
        let event = event_of(delivery);
        assert_eq!(event.message_id, format!("again-e{n}"));
        assert_eq!(event.schedule_ts, base_ms + n as i64 + 5_000);
        assert_eq!(event.payload, format!("payload of e{n}"));
    }
    assert!(
        subscription
            .within(Duration::from_millis(300))
            .await
            .is_none()
    );
    let no_prefix = RepublishRequest {
        id_prefix: String::new(),
        ..request.clone()
    };
    let refused = republish(&server, no_prefix).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let too_long = RepublishRequest {
        id_prefix: "x".repeat(128),
        ..request
    };
    let refused = republish(&server, too_long).await.unwrap();
    assert_eq!((refused.refused, refused.published), (600, 0));
    assert!(refused.first_error.contains("at most 128"), "{refused:?}");
}
