//! Publish options: a delay, what to do when it is too late, an end, a priority, headers.

use std::time::Duration;

use chronos_proto::cronos_db::{
    Event, PastPolicy, PublishBatchRequest, PublishRequest, PublishResponse, ReplayRequest,
};
use chronos_tests::client::{Client, event, event_at, event_of, ids, settlement, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::http::get;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

fn after(id: &str, topic: &str, delay_ms: i64) -> Event {
    Event {
        deliver_after_ms: Some(delay_ms),
        ..event_at(id, topic, 0)
    }
}

async fn publish(client: &Client, event: Event, past: PastPolicy) -> PublishResponse {
    let request = PublishRequest {
        event: Some(event),
        past: past as i32,
        ..Default::default()
    };
    let answer = client.events.clone().publish(request).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn a_delay_counts_by_the_server_and_its_time_is_in_the_event_wherever_it_is_read() {
    let (mut server, client) = serve(&[]).await;
    let before_ms = wall_ms();
    let answer = client.publish(after("a", "t", 400)).await.unwrap();
    let after_ms = wall_ms();
    assert!(answer.success, "{answer:?}");
    let due_ms = answer.schedule_ts;
    assert!((before_ms + 400..=after_ms + 400).contains(&due_ms));
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let delivery = subscription.next().await;
    assert!(wall_ms() >= due_ms, "early");
    assert_eq!(event_of(&delivery).schedule_ts, due_ms);
    let replayed = client.replay(ReplayRequest::default()).await.unwrap();
    assert_eq!(replayed[0].event.as_ref().unwrap().schedule_ts, due_ms);
}

#[tokio::test]
async fn a_delay_of_nothing_is_now_and_a_time_beside_it_is_refused() {
    let (_server, client) = serve(&[]).await;
    assert!(client.publish(after("a", "t", 0)).await.unwrap().success);
    let both = Event {
        deliver_after_ms: Some(1),
        ..event("b", "t")
    };
    let answer = client.publish(both).await.unwrap();
    assert!(
        !answer.success && answer.error.contains("only one"),
        "{answer:?}"
    );
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(ids(&subscription.take(1).await), ["a"]);
}

/// apache/rocketmq#10872 and #5376: an overflow made a far-future delay an immediate delivery.
#[tokio::test]
async fn a_far_future_delay_is_never_due_at_once() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for (number, delay_ms) in [1 << 31, 1 << 32, 1 << 40, 200_000_000_000_000]
        .into_iter()
        .enumerate()
    {
        let answer = client
            .publish(after(&format!("far{number}"), "t", delay_ms))
            .await;
        let answer = answer.unwrap();
        assert!(answer.success && answer.schedule_ts > wall_ms() + delay_ms - 60_000);
    }
    for delay_ms in [
        i64::MAX,
        i64::MAX - 1,
        i64::MAX / 2,
        253_402_300_800_000,
        -1,
    ] {
        let answer = client
            .publish(after("refused", "t", delay_ms))
            .await
            .unwrap();
        assert!(
            !answer.success && answer.error.contains("deliver_after_ms"),
            "{answer:?}"
        );
    }
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn an_event_that_is_too_late_is_delivered_refused_or_dropped_as_asked() {
    let (server, client) = serve(&[]).await;
    let late = |id: &str| event_at(id, "t", wall_ms() - 5_000);
    let now = publish(&client, late("now"), PastPolicy::Now).await;
    assert!(now.success);
    let refused = publish(&client, late("refused"), PastPolicy::Reject).await;
    assert!(!refused.success && !refused.dropped);
    assert!(refused.error.contains("has passed"), "{refused:?}");
    let dropped = publish(&client, late("dropped"), PastPolicy::Drop).await;
    assert!(!dropped.success && dropped.dropped, "{dropped:?}");
    for past in [PastPolicy::Reject, PastPolicy::Drop] {
        let later = event_at(&format!("{past:?}"), "t", wall_ms() + 200);
        assert!(publish(&client, later, past).await.success);
    }
    let batch = |past: PastPolicy| PublishBatchRequest {
        events: vec![
            late("x"),
            event_at(&format!("b{past:?}"), "t", wall_ms() + 200),
            late("y"),
        ],
        past: past as i32,
        ..Default::default()
    };
    let mut events = client.events.clone();
    let answer = events
        .publish_batch(batch(PastPolicy::Drop))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.success);
    assert_eq!((answer.published_count, answer.dropped_count), (1, 2));
    let answer = events
        .publish_batch(batch(PastPolicy::Reject))
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.success && answer.error.contains("has passed"));
    assert_eq!((answer.published_count, answer.error_count), (1, 2));

    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut came = ids(&subscription.take(5).await);
    came.sort();
    assert_eq!(came, ["Drop", "Reject", "bDrop", "bReject", "now"]);
    assert!(subscription.within(SILENCE).await.is_none());
    let (_, page) = get(&server.http_address(), "/metrics").await.unwrap();
    for line in [
        "chronos_publish_rejected_events_total{reason=\"dropped\"} 3",
        "chronos_publish_rejected_events_total{reason=\"past\"} 3",
    ] {
        assert!(page.contains(line), "{line}");
    }
}

#[tokio::test]
async fn an_event_is_not_delivered_after_its_end_and_does_not_come_back() {
    let (mut server, client) = serve(&[]).await;
    let due_ms = wall_ms();
    let ending = |id: &str, expires_at| Event {
        expires_at,
        ..event_at(id, "t", due_ms)
    };
    for event in [
        ending("over", due_ms + 1),
        ending("lasting", due_ms + 3_600_000),
        event_at("endless", "t", due_ms),
    ] {
        assert!(client.publish(event).await.unwrap().success);
    }
    let backwards = client.publish(ending("backwards", due_ms)).await.unwrap();
    assert!(
        backwards.error.contains("not after schedule_ts"),
        "{backwards:?}"
    );
    eventually("the end has passed", || async {
        (wall_ms() > due_ms + 1).then_some(())
    })
    .await;
    for group in ["g", "h"] {
        let mut deliveries = client
            .subscribe(subscription(group, "m", "t"))
            .await
            .unwrap();
        assert_eq!(ids(&deliveries.take(2).await), ["lasting", "endless"]);
        assert!(deliveries.within(SILENCE).await.is_none());
    }
    expired(&server, 2).await;
    // What expired is not counted as delivered.
    let delivered = server.metric("chronos_events_delivered_total").await;
    assert_eq!(delivered.unwrap().round() as i64, 4);
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(ids(&deliveries.take(2).await), ["lasting", "endless"]);
    expired(&server, 0).await;
    // It is history, and history is kept.
    let replayed = client.replay(ReplayRequest::default()).await.unwrap();
    assert_eq!(replayed.len(), 3);
}

/// Waits until so many events are counted as expired, once for each group.
async fn expired(server: &Server, count: u32) {
    let line = format!("chronos_events_expired_total{{partition=\"0\"}} {count}");
    eventually("expired events are counted", || async {
        let (_, page) = get(&server.http_address(), "/metrics").await.ok()?;
        page.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_retry_that_comes_after_the_end_is_not_made() {
    let (server, client) = serve(&["-retry-backoff=300ms"]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let now_ms = wall_ms();
    let ending = Event {
        expires_at: now_ms + 290,
        ..event_at("a", "t", now_ms)
    };
    assert!(client.publish(ending).await.unwrap().success);
    let delivery = subscription.next().await;
    let mut acks = client.acks().await.unwrap();
    assert!(acks.settle(&delivery, false).await.success);
    expired(&server, 1).await;
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn higher_priorities_come_first_among_events_of_one_time() {
    let (mut server, client) = serve(&[]).await;
    let due_ms = wall_ms() + 500;
    let batch = (0..100).map(|number| Event {
        priority: number % 10,
        ..event_at(
            &format!("a{number:02}"),
            "t",
            due_ms + i64::from(number / 50),
        )
    });
    assert!(client.publish_batch(batch.collect()).await.unwrap().success);
    // What is known of the topic must survive.
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    eventually("all are due", || async {
        (wall_ms() > due_ms + 1).then_some(())
    })
    .await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let came = deliveries.take(100).await;
    let places: Vec<_> = (came.iter().map(event_of))
        .map(|event| (event.schedule_ts, -event.priority, event.offset))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn headers_come_back_untouched_in_every_delivery_and_replay() {
    let (mut server, client) = serve(&["-retry-backoff=10ms"]).await;
    let mut sent = event("a", "t");
    for (key, value) in [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("empty", ""),
        ("", "no key"),
        ("☂", "\u{1F600}\u{0}\n"),
        ("schedule_ts", "not a field"),
    ] {
        sent.meta.insert(key.into(), value.into());
    }
    assert!(client.publish(sent.clone()).await.unwrap().success);
    let check = |event: &Event| {
        assert_eq!(event.meta, sent.meta);
        assert_eq!(
            (&event.payload, event.schedule_ts),
            (&sent.payload, sent.schedule_ts)
        );
    };
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let first = deliveries.next().await;
    check(event_of(&first));
    let acks = client.acks().await.unwrap();
    acks.send(settlement(&first, false));
    let again = deliveries.next().await;
    assert_eq!(again.attempt, 2);
    check(event_of(&again));
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    check(event_of(&deliveries.next().await));
    let replayed = client.replay(ReplayRequest::default()).await.unwrap();
    check(replayed[0].event.as_ref().unwrap());
}
