//! The first bugs of a new scheduler: nats-server, pull requests that mended them.

use super::{HOUR_MS, SILENCE, killed, wait_until};
use crate::serve;
use chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient;
use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    CancelBatchRequest, DeadLetterFilter, DeleteTopicRequest, Event, EventRef, GetScheduledRequest,
    ListDeadLettersRequest, ListPendingRequest, PendingFilter, RescheduleMatchingRequest,
    RescheduleRequest, ScheduledEvent, SubscribeRequest,
};
use chronos_tests::client::{Client, event, event_at, event_of, ids, settlement, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn of_topic(topic: &str) -> Option<PendingFilter> {
    Some(PendingFilter {
        topic: topic.into(),
        ..PendingFilter::default()
    })
}

fn named(topic: &str, id: &str) -> Option<EventRef> {
    Some(EventRef {
        topic: topic.into(),
        message_id: id.into(),
        ..EventRef::default()
    })
}

async fn pending(client: &Client, topic: &str) -> Vec<ScheduledEvent> {
    let request = ListPendingRequest {
        filter: of_topic(topic),
        page_size: 1_000,
        ..ListPendingRequest::default()
    };
    let page = client.schedules.clone().list_pending(request).await;
    page.unwrap().into_inner().events
}

/// PR 7687: what fell due while the server was down fired twice when it came back.
#[tokio::test]
async fn what_fell_due_while_down_fires_once_however_often_the_node_is_down() {
    let (mut server, mut client) = serve(&["-retry-backoff=20ms"]).await;
    drop(client.subscribe(subscription("g", "m", "t")).await.unwrap());
    let due_ms = wall_ms() + 500;
    let batch = (0..50).map(|n| event_at(&format!("a{n}"), "t", due_ms));
    assert!(client.publish_batch(batch.collect()).await.unwrap().success);
    server.kill().await.unwrap();
    wait_until(due_ms + 100).await;
    server.restart().await.unwrap();
    // Down once more, before anybody got anything.
    client = killed(&mut server).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let came = deliveries.take(50).await;
    assert!(came.iter().all(|delivery| delivery.attempt == 1));
    let mut acks = client.acks().await.unwrap();
    for delivery in &came {
        assert!(acks.settle(delivery, true).await.success);
    }
    assert!(deliveries.within(SILENCE).await.is_none());
    client = killed(&mut server).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(deliveries.within(SILENCE).await.is_none());
}

/// PR 8308: times were written in whole seconds, so that intervals drifted.
#[tokio::test]
async fn times_keep_their_milliseconds_wherever_they_go() {
    const STEPS: i64 = 20;
    let (mut server, mut client) = serve(&[]).await;
    let from_ms = (wall_ms() + HOUR_MS) / 1_000 * 1_000 + 7;
    client.publish(event_at("a", "t", from_ms)).await.unwrap();
    for step in 0..STEPS {
        let request = RescheduleMatchingRequest {
            filter: of_topic("t"),
            shift_ms: 1_501,
            ..RescheduleMatchingRequest::default()
        };
        let moved = client.schedules.clone().reschedule_matching(request).await;
        assert_eq!(moved.unwrap().into_inner().changed, 1);
        if step % 7 == 3 {
            client = killed(&mut server).await;
        }
    }
    let expected_ms = from_ms + STEPS * 1_501;
    assert_eq!(pending(&client, "t").await[0].schedule_ts, expected_ms);
    let request = GetScheduledRequest {
        event: named("t", "a"),
        with_payload: false,
    };
    let found = client.schedules.clone().get(request).await.unwrap();
    let found = found.into_inner().event.unwrap();
    assert_eq!(found.schedule_ts, expected_ms);
    assert_eq!(found.published_schedule_ts, from_ms);
    let stored = client.replay(Default::default()).await.unwrap();
    assert_eq!(stored[0].event.as_ref().unwrap().schedule_ts, expected_ms);

    let soon_ms = (wall_ms() + 1_500) / 1_000 * 1_000 + 333;
    let request = RescheduleRequest {
        event: named("t", "a"),
        schedule_ts: soon_ms,
        ..RescheduleRequest::default()
    };
    client.schedules.clone().reschedule(request).await.unwrap();
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let delivery = deliveries.next().await;
    assert!(wall_ms() >= soon_ms);
    assert_eq!(event_of(&delivery).schedule_ts, soon_ms);
}

/// Flips a bit of the last copy of `text` in the files below a folder.
fn damage(folder: &Path, text: &[u8]) {
    let mut folders = vec![folder.to_path_buf()];
    let mut found: Option<(PathBuf, usize, Vec<u8>)> = None;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            let at = bytes.windows(text.len()).rposition(|part| part == text);
            if let Some(at) = at {
                found = Some((path, at, bytes));
            }
        }
    }
    let (path, at, bytes) = found.expect("the text is in a file");
    let mut file = fs::File::options().write(true).open(path).unwrap();
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[bytes[at] ^ 1]).unwrap();
}

/// PR 8052: a schedule whose message could not be read when it was due was removed silently.
#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_dead_letter_and_not_silently_gone() {
    let (mut server, client) = serve(&["-retry-backoff=20ms", "-max-retries=2"]).await;
    let batch = ["a", "b", "c"].map(|id| event(id, "t")).to_vec();
    assert!(client.publish_batch(batch).await.unwrap().success);
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    // While the server runs: at a start it would refuse the log.
    damage(server.data_dir(), b"payload of b");
    let client = Client::new(server.channel().unwrap());
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let acks = client.acks().await.unwrap();
    let came = deliveries.take(2).await;
    assert_eq!(ids(&came), ["a", "c"]);
    for delivery in &came {
        acks.send(settlement(delivery, true));
    }
    let letters = DeadLetterServiceClient::new(server.channel().unwrap());
    let letter = eventually("it is a dead letter", || async {
        let request = ListDeadLettersRequest {
            filter: Some(DeadLetterFilter {
                consumer_group: "g".into(),
                ..DeadLetterFilter::default()
            }),
            ..ListDeadLettersRequest::default()
        };
        let listed = letters.clone().list_dead_letters(request).await.ok()?;
        listed.into_inner().letters.pop()
    })
    .await;
    assert_eq!((letter.offset, letter.attempts), (1, 2));
    assert!(letter.last_error.contains("damaged"), "{letter:?}");
    assert!(deliveries.within(SILENCE).await.is_none());
}

/// PR 8055: what was in flight of a schedule that was removed was counted as in flight for ever.
#[tokio::test]
async fn credit_comes_back_when_a_topic_is_deleted_under_its_deliveries() {
    let (server, client) = serve(&[]).await;
    let request = SubscribeRequest {
        max_buffer_size: 5,
        ..subscription("g", "m", "t")
    };
    let mut deliveries = client.subscribe(request).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    let mut held = Vec::new();
    for round in 0..3 {
        let batch = (0..10).map(|n| event(&format!("{round}-{n}"), "t"));
        assert!(client.publish_batch(batch.collect()).await.unwrap().success);
        held = deliveries.take(5).await;
        assert!(
            held.iter()
                .all(|it| event_of(it).message_id.starts_with(&round.to_string()))
        );
        assert!(deliveries.within(SILENCE).await.is_none(), "no credit");
        if round < 2 {
            let mut topics = TopicServiceClient::new(server.channel().unwrap());
            let delete = DeleteTopicRequest {
                name: "t".into(),
                force: true,
            };
            topics.delete_topic(delete).await.unwrap();
            // Answers to what went with the topic change nothing.
            for delivery in &held {
                acks.settle(delivery, true).await;
            }
        }
    }
    let in_use = server.metric("chronos_delivery_credits_in_use").await;
    assert_eq!(in_use.unwrap().round() as i64, 5);
    for delivery in &held {
        assert!(acks.settle(delivery, true).await.success);
    }
    assert_eq!(deliveries.take(5).await.len(), 5);
}

/// PR 8066: a message that took its content from a delivered one inherited a header of the scheduler,
/// and its schedule was stuck.
#[tokio::test]
async fn an_event_published_again_as_it_was_received_fires_on_its_own() {
    let (mut server, mut client) = serve(&["-retry-backoff=20ms"]).await;
    let mut first = event("a0", "t");
    first.meta.insert("partition_key".into(), "k".into());
    first.meta.insert("schedule_ts".into(), "1".into());
    assert!(client.publish(first).await.unwrap().success);
    for round in 1..4 {
        let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
        let mut acks = client.acks().await.unwrap();
        let mut delivery = deliveries.next().await;
        // A retry and a restart leave marks of their own.
        assert!(acks.settle(&delivery, false).await.success);
        delivery = deliveries.next().await;
        let received: Event = event_of(&delivery).clone();
        assert_eq!(received.message_id, format!("a{}", round - 1));
        assert!(received.checksum != 0 && received.created_ts != 0);
        let again = Event {
            message_id: format!("a{round}"),
            schedule_ts: wall_ms() + 200,
            ..received.clone()
        };
        let answer = client.publish(again).await.unwrap();
        assert!(
            answer.success && answer.offset == i64::from(round),
            "{answer:?}"
        );
        assert!(acks.settle(&delivery, true).await.success);
        drop((deliveries, acks));
        client = killed(&mut server).await;
    }
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let last = deliveries.next().await;
    let last = event_of(&last);
    assert_eq!((last.message_id.as_str(), last.offset), ("a3", 3));
    assert_eq!(last.payload, "payload of a0");
    assert_eq!(last.meta["schedule_ts"], "1");
}

/// PR 8085: after a recovery a key could point into memory that had been used for something else.
#[tokio::test(flavor = "multi_thread")]
async fn ids_and_keys_are_what_they_were_after_a_recovery_and_much_other_work() {
    const EVENTS: usize = 300;
    let (mut server, client) = serve(&["-near-window-ms=1000", "-segment-size=65536"]).await;
    let id = |n: usize| format!("{n}-{}", "é☂x".repeat(n % 20));
    let key = |n: usize| format!("key {} {}", n % 17, "k".repeat(n % 50));
    let due_ms = wall_ms() + HOUR_MS;
    let mut expected = BTreeMap::new();
    for n in 0..EVENTS {
        let mut event = event_at(&id(n), "t", due_ms + n as i64);
        event.meta.insert("partition_key".into(), key(n));
        assert!(client.publish(event).await.unwrap().success);
        expected.insert(id(n), (key(n), due_ms + n as i64));
    }
    let client = killed(&mut server).await;
    for round in 0..20 {
        let other = |n: usize| {
            let id = format!("other-{round}-{n}-{}", "y".repeat((n * 7) % 100));
            event_at(&id, "other", wall_ms() + (n as i64 % 3) * HOUR_MS)
        };
        let batch = (0..500).map(other).collect();
        assert!(client.publish_batch(batch).await.unwrap().success);
    }
    let listed = pending(&client, "t").await;
    let listed: BTreeMap<_, _> = (listed.into_iter())
        .map(|event| {
            let key = event.meta["partition_key"].clone();
            (event.message_id, (key, event.schedule_ts))
        })
        .collect();
    assert_eq!(listed, expected);
    let request = CancelBatchRequest {
        events: (0..EVENTS).filter_map(|n| named("t", &id(n))).collect(),
    };
    let cancelled = client.schedules.clone().cancel_batch(request).await;
    assert_eq!(cancelled.unwrap().into_inner().cancelled, EVENTS as i64);
}
