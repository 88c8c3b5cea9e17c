//! Delayed messages that came early, in the wrong order, never, or held up others.

use super::{HOUR_MS, killed};
use crate::serve;
use chronos_proto::cronos_db::{Event, SubscribeRequest};
use chronos_tests::client::{event_at, event_of, ids, settlement, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::{eventually, soon};
use std::collections::BTreeSet;
use std::time::Duration;

/// apache/pulsar#14721 and PR 10168: of messages sent one after the other for the same time, the one
/// that was sent when the time had nearly come was delivered first, and all of them a tick early.
#[tokio::test]
async fn events_published_up_to_and_past_their_common_time_come_in_order_and_not_early() {
    let (_server, client) = serve(&[]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let due_ms = wall_ms() + 600;
    let publisher = tokio::spawn({
        let client = client.clone();
        async move {
            let mut sent = Vec::new();
            while wall_ms() < due_ms + 300 {
                let id = format!("{:04}", sent.len());
                let answer = client.publish(event_at(&id, "t", due_ms)).await.unwrap();
                assert!(answer.success, "{answer:?}");
                sent.push(id);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            sent
        }
    });
    let first = deliveries.next().await;
    assert!(wall_ms() >= due_ms, "early by {}", due_ms - wall_ms());
    let sent = publisher.await.unwrap();
    let mut came = ids(&[first]);
    came.extend(ids(&deliveries.take(sent.len() - 1).await));
    assert_eq!(came, sent);
}

/// apache/pulsar#8703: messages that were not due filled the queues of consumers that share keys, and
/// those that were due did not come.
#[tokio::test]
async fn events_that_are_not_due_take_no_credit_and_block_no_key() {
    let (_server, client) = serve(&[]).await;
    let keyed = |n: usize, due_ms| {
        let mut event: Event = event_at(&format!("{due_ms}-{n}"), "t", due_ms);
        event
            .meta
            .insert("partition_key".into(), format!("key {}", n % 8));
        event
    };
    let now_ms = wall_ms();
    for due_ms in [now_ms + HOUR_MS, now_ms] {
        let batch = (0..40).map(|n| keyed(n, due_ms)).collect();
        assert!(client.publish_batch(batch).await.unwrap().success);
    }
    let member = |name| SubscribeRequest {
        key_order: true,
        max_buffer_size: 10,
        ..subscription("g", name, "t")
    };
    let mut first = client.subscribe(member("first")).await.unwrap();
    let mut second = client.subscribe(member("second")).await.unwrap();
    let acks = client.acks().await.unwrap();
    let mut came = BTreeSet::new();
    while came.len() < 40 {
        let next = async {
            tokio::select! {
                delivery = first.next() => delivery,
                delivery = second.next() => delivery,
            }
        };
        let delivery = soon("an event that is due comes", next).await;
        let event = event_of(&delivery);
        assert_eq!(event.schedule_ts, now_ms);
        assert!(came.insert(event.message_id.clone()), "{event:?}");
        acks.send(settlement(&delivery, true));
    }
}

/// apache/pulsar#15146 and #16763: what is delayed is held in memory, so memory bounds how much can be.
#[tokio::test]
async fn memory_holds_the_near_future_only_whatever_is_pending() {
    const FAR: usize = 20_000;
    const NEAR: usize = 100;
    let (mut server, mut client) = serve(&[]).await;
    let day_ms = wall_ms() + 24 * HOUR_MS;
    for begin in (0..FAR).step_by(1_000) {
        let batch = (begin..begin + 1_000).map(|n| {
            let due_ms = day_ms + n as i64 * 60_000;
            event_at(&format!("far-{n}"), "t", due_ms)
        });
        assert!(client.publish_batch(batch.collect()).await.unwrap().success);
    }
    let soon_ms = wall_ms() + 30_000;
    let near = (0..NEAR).map(|n| event_at(&format!("near-{n}"), "t", soon_ms));
    assert!(client.publish_batch(near.collect()).await.unwrap().success);
    for _ in 0..2 {
        eventually("the counts are told", || async {
            let pending = server.metric("chronos_events_pending").await.ok()?;
            let in_memory = server.metric("chronos_wheel_entries").await.ok()?;
            let counts = (pending.round() as usize, in_memory.round() as usize);
            (counts == (FAR + NEAR, NEAR)).then_some(())
        })
        .await;
        client = killed(&mut server).await;
    }
    drop(client);
}
