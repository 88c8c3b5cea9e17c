//! Subscribe: what comes, to whom, and what does not.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::{GetConsumerGroupRequest, SubscribeRequest};
use chronos_tests::client::{event, event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::{eventually, soon};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::serve;

/// Long enough for a delivery to show up that should not.
const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn the_server_says_nothing_first() {
    let (_server, client) = serve(&[]).await;
    let mut quiet = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(quiet.within(SILENCE).await.is_none());
    // A client that goes at once takes nothing with it.
    drop(
        client
            .subscribe(subscription("g", "m2", "t"))
            .await
            .unwrap(),
    );
    drop(quiet);
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let mut later = client
        .subscribe(subscription("g", "m3", "t"))
        .await
        .unwrap();
    assert_eq!(event_of(&later.next().await).message_id, "a");
}

#[tokio::test]
async fn a_stream_closed_before_its_first_message_ends() {
    let (_server, client) = serve(&[]).await;
    let answer = client.events.clone().subscribe(tokio_stream::empty()).await;
    let end = match answer {
        Ok(stream) => soon("the stream ends", stream.into_inner().next()).await,
        Err(status) => Some(Err(status)),
    };
    match end {
        None => {}
        Some(Ok(delivery)) => panic!("{delivery:?}"),
        Some(Err(status)) => assert_ne!(status.code(), Code::Unimplemented, "{status}"),
    }
}

#[tokio::test]
async fn a_request_side_closed_after_the_first_message_keeps_the_stream() {
    let (_server, client) = serve(&[]).await;
    let subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut deliveries = subscription.half_close();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = soon("an event is delivered", deliveries.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event_of(&delivery).message_id, "a");
}

#[tokio::test]
async fn every_delivery_holds_one_event_and_no_batch() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let due_ms = wall_ms() + 700;
    let batch = (0..500)
        .map(|number| event_at(&format!("a{number}"), "t", due_ms))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    for number in 0..500 {
        let delivery = subscription.next().await;
        assert!(wall_ms() >= due_ms, "early");
        assert!(delivery.batch.is_empty());
        assert_eq!(
            event_of(&delivery).message_id,
            format!("a{number}"),
            "in order"
        );
        assert_eq!(delivery.attempt, 1);
        assert_eq!(delivery.ack_timeout_ms, 30_000);
        assert!(!delivery.delivery_id.is_empty());
    }
}

#[tokio::test]
async fn only_the_topic_asked_for_is_delivered() {
    let (_server, client) = serve(&[]).await;
    let mut one = client
        .subscribe(subscription("one", "m", "a"))
        .await
        .unwrap();
    let mut all = client
        .subscribe(subscription("all", "m", ""))
        .await
        .unwrap();
    for (id, topic) in [("1", "a"), ("2", "ab"), ("3", "A"), ("4", ""), ("5", "a ")] {
        assert!(client.publish(event(id, topic)).await.unwrap().success);
    }
    assert!(client.publish(event("6", "a")).await.unwrap().success);
    assert_eq!(ids(&one.take(2).await), ["1", "6"]);
    assert_eq!(ids(&all.take(6).await), ["1", "2", "3", "4", "5", "6"]);
    assert!(one.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn partition_minus_one_means_all_partitions() {
    let (_server, client) = serve(&["-partition-count=4"]).await;
    let mut all = client
        .subscribe(subscription("all", "m", "t"))
        .await
        .unwrap();
    let mut first = client
        .subscribe(SubscribeRequest {
            partition_id: 2,
            ..subscription("one", "m", "t")
        })
        .await
        .unwrap();
    let mut expected = BTreeSet::new();
    let mut expected_of_two = BTreeSet::new();
    for number in 0..100 {
        let id = format!("spread-{number}");
        let answer = client.publish(event(&id, "t")).await.unwrap();
        if answer.partition_id == 2 {
            expected_of_two.insert(id.clone());
        }
        expected.insert(id);
    }
    let all = all.take(100).await;
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), expected);
    let partitions: BTreeSet<i32> = all.iter().map(|it| event_of(it).partition_id).collect();
    assert_eq!(partitions, (0..4).collect());
    let of_two = first.take(expected_of_two.len()).await;
    assert_eq!(
        ids(&of_two).into_iter().collect::<BTreeSet<_>>(),
        expected_of_two
    );
    assert!(of_two.iter().all(|it| event_of(it).partition_id == 2));
    assert!(first.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn an_unknown_partition_is_an_unknown_error() {
    let (_server, client) = serve(&[]).await;
    for partition_id in [1, 99, i32::MAX] {
        let request = SubscribeRequest {
            partition_id,
            ..subscription("g", "m", "t")
        };
        let requests = tokio_stream::once(request).chain(tokio_stream::pending());
        let status = match client.events.clone().subscribe(requests).await {
            Err(status) => status,
            Ok(stream) => match soon("the stream fails", stream.into_inner().next()).await {
                Some(Err(status)) => status,
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(status.code(), Code::Unknown, "{status}");
        assert!(!status.message().is_empty());
    }
}

#[tokio::test]
async fn each_group_gets_a_copy() {
    let (_server, client) = serve(&[]).await;
    let mut groups = Vec::new();
    for group in ["g1", "g2", "g3"] {
        groups.push(
            client
                .subscribe(subscription(group, "m", "t"))
                .await
                .unwrap(),
        );
    }
    for id in ["a", "b", "c"] {
        assert!(client.publish(event(id, "t")).await.unwrap().success);
    }
    for group in &mut groups {
        assert_eq!(ids(&group.take(3).await), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn members_of_a_group_share_its_events() {
    let (_server, client) = serve(&[]).await;
    let mut one = client
        .subscribe(subscription("g", "m1", "t"))
        .await
        .unwrap();
    let mut two = client
        .subscribe(subscription("g", "m2", "t"))
        .await
        .unwrap();
    let mut acks = client.acks().await.unwrap();
    let (mut to_one, mut to_two) = (0, 0);
    let mut seen = BTreeSet::new();
    for number in 0..40 {
        assert!(
            client
                .publish(event(&format!("a{number}"), "t"))
                .await
                .unwrap()
                .success
        );
    }
    while seen.len() < 40 {
        let delivery = tokio::select! {
            delivery = one.next() => { to_one += 1; delivery }
            delivery = two.next() => { to_two += 1; delivery }
        };
        acks.settle(&delivery, true).await;
        let fresh = seen.insert(event_of(&delivery).message_id.clone());
        assert!(fresh, "each event goes to one member: {delivery:?}");
    }
    assert!(
        to_one > 0 && to_two > 0,
        "both receive something: {to_one}, {to_two}"
    );
}

#[tokio::test]
async fn deliveries_without_an_ack_are_bounded_by_the_credit() {
    let (_server, client) = serve(&[]).await;
    let request = SubscribeRequest {
        max_buffer_size: 3,
        ..subscription("g", "m", "t")
    };
    let mut limited = client.subscribe(request).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    let batch = (0..10)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let mut held = limited.take(3).await;
    assert!(
        limited.within(SILENCE).await.is_none(),
        "no fourth without an ack"
    );
    for _ in 3..10 {
        acks.settle(&held.remove(0), true).await;
        held.push(limited.next().await);
    }
    assert!(limited.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn no_credit_asked_for_means_plenty() {
    let (_server, client) = serve(&["-max-credits=1000"]).await;
    for (group, max_buffer_size) in [("zero", 0), ("negative", -5), ("greatest", i32::MAX)] {
        let request = SubscribeRequest {
            max_buffer_size,
            ..subscription(group, "m", "t")
        };
        let mut subscription = client.subscribe(request).await.unwrap();
        let batch = (0..200)
            .map(|number| event(&format!("{group}{number}"), group))
            .collect();
        assert!(client.publish_batch(batch).await.unwrap().success);
        drop(subscription.within(Duration::ZERO).await);
        let request = SubscribeRequest {
            max_buffer_size,
            ..self::subscription(group, "n", group)
        };
        let mut other = client.subscribe(request).await.unwrap();
        assert_eq!(other.take(200).await.len(), 200);
    }
}

#[tokio::test]
async fn nothing_is_early() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let now_ms = wall_ms();
    for number in 0..60_i64 {
        let due_ms = now_ms + 200 + number * 13;
        assert!(
            client
                .publish(event_at(&format!("{number}"), "t", due_ms))
                .await
                .unwrap()
                .success
        );
    }
    for number in 0..60 {
        let delivery = subscription.next().await;
        let early_ms = event_of(&delivery).schedule_ts - wall_ms();
        assert!(early_ms <= 0, "{early_ms} ms early");
        assert_eq!(event_of(&delivery).message_id, format!("{number}"));
    }
}

#[tokio::test]
async fn a_subscription_makes_its_group_and_shows_its_member() {
    let (_server, client) = serve(&[]).await;
    let request = GetConsumerGroupRequest {
        group_id: "g".into(),
    };
    let status = client
        .groups
        .clone()
        .get_consumer_group(request.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let _subscription = client
        .subscribe(subscription("g", "the member", "t"))
        .await
        .unwrap();
    let group = eventually("the member is listed", || async {
        let group = client
            .groups
            .clone()
            .get_consumer_group(request.clone())
            .await
            .unwrap();
        let group = group.into_inner();
        group
            .member_offsets
            .contains_key("the member")
            .then_some(group)
    })
    .await;
    assert_eq!((group.group_id.as_str(), group.topic.as_str()), ("g", "t"));
}

#[tokio::test]
async fn names_may_hold_any_text() {
    let (_server, client) = serve(&[]).await;
    for (number, name) in ["a:b", ":", "0:1:2-3", "группа ☂", "%2f/..\n"]
        .into_iter()
        .enumerate()
    {
        let topic = format!("topic {number}");
        let mut subscription = client
            .subscribe(subscription(name, name, &topic))
            .await
            .unwrap();
        let mut acks = client.acks().await.unwrap();
        for step in 0..3 {
            let event = event(&format!("{number}/{step}"), &topic);
            assert!(client.publish(event).await.unwrap().success);
            let delivery = subscription.next().await;
            let answer = acks.settle(&delivery, true).await;
            assert!(answer.success, "group {name:?}: {answer:?}");
        }
        // What was acked stays acked: the group's next member gets none of it.
        drop(subscription);
        let mut next = client
            .subscribe(self::subscription(name, "next", &topic))
            .await
            .unwrap();
        assert!(next.within(SILENCE).await.is_none());
    }
}

#[tokio::test]
async fn a_member_needs_no_name() {
    let (_server, client) = serve(&[]).await;
    let mut one = client.subscribe(subscription("g", "", "t")).await.unwrap();
    let mut two = client.subscribe(subscription("g", "", "t")).await.unwrap();
    let batch = (0..20)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        let delivery = tokio::select! {
            delivery = one.next() => delivery,
            delivery = two.next() => delivery,
        };
        assert!(
            seen.insert(event_of(&delivery).message_id.clone()),
            "{delivery:?}"
        );
    }
}

#[tokio::test]
async fn only_the_first_message_of_a_subscription_is_read() {
    let (_server, client) = serve(&[]).await;
    let first = subscription("g", "m", "t");
    let second = subscription("other group", "m", "other topic");
    let requests = tokio_stream::iter([first, second]).chain(tokio_stream::pending());
    let mut stream = client
        .events
        .clone()
        .subscribe(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(
        client
            .publish(event("b", "other topic"))
            .await
            .unwrap()
            .success
    );
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = soon("an event is delivered", stream.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event_of(&delivery).message_id, "a");
}
