//! Timers that fired early, were lost, or overflowed.

use super::{HOUR_MS, create_topic};
use crate::serve;
use chronos_proto::cronos_db::{
    CancelBatchRequest, EventRef, PendingFilter, RescheduleMatchingRequest, RescheduleRequest,
    SubscribeRequest, TopicSettings,
};
use chronos_tests::client::{Client, event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;
use std::collections::BTreeSet;
use tonic::Code;

/// The end of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

fn named(id: String) -> EventRef {
    EventRef {
        topic: "t".into(),
        message_id: id,
        ..EventRef::default()
    }
}

/// mxsm/rocketmq-rust#9154: a recall was missed when the message it was about lay beyond the batch
/// that was being delivered of the same tick.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_an_event_however_far_behind_it_lies_in_its_millisecond() {
    // More than a group takes up at a time.
    const EVENTS: usize = 18_000;
    let (_server, client) = serve(&[]).await;
    let due_ms = wall_ms() + 4_000;
    let name = |n: usize| format!("{n:05}");
    for begin in (0..EVENTS).step_by(1_000) {
        let batch = (begin..begin + 1_000).map(|n| event_at(&name(n), "t", due_ms));
        assert!(client.publish_batch(batch.collect()).await.unwrap().success);
    }
    let cancelled: Vec<usize> = (0..EVENTS).filter(|n| n % 50 == 49).collect();
    let request = CancelBatchRequest {
        events: cancelled.iter().map(|n| named(name(*n))).collect(),
    };
    let answer = client.schedules.clone().cancel_batch(request).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.cancelled, cancelled.len() as i64);
    let request = SubscribeRequest {
        max_buffer_size: 50_000,
        ..subscription("g", "m", "t")
    };
    let mut deliveries = client.subscribe(request).await.unwrap();
    // The last one that is due shows that everything before it came.
    let last = event_at("last", "t", due_ms + 1);
    assert!(client.publish(last).await.unwrap().success);
    let came = ids(&deliveries.take(EVENTS - cancelled.len() + 1).await);
    assert_eq!(came.last().map(String::as_str), Some("last"));
    let came: BTreeSet<_> = came.into_iter().collect();
    assert!(cancelled.iter().all(|n| !came.contains(&name(*n))));
}

/// apache/rocketmq#5376: the most that a message may be delayed was kept in 32 bits, overflowed, and
/// every delayed message was refused.
#[tokio::test]
async fn a_horizon_of_any_size_refuses_what_is_beyond_it_and_nothing_else() {
    let (server, client) = serve(&[]).await;
    let horizons = [
        30 * 24 * HOUR_MS,
        i64::from(i32::MAX),
        i64::from(u32::MAX) + 1,
        1 << 40,
        200_000_000_000_000,
    ];
    for horizon_ms in horizons {
        let topic = format!("t{horizon_ms}");
        let settings = TopicSettings {
            max_horizon_ms: Some(horizon_ms),
            ..TopicSettings::default()
        };
        create_topic(&server, &topic, settings).await;
        for ahead_ms in [1, HOUR_MS, horizon_ms - 60_000] {
            let event = event_at(&format!("{topic}-{ahead_ms}"), &topic, wall_ms() + ahead_ms);
            assert!(client.publish(event).await.unwrap().success, "{ahead_ms}");
        }
        let beyond = event_at("beyond", &topic, wall_ms() + horizon_ms + 60_000);
        let refused = client.publish(beyond).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{horizon_ms}");
        let past = event_at(&format!("{topic}-past"), &topic, 1);
        assert!(client.publish(past).await.unwrap().success);
    }
}

async fn shift(client: &Client, by_ms: i64) -> Result<(), tonic::Status> {
    let request = RescheduleMatchingRequest {
        filter: Some(PendingFilter {
            topic: "t".into(),
            ..PendingFilter::default()
        }),
        shift_ms: by_ms,
        ..RescheduleMatchingRequest::default()
    };
    let answer = client.schedules.clone().reschedule_matching(request).await;
    answer.map(drop)
}

/// apache/rocketmq#10872, for events that are there already: a delay that overflows must not end in
/// the past, where it means now.
#[tokio::test]
async fn no_move_overflows_into_an_immediate_delivery() {
    let (_server, client) = serve(&[]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for (id, due_ms) in [("near", wall_ms() + HOUR_MS), ("last", LAST_MS)] {
        assert!(
            client
                .publish(event_at(id, "t", due_ms))
                .await
                .unwrap()
                .success
        );
    }
    for by_ms in [i64::MIN, i64::MIN + 1, i64::MAX, LAST_MS + 1, -LAST_MS - 1] {
        let refused = shift(&client, by_ms).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{by_ms}");
    }
    for (schedule_ts, deliver_after_ms) in [(i64::MAX, 0), (i64::MIN, 0), (0, i64::MAX)] {
        let request = RescheduleRequest {
            event: Some(named("near".into())),
            schedule_ts,
            deliver_after_ms,
            ..RescheduleRequest::default()
        };
        let answer = client.schedules.clone().reschedule(request).await;
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    }
    assert!(deliveries.within(super::SILENCE).await.is_none());
    // Not a refusal of everything: this one is meant.
    shift(&client, -2 * HOUR_MS).await.unwrap();
    assert_eq!(event_of(&deliveries.next().await).message_id, "near");
}
