//! Publish, one event a call.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chronos_proto::cronos_db::{Event, PublishRequest, PublishResponse};
use chronos_tests::client::{Client, event, event_at, event_of, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::routing;

use crate::serve;

async fn publish(client: &Client, event: Event) -> PublishResponse {
    client
        .publish(event)
        .await
        .expect("a publish is answered OK, whatever the event is")
}

#[tokio::test]
async fn refusals_are_ok_answers_in_these_words_and_this_order() {
    let (_server, client) = serve(&[]).await;
    let mut bad = Event::default();
    for (fill, expected) in [
        ("", "message_id is required"),
        ("id", "schedule_ts is required"),
        ("time", "payload is required"),
    ] {
        match fill {
            "id" => bad.message_id = "a".into(),
            "time" => bad.schedule_ts = 1,
            _ => {}
        }
        let answer = publish(&client, bad.clone()).await;
        assert_eq!((answer.success, answer.error.as_str()), (false, expected));
        assert_eq!((answer.offset, answer.partition_id), (0, 0));
    }
    for schedule_ts in [0, -1] {
        let answer = publish(&client, event_at("b", "t", schedule_ts)).await;
        assert_eq!(answer.error, "schedule_ts is required");
    }
    let answer = publish(&client, event("a", "t")).await;
    assert!(
        answer.success,
        "a refused publish must not poison its id: {answer:?}"
    );
    assert_eq!(
        answer.offset, 0,
        "a refused publish must not take an offset"
    );
}

#[tokio::test]
async fn a_past_or_present_time_means_now_and_is_echoed_unchanged() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for (id, schedule_ts) in [
        ("first", 1),
        ("past", wall_ms() - 86_400_000),
        ("now", wall_ms()),
    ] {
        let answer = publish(&client, event_at(id, "t", schedule_ts)).await;
        assert!(answer.success, "{answer:?}");
        assert_eq!(answer.error, "");
        assert_eq!(answer.schedule_ts, schedule_ts);
        let delivery = subscription.next().await;
        assert_eq!(event_of(&delivery).message_id, id);
        assert_eq!(event_of(&delivery).schedule_ts, schedule_ts);
    }
}

#[tokio::test]
async fn topics_meta_and_payload_arrive_as_they_were_sent() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "")).await.unwrap();
    let topics = [
        "",
        "t",
        " ",
        "a/b:c*?",
        "Ünïcode ☂ 主题",
        "line\nbreak\0null",
        "x".repeat(255).leak(),
    ];
    for (number, topic) in topics.into_iter().enumerate() {
        let mut sent = event(&format!("id ☂ {number}"), topic);
        sent.payload = Bytes::from((0..=255).collect::<Vec<u8>>());
        sent.meta = BTreeMap::from([
            (String::new(), "empty key".into()),
            ("ключ".into(), "värde\n\0".into()),
            ("tenant_id".into(), String::new()),
        ]);
        let answer = publish(&client, sent.clone()).await;
        assert!(answer.success, "topic {topic:?}: {answer:?}");
        let delivery = subscription.next().await;
        let came = event_of(&delivery);
        assert_eq!(came.message_id, sent.message_id);
        assert_eq!(came.topic, topic);
        assert_eq!(came.meta, sent.meta);
        assert_eq!(came.payload, sent.payload);
    }
}

#[tokio::test]
async fn fields_that_the_server_sets_are_not_taken_from_the_client() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let before_ms = wall_ms();
    let mut sent = event("a", "t");
    (sent.created_ts, sent.offset, sent.partition_id) = (5, 77, 88);
    (sent.checksum, sent.term) = (99, 111);
    let answer = publish(&client, sent).await;
    assert_eq!((answer.offset, answer.partition_id), (0, 0));
    let delivery = subscription.next().await;
    let came = event_of(&delivery);
    assert_eq!((came.offset, came.partition_id), (0, 0));
    assert!(
        (before_ms..=wall_ms()).contains(&came.created_ts),
        "{}",
        came.created_ts
    );
    assert_ne!(came.checksum, 99);
    assert_ne!(came.term, 111);
}

#[tokio::test]
async fn a_duplicate_is_refused_in_exactly_these_words() {
    let (_server, client) = serve(&[]).await;
    assert!(publish(&client, event("other", "t")).await.success);
    assert!(publish(&client, event("a", "t")).await.success);
    let mut changed = event("a", "another topic");
    changed.payload = Bytes::from_static(b"another payload");
    for again in [event("a", "t"), changed] {
        let answer = publish(&client, again).await;
        assert!(!answer.success);
        assert_eq!(answer.error, "duplicate message_id");
        assert_eq!((answer.offset, answer.partition_id), (0, 0));
    }
    assert_eq!(publish(&client, event("b", "t")).await.offset, 2);
}

#[tokio::test]
async fn allow_duplicate_skips_the_check() {
    let (_server, client) = serve(&[]).await;
    for offset in 0..3 {
        let request = PublishRequest {
            event: Some(event("a", "t")),
            allow_duplicate: true,
            ..Default::default()
        };
        let answer = client
            .events
            .clone()
            .publish(request)
            .await
            .unwrap()
            .into_inner();
        assert!(answer.success, "{answer:?}");
        assert_eq!(answer.offset, offset);
    }
}

#[tokio::test]
async fn offsets_start_at_zero_and_leave_no_gap() {
    let (_server, client) = serve(&[]).await;
    for (expected, round) in (0..).zip(0..20) {
        let answer = publish(&client, event(&format!("a{round}"), "t")).await;
        assert_eq!(answer.offset, expected);
        assert!(
            !publish(&client, event(&format!("a{round}"), "t"))
                .await
                .success
        );
        assert!(
            !publish(&client, event_at(&format!("b{round}"), "t", 0))
                .await
                .success
        );
    }
}

#[tokio::test]
async fn many_callers_at_once_get_offsets_of_their_own() {
    let (_server, client) = serve(&[]).await;
    let calls = (0..64).map(|caller| {
        let client = client.clone();
        async move {
            let mut offsets = Vec::new();
            for round in 0..10 {
                let answer = publish(&client, event(&format!("{caller}/{round}"), "t")).await;
                assert!(answer.success, "{answer:?}");
                offsets.push(answer.offset);
            }
            assert!(
                offsets.is_sorted(),
                "a caller's own offsets grow: {offsets:?}"
            );
            offsets
        }
    });
    let offsets: Vec<i64> = futures::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect();
    let distinct: BTreeSet<i64> = offsets.iter().copied().collect();
    assert_eq!(distinct, (0..640).collect());
}

#[tokio::test]
async fn one_mebibyte_of_payload_succeeds() {
    let (_server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for (id, bytes) in [("one", 1 << 20), ("four", 4 << 20)] {
        let mut large = event(id, "t");
        large.payload = Bytes::from((0..bytes).map(|it| (it % 251) as u8).collect::<Vec<u8>>());
        let answer = publish(&client, large.clone()).await;
        assert!(answer.success, "{answer:?}");
        assert_eq!(event_of(&subscription.next().await).payload, large.payload);
    }
}

#[tokio::test]
async fn the_partition_is_chosen_by_the_published_hash() {
    let (_server, client) = serve(&["-partition-count=16"]).await;
    for (number, (key, partition)) in routing::VECTORS_16.iter().enumerate() {
        let mut keyed = event(&format!("id {number}"), "t");
        keyed
            .meta
            .insert("partition_key".into(), (*key).to_string());
        // An empty key counts as none: then the message id decides.
        let expected = if key.is_empty() {
            routing::partition("", &keyed.message_id, 16)
        } else {
            *partition
        };
        let answer = publish(&client, keyed).await;
        assert!(answer.success, "{answer:?}");
        assert_eq!(answer.partition_id, expected, "key {key:?}");
        if !key.is_empty() {
            let answer = publish(&client, event(key, "t")).await;
            assert_eq!(answer.partition_id, *partition, "message id {key:?}");
        }
    }
}

#[tokio::test]
async fn a_durable_ack_may_be_asked_for_in_any_mode() {
    let (_server, client) = serve(&["-fsync-mode=periodic", "-flush-interval=3600000"]).await;
    let mut durable = event("a", "t");
    durable
        .meta
        .insert("cronos.durable_ack".into(), "true".into());
    assert!(publish(&client, durable).await.success);
}

#[tokio::test]
async fn a_client_version_header_is_accepted() {
    let (_server, client) = serve(&[]).await;
    let mut request = tonic::Request::new(PublishRequest {
        event: Some(event("a", "t")),
        allow_duplicate: false,
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("x-cronos-version", "1".parse().unwrap());
    let answer = client
        .events
        .clone()
        .publish(request)
        .await
        .unwrap()
        .into_inner();
    assert!(answer.success, "{answer:?}");
}
