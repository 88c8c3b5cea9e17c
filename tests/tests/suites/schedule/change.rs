//! One event: look, cancel, move, fire.

use super::{cancel, get, named, reschedule, told, try_fire};
use crate::serve;
use chronos_proto::cronos_db::{
    CancelBatchRequest, CancelRequest, EventRef, GetScheduledRequest, PublishRequest,
    RescheduleRequest, ScheduleOutcome, ScheduleState,
};
use chronos_tests::client::{event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;
use std::time::Duration;
use tonic::Code;

const HOUR_MS: i64 = 3_600_000;
const SILENCE: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_cancelled_event_is_never_delivered_and_says_so() {
    let (mut server, mut client) = serve(&[]).await;
    let due_ms = wall_ms() + 1_500;
    client.publish(event_at("gone", "t", due_ms)).await.unwrap();
    client.publish(event_at("kept", "t", due_ms)).await.unwrap();

    let found = get(&client, "t", "gone").await;
    assert_eq!(told(&found), (ScheduleOutcome::Found, 1, due_ms));
    let event = found.event.unwrap();
    assert_eq!(event.state(), ScheduleState::StatePending);
    assert_eq!((event.payload_bytes, event.payload.len()), (15, 0));

    let cancelled = cancel(&client, "t", "gone").await;
    assert_eq!(told(&cancelled), (ScheduleOutcome::Cancelled, 2, due_ms));
    let again = cancel(&client, "t", "gone").await;
    assert_eq!(told(&again), (ScheduleOutcome::AlreadyCancelled, 2, due_ms));
    let late = reschedule(&client, "t", "gone", due_ms + 1).await;
    assert_eq!(late.outcome(), ScheduleOutcome::AlreadyCancelled);

    // Whatever restarts come.
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    client = chronos_tests::client::Client::new(server.channel().unwrap());
    let after = get(&client, "t", "gone").await;
    assert_eq!(after.event.unwrap().state(), ScheduleState::StateCancelled);
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(ids(&deliveries.take(1).await), ["kept"]);
    assert!(deliveries.within(SILENCE).await.is_none());
    let fired = cancel(&client, "t", "kept").await;
    assert_eq!(fired.outcome(), ScheduleOutcome::AlreadyFired);
    assert_eq!(fired.event.unwrap().state(), ScheduleState::StateFired);
}

#[tokio::test]
async fn a_moved_event_comes_at_its_new_time_and_only_then() {
    let (_server, client) = serve(&[]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let now_ms = wall_ms();
    for (id, due_ms) in [
        ("later", now_ms + 700),
        ("sooner", now_ms + HOUR_MS),
        ("twice", now_ms + 600),
        ("past", now_ms + HOUR_MS),
    ] {
        client.publish(event_at(id, "t", due_ms)).await.unwrap();
    }
    let later_ms = now_ms + 2_500;
    let sooner_ms = now_ms + 1_500;
    let answer = reschedule(&client, "t", "later", later_ms).await;
    assert_eq!(told(&answer), (ScheduleOutcome::Rescheduled, 2, later_ms));
    reschedule(&client, "t", "sooner", sooner_ms).await;
    reschedule(&client, "t", "twice", now_ms + HOUR_MS).await;
    let answer = reschedule(&client, "t", "twice", now_ms + 2_000).await;
    assert_eq!(
        told(&answer),
        (ScheduleOutcome::Rescheduled, 3, now_ms + 2_000)
    );
    let past_ms = now_ms - 5_000;
    reschedule(&client, "t", "past", past_ms).await;

    for (id, at_ms) in [
        ("past", past_ms),
        ("sooner", sooner_ms),
        ("twice", now_ms + 2_000),
        ("later", later_ms),
    ] {
        let delivery = deliveries.next().await;
        assert!(wall_ms() >= at_ms, "{id} is early");
        let event = event_of(&delivery);
        assert_eq!((event.message_id.as_str(), event.schedule_ts), (id, at_ms));
        assert_eq!(delivery.attempt, 1);
    }
    assert!(deliveries.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn moved_events_come_at_their_new_time_after_a_kill() {
    let (mut server, client) = serve(&[]).await;
    let now_ms = wall_ms();
    for (id, due_ms) in [
        ("a", now_ms + 300),
        ("b", now_ms + HOUR_MS),
        ("c", now_ms + 400),
    ] {
        client.publish(event_at(id, "t", due_ms)).await.unwrap();
    }
    reschedule(&client, "t", "a", now_ms + HOUR_MS).await;
    reschedule(&client, "t", "b", now_ms + 500).await;
    cancel(&client, "t", "c").await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = chronos_tests::client::Client::new(server.channel().unwrap());
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let delivery = deliveries.next().await;
    let event = event_of(&delivery);
    assert_eq!(
        (event.message_id.as_str(), event.schedule_ts),
        ("b", now_ms + 500)
    );
    assert!(deliveries.within(SILENCE).await.is_none());
    let a = get(&client, "t", "a").await;
    assert_eq!(told(&a), (ScheduleOutcome::Found, 2, now_ms + HOUR_MS));
}

#[tokio::test]
async fn an_event_fired_by_hand_comes_at_once_and_once() {
    let (_server, client) = serve(&[]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let due_ms = wall_ms() + HOUR_MS;
    client.publish(event_at("a", "t", due_ms)).await.unwrap();
    let fired = try_fire(&client, "t", "a").await.unwrap();
    assert_eq!(fired.outcome(), ScheduleOutcome::Fired);
    let delivery = deliveries.next().await;
    let event = event_of(&delivery);
    assert_eq!(event.message_id, "a");
    assert!(event.schedule_ts <= wall_ms(), "it says when it was fired");
    let again = try_fire(&client, "t", "a").await.unwrap();
    assert_eq!(again.outcome(), ScheduleOutcome::AlreadyFired);
    assert!(deliveries.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn an_expected_version_guards_against_changes_in_between() {
    let (_server, client) = serve(&[]).await;
    let due_ms = wall_ms() + HOUR_MS;
    client.publish(event_at("a", "t", due_ms)).await.unwrap();
    reschedule(&client, "t", "a", due_ms + 1).await;
    let cancel_if = |version| {
        let mut schedules = client.schedules.clone();
        async move {
            let request = CancelRequest {
                event: named("t", "a"),
                if_version: Some(version),
            };
            schedules.cancel(request).await.unwrap().into_inner()
        }
    };
    let stale = cancel_if(1).await;
    assert_eq!(
        told(&stale),
        (ScheduleOutcome::VersionMismatch, 2, due_ms + 1)
    );
    assert!(stale.message.contains("version 2"), "{}", stale.message);
    assert_eq!(cancel_if(2).await.outcome(), ScheduleOutcome::Cancelled);
    // A retry of what succeeded says so.
    assert_eq!(
        cancel_if(2).await.outcome(),
        ScheduleOutcome::AlreadyCancelled
    );
}

#[tokio::test]
async fn events_are_found_by_id_whatever_their_key_and_by_place() {
    let (_server, client) = serve(&["-partition-count=4"]).await;
    let due_ms = wall_ms() + HOUR_MS;
    let mut keyed = event_at("a", "t", due_ms);
    keyed.meta.insert("partition_key".into(), "some key".into());
    let place = client.publish(keyed).await.unwrap();
    assert_eq!(
        get(&client, "t", "a").await.outcome(),
        ScheduleOutcome::Found
    );
    assert_eq!(
        get(&client, "u", "a").await.outcome(),
        ScheduleOutcome::NotFound
    );
    assert_eq!(
        get(&client, "t", "b").await.outcome(),
        ScheduleOutcome::NotFound
    );
    let by_place = GetScheduledRequest {
        event: Some(EventRef {
            partition_id: Some(place.partition_id),
            offset: Some(place.offset),
            ..EventRef::default()
        }),
        with_payload: true,
    };
    let found = client.schedules.clone().get(by_place).await.unwrap();
    let event = found.into_inner().event.unwrap();
    assert_eq!(
        (event.message_id.as_str(), &event.payload[..]),
        ("a", &b"payload of a"[..])
    );
    assert_eq!(event.meta["partition_key"], "some key");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let (_server, client) = serve(&[]).await;
    let mut schedules = client.schedules.clone();
    let nobody = CancelRequest::default();
    let status = schedules.cancel(nobody).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for (schedule_ts, deliver_after_ms) in [
        (0, 0),
        (5, 5),
        (-1, 0),
        (i64::MAX, 0),
        (0, i64::MAX),
        (0, -1),
    ] {
        let request = RescheduleRequest {
            event: named("t", "a"),
            schedule_ts,
            deliver_after_ms,
            ..RescheduleRequest::default()
        };
        let status = schedules.reschedule(request).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{schedule_ts} {deliver_after_ms}"
        );
    }
}

#[tokio::test]
async fn a_batch_is_judged_event_by_event() {
    let (_server, client) = serve(&["-partition-count=3"]).await;
    let due_ms = wall_ms() + HOUR_MS;
    for n in 0..20 {
        client
            .publish(event_at(&format!("e{n}"), "t", due_ms))
            .await
            .unwrap();
    }
    cancel(&client, "t", "e3").await;
    let events: Vec<_> = (0..22)
        .filter_map(|n| named("t", &format!("e{n}")))
        .collect();
    let answer = client
        .schedules
        .clone()
        .cancel_batch(CancelBatchRequest { events })
        .await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.cancelled, 19);
    for (n, outcome) in answer.outcomes().enumerate() {
        let expected = match n {
            3 => ScheduleOutcome::AlreadyCancelled,
            20.. => ScheduleOutcome::NotFound,
            _ => ScheduleOutcome::Cancelled,
        };
        assert_eq!(outcome, expected, "e{n}");
    }
}

#[tokio::test]
async fn a_duplicate_publish_may_ask_for_the_event_that_is_there() {
    let (_server, client) = serve(&["-partition-count=2"]).await;
    let due_ms = wall_ms() + HOUR_MS;
    client
        .publish(event_at("other", "t", due_ms))
        .await
        .unwrap();
    let first = client.publish(event_at("a", "t", due_ms)).await.unwrap();
    reschedule(&client, "t", "a", due_ms + 7).await;
    let again = |return_existing| {
        let mut events = client.events.clone();
        async move {
            let request = PublishRequest {
                event: Some(event_at("a", "t", 5)),
                return_existing,
                ..PublishRequest::default()
            };
            events.publish(request).await.unwrap().into_inner()
        }
    };
    assert_eq!(again(false).await.existing, None);
    let answer = again(true).await;
    assert_eq!(
        (answer.success, answer.error.as_str()),
        (false, "duplicate message_id")
    );
    let existing = answer.existing.unwrap();
    assert_eq!(
        (existing.partition_id, existing.offset),
        (first.partition_id, first.offset)
    );
    assert_eq!((existing.schedule_ts, existing.version), (due_ms + 7, 2));
    assert!(!existing.fired && !existing.cancelled);
    cancel(&client, "t", "a").await;
    assert!(again(true).await.existing.unwrap().cancelled);
}
