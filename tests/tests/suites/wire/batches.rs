//! Batched delivery and key order: what a member gets that asks for them.

use std::collections::BTreeMap;
use std::time::Duration;

use chronos_proto::cronos_db::{AckRequest, Delivery, Event, SubscribeRequest};
use chronos_tests::client::{Client, Subscription, event, event_of, ids, settlement, subscription};

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

fn batched(events: i32) -> SubscribeRequest {
    SubscribeRequest {
        batch_max_events: events,
        ..subscription("g", "m", "t")
    }
}

fn ids_of(delivery: &Delivery) -> Vec<String> {
    let events = delivery.batched.iter().filter_map(|it| it.event.as_ref());
    events.map(|event| event.message_id.clone()).collect()
}

/// Batches until so many events have come.
async fn take(subscription: &mut Subscription, events: usize) -> Vec<Delivery> {
    let (mut batches, mut came) = (Vec::new(), 0);
    while came < events {
        let batch = subscription.next().await;
        assert!(batch.event.is_none() && batch.batch.is_empty() && !batch.batched.is_empty());
        came += batch.batched.len();
        batches.push(batch);
    }
    assert_eq!(came, events);
    batches
}

async fn publish(client: &Client, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("a{number}")).collect();
    let batch = names.iter().map(|id| event(id, "t")).collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    names
}

fn answer(batch: &Delivery) -> AckRequest {
    AckRequest {
        delivery_id: batch.delivery_id.clone(),
        success: true,
        ..AckRequest::default()
    }
}

#[tokio::test]
async fn a_batch_holds_up_to_what_was_asked_for_and_one_answer_settles_it() {
    let (mut server, client) = serve(&[]).await;
    let names = publish(&client, 1_000).await;
    let mut deliveries = client.subscribe(batched(300)).await.unwrap();
    let batches = take(&mut deliveries, 1_000).await;
    assert!(batches.iter().all(|batch| batch.batched.len() <= 300));
    assert!(batches.len() <= 8, "{} batches", batches.len());
    let came: Vec<_> = batches.iter().flat_map(ids_of).collect();
    assert_eq!(came, names, "in order");
    assert!(
        batches
            .iter()
            .flat_map(|it| &it.batched)
            .all(|it| it.attempt == 1)
    );
    let mut acks = client.acks().await.unwrap();
    for batch in &batches {
        assert!(acks.send(answer(batch)));
    }
    for _ in &batches {
        assert!(acks.answer().await.success);
    }
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(deliveries.within(SILENCE).await.is_none(), "all is settled");
}

#[tokio::test]
async fn bytes_bound_a_batch_and_one_large_event_comes_alone() {
    let (_server, client) = serve(&[]).await;
    let sized = |id: &str, bytes: usize| Event {
        payload: vec![7; bytes].into(),
        ..event(id, "t")
    };
    let batch = vec![
        sized("a", 3_000),
        sized("b", 3_000),
        sized("c", 50_000),
        sized("d", 3_000),
    ];
    assert!(client.publish_batch(batch).await.unwrap().success);
    let request = SubscribeRequest {
        batch_max_bytes: 10_000,
        ..subscription("g", "m", "t")
    };
    let mut deliveries = client.subscribe(request).await.unwrap();
    let came: Vec<_> = take(&mut deliveries, 4).await.iter().map(ids_of).collect();
    assert_eq!(came, [vec!["a", "b"], vec!["c"], vec!["d"]]);
}

#[tokio::test]
async fn what_failed_of_a_batch_comes_back_by_itself() {
    let (_server, client) = serve(&["-retry-backoff=10ms"]).await;
    publish(&client, 5).await;
    let mut deliveries = client.subscribe(batched(10)).await.unwrap();
    let batches = take(&mut deliveries, 5).await;
    assert_eq!(batches.len(), 1, "they were all there");
    let mut acks = client.acks().await.unwrap();
    // Nothing is said of the third and the last.
    acks.send(AckRequest {
        failed: vec![1],
        only: vec![0, 3],
        error: "refused by a test".into(),
        ..answer(&batches[0])
    });
    assert!(acks.answer().await.success);
    let again = take(&mut deliveries, 1).await;
    assert_eq!(
        (ids_of(&again[0]), again[0].batched[0].attempt),
        (vec!["a1".to_string()], 2)
    );
    for positions in [vec![5], vec![u32::MAX]] {
        acks.send(AckRequest {
            failed: positions,
            ..answer(&batches[0])
        });
        let refused = acks.answer().await;
        assert!(
            !refused.success && refused.error.contains("position"),
            "{refused:?}"
        );
    }
    acks.send(answer(&again[0]));
    assert!(acks.answer().await.success);
    // The member goes: what it did not answer goes to the next one, one by one.
    drop(deliveries);
    let mut plain = client.subscribe(subscription("g", "n", "t")).await.unwrap();
    let rest = plain.take(2).await;
    assert_eq!(ids(&rest), ["a2", "a4"]);
    assert!(
        rest.iter()
            .all(|it| it.batched.is_empty() && it.attempt == 2)
    );
}

#[tokio::test]
async fn a_batch_answered_after_a_restart_is_settled() {
    let (mut server, client) = serve(&[]).await;
    publish(&client, 50).await;
    let mut deliveries = client.subscribe(batched(50)).await.unwrap();
    let batches = take(&mut deliveries, 50).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut acks = client.acks().await.unwrap();
    for batch in &batches {
        acks.send(answer(batch));
        assert!(acks.answer().await.success);
    }
    let mut deliveries = client.subscribe(batched(50)).await.unwrap();
    assert!(deliveries.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn credit_counts_events_and_not_batches() {
    let (_server, client) = serve(&[]).await;
    publish(&client, 30).await;
    let request = SubscribeRequest {
        max_buffer_size: 20,
        ..batched(8)
    };
    let mut deliveries = client.subscribe(request).await.unwrap();
    let batches = take(&mut deliveries, 20).await;
    assert!(deliveries.within(SILENCE).await.is_none(), "no credit");
    let mut acks = client.acks().await.unwrap();
    acks.send(answer(&batches[0]));
    assert!(acks.answer().await.success);
    take(&mut deliveries, batches[0].batched.len()).await;
}

#[tokio::test]
async fn ids_of_batches_that_are_none_are_refused() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    for id in [
        "b:",
        "b:0:0:1:",
        "b:0:0:1:1.1.20000.1",
        "b:99:0:1:1.1.1.1",
        "b:0:0:1:x",
    ] {
        acks.send(AckRequest {
            delivery_id: id.into(),
            success: true,
            ..AckRequest::default()
        });
        let answer = acks.answer().await;
        assert!(
            !answer.success && answer.error.contains("delivery_id"),
            "{id}: {answer:?}"
        );
    }
    // A well-formed id of what never was is answered, and settles nothing.
    acks.send(AckRequest {
        delivery_id: "b:0:7:1:1.1.10000.1".into(),
        success: true,
        ..AckRequest::default()
    });
    assert!(acks.answer().await.success);
    let mut request = batched(1);
    request.batch_max_events = -1;
    let mut refused = client.subscribe(request).await.unwrap();
    assert!(matches!(
        refused.within(Duration::from_secs(10)).await,
        Some(Err(_))
    ));
}

fn keyed(id: &str, key: &str) -> Event {
    let mut event = event(id, "t");
    event.meta.insert("partition_key".into(), key.into());
    event
}

/// apache/pulsar#8703: a delayed message of one key blocked the consumers of all keys.
#[tokio::test]
async fn a_key_that_fails_blocks_no_other_key() {
    let (_server, client) = serve(&["-retry-backoff=400ms"]).await;
    let request = SubscribeRequest {
        key_order: true,
        ..subscription("g", "m", "t")
    };
    let mut deliveries = client.subscribe(request).await.unwrap();
    let events = [
        ("a1", "a"),
        ("a2", "a"),
        ("b1", "b"),
        ("b2", "b"),
        ("c1", "c"),
    ];
    let batch = events.iter().map(|(id, key)| keyed(id, key)).collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let first = deliveries.take(3).await;
    assert_eq!(ids(&first), ["a1", "b1", "c1"], "one of each key");
    let mut acks = client.acks().await.unwrap();
    assert!(acks.settle(&first[0], false).await.success);
    assert!(acks.settle(&first[1], true).await.success);
    let next = deliveries.next().await;
    assert_eq!(event_of(&next).message_id, "b2", "b goes on while a waits");
    let retry = deliveries.next().await;
    assert_eq!(
        (event_of(&retry).message_id.as_str(), retry.attempt),
        ("a1", 2)
    );
    acks.send(settlement(&retry, true));
    assert_eq!(event_of(&deliveries.next().await).message_id, "a2");
}

#[tokio::test]
async fn keys_stay_in_order_over_members_that_come_and_go() {
    let (_server, client) = serve(&[]).await;
    let keys = ["a", "b", "c", "d"];
    let batch = (0..200)
        .map(|number| keyed(&format!("{number:03}"), keys[number % 4]))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let mut acks = client.acks().await.unwrap();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut done = 0;
    while done < 200 {
        let request = SubscribeRequest {
            key_order: true,
            subscription_id: format!("m{done}"),
            ..batched(if done % 20 == 0 { 8 } else { 0 })
        };
        let mut deliveries = client.subscribe(request).await.unwrap();
        // Four lanes, and each of them moves by one answer at a time.
        for _ in 0..5 {
            if done == 200 {
                break;
            }
            let delivery = deliveries.next().await;
            let single = delivery.event.iter();
            let events = single.chain(delivery.batched.iter().filter_map(|it| it.event.as_ref()));
            for event in events {
                let key = event.meta["partition_key"].clone();
                let before = last.insert(key, event.message_id.clone());
                assert!(
                    before < Some(event.message_id.clone()),
                    "{before:?} before {event:?}"
                );
                done += 1;
            }
            acks.send(answer(&delivery));
            assert!(acks.answer().await.success);
        }
    }
}
