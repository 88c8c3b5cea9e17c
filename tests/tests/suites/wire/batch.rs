//! PublishBatch.

use std::collections::BTreeSet;

use bytes::Bytes;
use chronos_proto::cronos_db::{Event, PublishBatchResponse, ReplayRequest};
use chronos_tests::client::{Client, event, event_at};

use crate::serve;

fn events(name: &str, count: usize) -> Vec<Event> {
    (0..count)
        .map(|number| event(&format!("{name}{number}"), "t"))
        .collect()
}

fn counts(answer: &PublishBatchResponse) -> (bool, i32, i32, i32) {
    (
        answer.success,
        answer.published_count,
        answer.duplicate_count,
        answer.error_count,
    )
}

async fn stored_ids(client: &Client, partition: i32) -> Vec<String> {
    let request = ReplayRequest {
        partition_id: partition,
        count: 1_000_000,
        ..ReplayRequest::default()
    };
    let events = client.replay(request).await.unwrap();
    events
        .into_iter()
        .filter_map(|it| it.event)
        .map(|event| event.message_id)
        .collect()
}

#[tokio::test]
async fn an_empty_batch_succeeds_and_does_nothing() {
    let (_server, client) = serve(&[]).await;
    let answer = client.publish_batch(Vec::new()).await.unwrap();
    assert_eq!(
        answer,
        PublishBatchResponse {
            success: true,
            ..Default::default()
        }
    );
}

#[tokio::test]
async fn offsets_are_contiguous_in_the_order_of_the_request() {
    let (_server, client) = serve(&[]).await;
    let mut expected = Vec::new();
    for (round, count) in [1, 100, 4_000].into_iter().enumerate() {
        let batch = events(&format!("{round}-"), count);
        let answer = client.publish_batch(batch.clone()).await.unwrap();
        assert_eq!(counts(&answer), (true, count as i32, 0, 0), "{answer:?}");
        assert_eq!(answer.first_offset, expected.len() as i64);
        expected.extend(batch.into_iter().map(|event| event.message_id));
        assert_eq!(answer.last_offset, expected.len() as i64 - 1);
    }
    assert_eq!(stored_ids(&client, 0).await, expected);
}

#[tokio::test]
async fn each_event_is_judged_alone() {
    let (_server, client) = serve(&[]).await;
    let mut batch = events("a", 5);
    batch[1].payload = Bytes::new();
    batch[3].message_id.clear();
    let answer = client.publish_batch(batch).await.unwrap();
    assert_eq!(counts(&answer), (false, 3, 0, 2));
    assert_eq!(
        answer.error, "payload is required",
        "the first error's words"
    );
    assert_eq!((answer.first_offset, answer.last_offset), (0, 2));
    assert_eq!(stored_ids(&client, 0).await, ["a0", "a2", "a4"]);
}

#[tokio::test]
async fn duplicates_are_counted_and_do_not_clear_success() {
    let (_server, client) = serve(&[]).await;
    assert!(client.publish(event("a1", "t")).await.unwrap().success);
    let mut batch = events("a", 4);
    batch.push(event("a3", "t"));
    let answer = client.publish_batch(batch).await.unwrap();
    assert_eq!(
        counts(&answer),
        (true, 3, 2, 0),
        "one known before, one twice in the batch"
    );
    assert_eq!(stored_ids(&client, 0).await, ["a1", "a0", "a2", "a3"]);

    let answer = client.publish_batch(events("a", 4)).await.unwrap();
    assert_eq!(counts(&answer), (true, 0, 4, 0));
    assert_eq!((answer.first_offset, answer.last_offset), (-1, -1));
}

#[tokio::test]
async fn a_batch_of_refusals_writes_nothing() {
    let (_server, client) = serve(&[]).await;
    let batch = (0..3)
        .map(|number| event_at(&format!("a{number}"), "t", 0))
        .collect();
    let answer = client.publish_batch(batch).await.unwrap();
    assert_eq!(counts(&answer), (false, 0, 0, 3));
    assert_eq!(answer.error, "schedule_ts is required");
    assert_eq!((answer.first_offset, answer.last_offset), (-1, -1));
    assert!(stored_ids(&client, 0).await.is_empty());
}

#[tokio::test]
async fn a_batch_may_span_partitions() {
    let (_server, client) = serve(&["-partition-count=4"]).await;
    let batch = events("spread-", 200);
    let answer = client.publish_batch(batch.clone()).await.unwrap();
    assert_eq!(counts(&answer), (true, 200, 0, 0));
    assert_eq!(answer.first_offset, 0);
    let mut stored = BTreeSet::new();
    let mut longest = 0;
    for partition in 0..4 {
        let ids = stored_ids(&client, partition).await;
        assert!(!ids.is_empty(), "200 ids reach every partition");
        longest = longest.max(ids.len() as i64);
        stored.extend(ids);
    }
    assert_eq!(answer.last_offset, longest - 1);
    assert_eq!(
        stored,
        batch.into_iter().map(|event| event.message_id).collect()
    );
}

#[tokio::test]
async fn a_message_of_nearly_16_mebibytes_is_accepted() {
    let (_server, client) = serve(&[]).await;
    let mut batch = events("large", 15);
    for event in &mut batch {
        event.payload = Bytes::from(vec![7; 1 << 20]);
    }
    let answer = client.publish_batch(batch).await.unwrap();
    assert_eq!(counts(&answer), (true, 15, 0, 0));
}

#[tokio::test]
async fn batches_and_single_events_share_one_register_of_ids() {
    let (_server, client) = serve(&[]).await;
    client.publish_batch(events("a", 2)).await.unwrap();
    assert_eq!(
        client.publish(event("a0", "t")).await.unwrap().error,
        "duplicate message_id"
    );
}
