//! Ack: one answer per request, in order, and no more settled than was said.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::AckRequest;
use chronos_tests::client::{Client, event, event_of, ids, settlement, subscription};

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn each_request_gets_one_answer_in_order() {
    let (_server, client) = serve(&[]).await;
    // The stream of acks is opened before anything is delivered.
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let batch = (0..300)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let deliveries = subscription.take(300).await;
    let mut expected = Vec::new();
    for (number, delivery) in deliveries.iter().rev().enumerate() {
        // A request that must be refused keeps its place in the order.
        let request = match number % 10 {
            7 => AckRequest::default(),
            _ => settlement(delivery, number % 10 != 3),
        };
        expected.push((!request.delivery_id.is_empty(), request.next_offset));
        assert!(acks.send(request));
    }
    for (success, next_offset) in expected {
        let answer = acks.answer().await;
        assert_eq!(answer.success, success, "{answer:?}");
        assert_eq!(
            answer.committed_offset,
            if success { next_offset } else { 0 }
        );
    }
}

#[tokio::test]
async fn an_empty_delivery_id_is_refused_in_these_words() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    acks.send(AckRequest {
        success: true,
        ..AckRequest::default()
    });
    let answer = acks.answer().await;
    assert_eq!(
        (answer.success, answer.error.as_str()),
        (false, "delivery_id is required")
    );
}

#[tokio::test]
async fn an_unreadable_delivery_id_is_refused_and_the_stream_goes_on() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let long = "x".repeat(100_000);
    for delivery_id in ["x", "a:b", ":::", "☂", "g:0:m-notanumber", &long] {
        acks.send(AckRequest {
            delivery_id: delivery_id.to_string(),
            success: true,
            ..AckRequest::default()
        });
        let answer = acks.answer().await;
        assert!(!answer.success, "{delivery_id:.20}: {answer:?}");
        assert!(!answer.error.is_empty());
    }
}

#[tokio::test]
async fn a_repeated_ack_is_answered_like_the_first() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = subscription.next().await;
    for _ in 0..3 {
        let answer = acks.settle(&delivery, true).await;
        assert!(answer.success, "{answer:?}");
        assert_eq!(answer.committed_offset, 1);
    }
    // A nack that comes after the ack changes nothing any more.
    assert!(acks.settle(&delivery, false).await.success);
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn next_offset_settles_nothing_below_it() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let mut first = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let batch = (0..6)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let deliveries = first.take(6).await;
    for number in [5, 2] {
        assert!(acks.settle(&deliveries[number], true).await.success);
    }
    drop(first);
    let left = unsettled(&client, "g", 4).await;
    assert_eq!(left, ["a0", "a1", "a3", "a4"].map(String::from).into());
}

#[tokio::test]
async fn acks_may_come_over_another_connection() {
    let (server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = subscription.next().await;
    let other = Client::new(server.channel().unwrap());
    assert!(
        other
            .acks()
            .await
            .unwrap()
            .settle(&delivery, true)
            .await
            .success
    );
    drop(subscription);
    assert_eq!(unsettled(&client, "g", 0).await, BTreeSet::new());
}

#[tokio::test]
async fn an_ack_does_not_need_its_subscription() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = subscription.next().await;
    drop(subscription);
    // Late by now: answered well, whatever becomes of it.
    assert!(acks.settle(&delivery, true).await.success);
}

/// What a new member of the group receives; exactly `count` events are expected.
async fn unsettled(client: &Client, group: &str, count: usize) -> BTreeSet<String> {
    let mut subscription = client
        .subscribe(subscription(group, "next", "t"))
        .await
        .unwrap();
    let deliveries = subscription.take(count).await;
    if let Some(extra) = subscription.within(SILENCE).await {
        panic!(
            "more than {count}: {:?}",
            extra.map(|it| event_of(&it).message_id.clone())
        );
    }
    ids(&deliveries).into_iter().collect()
}
