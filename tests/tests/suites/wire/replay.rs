//! Replay.

use chronos_proto::cronos_db::{ReplayEvent, ReplayRequest};
use chronos_tests::client::{Client, event, event_at, subscription};
use chronos_tests::history::wall_ms;

use crate::serve;

fn ids(events: &[ReplayEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|it| it.event.as_ref().unwrap().message_id.as_str())
        .collect()
}

async fn replay(client: &Client, request: ReplayRequest) -> Vec<ReplayEvent> {
    client.replay(request).await.unwrap()
}

/// Three events in the past, one far in the future; published out of the order of their times.
async fn fill(client: &Client) -> i64 {
    let base_ms = wall_ms() - 10_000;
    for (id, at_ms) in [
        ("b", 2_000),
        ("a", 1_000),
        ("future", 3_600_000),
        ("c", 3_000),
    ] {
        let event = event_at(id, "t", base_ms + at_ms);
        assert!(client.publish(event).await.unwrap().success);
    }
    base_ms
}

#[tokio::test]
async fn a_probe_of_an_empty_partition_ends_cleanly() {
    let (_server, client) = serve(&[]).await;
    assert!(
        replay(
            &client,
            ReplayRequest {
                count: 1,
                ..Default::default()
            }
        )
        .await
        .is_empty()
    );
}

#[tokio::test]
async fn offsets_select_in_the_order_of_the_log_fired_or_not() {
    let (_server, client) = serve(&[]).await;
    fill(&client).await;
    let all = replay(&client, ReplayRequest::default()).await;
    assert_eq!(ids(&all), ["b", "a", "future", "c"]);
    for (position, it) in all.iter().enumerate() {
        assert_eq!(it.replay_offset, position as i64);
        assert_eq!(it.event.as_ref().unwrap().offset, position as i64);
    }
    let request = ReplayRequest {
        start_offset: 1,
        count: 2,
        ..Default::default()
    };
    let some = replay(&client, request).await;
    assert_eq!(ids(&some), ["a", "future"]);
    assert_eq!(
        some[0].replay_offset, 0,
        "counted from the begin of this stream"
    );
    let beyond = ReplayRequest {
        start_offset: 4,
        count: 2,
        ..Default::default()
    };
    assert!(replay(&client, beyond).await.is_empty());
}

#[tokio::test]
async fn times_select_by_schedule_both_ends_included() {
    let (_server, client) = serve(&[]).await;
    let base_ms = fill(&client).await;
    let times = |start_ts, end_ts| ReplayRequest {
        start_ts,
        end_ts,
        ..Default::default()
    };
    let range = times(base_ms + 1_000, base_ms + 2_000);
    assert_eq!(ids(&replay(&client, range).await), ["b", "a"]);
    let inside = times(base_ms + 1_001, base_ms + 1_999);
    assert!(replay(&client, inside).await.is_empty());
    let until_now = times(base_ms + 2_000, 0);
    assert_eq!(ids(&replay(&client, until_now).await), ["b", "c"]);
    let from_the_begin = times(0, base_ms + 1_500);
    assert_eq!(ids(&replay(&client, from_the_begin).await), ["a"]);
    let future = times(base_ms, base_ms + 3_600_000);
    assert_eq!(
        ids(&replay(&client, future).await),
        ["b", "a", "future", "c"]
    );
    // With times, a count has no meaning.
    let counted = ReplayRequest {
        count: 1,
        ..times(base_ms, 0)
    };
    assert_eq!(ids(&replay(&client, counted).await), ["b", "a", "c"]);
}

#[tokio::test]
async fn no_count_means_a_thousand() {
    let (_server, client) = serve(&[]).await;
    let batch = (0..1_100)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    for count in [0, -3] {
        let request = ReplayRequest {
            count,
            ..Default::default()
        };
        assert_eq!(replay(&client, request).await.len(), 1_000);
    }
    let request = ReplayRequest {
        count: 1_050,
        ..Default::default()
    };
    assert_eq!(replay(&client, request).await.len(), 1_050);
}

#[tokio::test]
async fn a_negative_partition_is_an_error() {
    let (_server, client) = serve(&[]).await;
    for partition_id in [-1, 1, i32::MIN] {
        let request = ReplayRequest {
            partition_id,
            ..Default::default()
        };
        let status = client.replay(request).await.unwrap_err();
        assert!(
            !status.message().is_empty(),
            "partition {partition_id}: {status}"
        );
    }
}

#[tokio::test]
async fn a_topic_selects_and_a_pace_is_accepted() {
    let (_server, client) = serve(&[]).await;
    for (id, topic) in [("a", "t"), ("b", "u"), ("c", "t")] {
        assert!(client.publish(event(id, topic)).await.unwrap().success);
    }
    for speed in [0.0, 1.0, 50.0, 0.5, f64::NAN, -1.0, f64::INFINITY] {
        let request = ReplayRequest {
            topic: "t".into(),
            speed,
            ..Default::default()
        };
        assert_eq!(
            ids(&replay(&client, request).await),
            ["a", "c"],
            "speed {speed}"
        );
    }
}

#[tokio::test]
async fn a_replay_takes_nothing_from_a_group() {
    let (_server, client) = serve(&[]).await;
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let request = ReplayRequest {
        consumer_group: "g".into(),
        subscription_id: "m".into(),
        ..Default::default()
    };
    assert_eq!(replay(&client, request).await.len(), 1);
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(subscription.next().await.attempt, 1);
}
