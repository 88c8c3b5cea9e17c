//! Listing and counting what is pending.

use super::{cancel, of_topic, reschedule};
use crate::serve;
use chronos_proto::cronos_db::{
    CountPendingRequest, ListPendingRequest, PendingByTimeRequest, PendingFilter, ScheduledEvent,
};
use chronos_tests::client::{Client, event_at};
use chronos_tests::history::wall_ms;
use tonic::Code;

const HOUR_MS: i64 = 3_600_000;

async fn list(client: &Client, filter: PendingFilter, page_size: i32) -> Vec<Vec<ScheduledEvent>> {
    pages(client, filter, page_size, false).await
}

async fn pages(
    client: &Client,
    filter: PendingFilter,
    page_size: i32,
    with_payload: bool,
) -> Vec<Vec<ScheduledEvent>> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListPendingRequest {
            filter: Some(filter.clone()),
            page_size,
            page_token,
            with_payload,
        };
        let answer = client
            .schedules
            .clone()
            .list_pending(request)
            .await
            .unwrap();
        let answer = answer.into_inner();
        pages.push(answer.events);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

async fn all(client: &Client, filter: PendingFilter) -> Vec<String> {
    let pages = list(client, filter, 0).await;
    pages
        .into_iter()
        .flatten()
        .map(|event| event.message_id)
        .collect()
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

#[tokio::test]
async fn pages_are_in_due_order_over_all_partitions() {
    let (mut server, client) = serve(&["-partition-count=3"]).await;
    let from_ms = wall_ms() + HOUR_MS;
    for n in 0..40_i64 {
        // Two by two at the same time, published out of order.
        let due_ms = from_ms + (n * 17 % 40) / 2 * 1_000;
        client
            .publish(event_at(&format!("e{n}"), "t", due_ms))
            .await
            .unwrap();
        client
            .publish(event_at(&format!("u{n}"), "u", due_ms))
            .await
            .unwrap();
    }
    cancel(&client, "t", "e5").await;
    reschedule(&client, "t", "e0", from_ms + 90_000).await;
    reschedule(&client, "t", "e1", from_ms - 1).await;
    let check = async |client: &Client| {
        for page_size in [1, 7, 39, 100] {
            let pages = list(client, of_topic("t"), page_size).await;
            let sizes = pages.iter().map(Vec::len);
            assert!(sizes.clone().all(|size| size <= page_size as usize));
            let events: Vec<_> = pages.into_iter().flatten().collect();
            assert_eq!(events.len(), 39);
            assert_eq!(
                (&*events[0].message_id, &*events[38].message_id),
                ("e1", "e0")
            );
            assert_eq!(events[38].version, 2);
            assert!(events.is_sorted_by_key(|event| {
                (event.schedule_ts, event.partition_id, event.offset)
            }));
            assert!(events.iter().all(|event| event.payload.is_empty()));
        }
        assert_eq!(
            (count(client, "t").await, count(client, "u").await),
            (39, 40)
        );
        assert_eq!(count(client, "").await, 79);
    };
    check(&client).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    check(&Client::new(server.channel().unwrap())).await;
}

#[tokio::test]
async fn filters_narrow_by_time_key_and_prefix() {
    let (_server, client) = serve(&["-partition-count=2"]).await;
    let from_ms = wall_ms() + HOUR_MS;
    for n in 0..10_i64 {
        let mut event = event_at(&format!("order-{n}"), "t", from_ms + n);
        let key = if n % 2 == 0 { "even" } else { "odd" };
        event.meta.insert("partition_key".into(), key.into());
        client.publish(event).await.unwrap();
    }
    client
        .publish(event_at("even", "t", from_ms + 20))
        .await
        .unwrap();
    let by_time = PendingFilter {
        from_ts: from_ms + 2,
        to_ts: from_ms + 4,
        ..of_topic("t")
    };
    assert_eq!(all(&client, by_time).await, ["order-2", "order-3"]);
    let by_key = PendingFilter {
        key: "even".into(),
        ..of_topic("t")
    };
    let even = [
        "order-0", "order-2", "order-4", "order-6", "order-8", "even",
    ];
    assert_eq!(all(&client, by_key).await, even);
    let by_prefix = PendingFilter {
        message_id_prefix: "e".into(),
        ..of_topic("t")
    };
    assert_eq!(all(&client, by_prefix).await, ["even"]);
    assert_eq!(all(&client, of_topic("nothing")).await, [""; 0]);
    let request = ListPendingRequest {
        filter: Some(of_topic("t")),
        page_token: "not ours".into(),
        ..ListPendingRequest::default()
    };
    let status = client
        .schedules
        .clone()
        .list_pending(request)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_histogram_counts_each_event_once() {
    let (_server, client) = serve(&["-partition-count=2"]).await;
    let from_ms = wall_ms() + HOUR_MS;
    for n in 0..30_i64 {
        client
            .publish(event_at(&format!("e{n}"), "t", from_ms + n * 100))
            .await
            .unwrap();
    }
    client
        .publish(event_at("far", "t", from_ms + 80 * 365 * 24 * HOUR_MS))
        .await
        .unwrap();
    client
        .publish(event_at("other", "u", from_ms))
        .await
        .unwrap();
    cancel(&client, "t", "e0").await;
    reschedule(&client, "t", "e1", from_ms + 2_950).await;
    let request = PendingByTimeRequest {
        topic: "t".into(),
        from_ts: from_ms + 1_000,
        to_ts: from_ms + 3_000,
        bucket_ms: 500,
    };
    let answer = client
        .schedules
        .clone()
        .pending_by_time(request)
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.counts, [5, 5, 5, 6]);
    assert_eq!((answer.before, answer.after), (8, 1));
    let everything = PendingByTimeRequest {
        from_ts: from_ms,
        to_ts: from_ms + 10_000,
        ..PendingByTimeRequest::default()
    };
    let answer = client
        .schedules
        .clone()
        .pending_by_time(everything)
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.counts.iter().sum::<i64>() + answer.after, 31);
}

/// A page is a message, whatever the events on it are like.
#[tokio::test]
async fn pages_of_large_events_are_short() {
    let (_server, client) = serve(&[]).await;
    for n in 0..5 {
        let mut large = event_at(&format!("e{n}"), "t", wall_ms() + HOUR_MS + n);
        large.payload = vec![7; 4 << 20].into();
        client.publish(large).await.unwrap();
    }
    let pages = pages(&client, of_topic("t"), 100, true).await;
    let ids: Vec<Vec<&str>> = pages
        .iter()
        .map(|page| page.iter().map(|event| event.message_id.as_str()).collect())
        .collect();
    assert_eq!(ids, [vec!["e0", "e1"], vec!["e2", "e3"], vec!["e4"]]);
    assert!(
        pages
            .iter()
            .flatten()
            .all(|event| event.payload.len() == 4 << 20)
    );
}
