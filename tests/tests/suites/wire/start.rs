//! Where a group starts, and that it goes on where it stopped.

use std::time::Duration;

use chronos_proto::cronos_db::SubscribeRequest;
use chronos_tests::client::{Client, Subscription, event, event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

async fn from(client: &Client, group: &str, start_offset: i64) -> Subscription {
    let request = SubscribeRequest {
        start_offset,
        ..subscription(group, "m", "t")
    };
    client.subscribe(request).await.unwrap()
}

async fn publish(client: &Client, ids: &[&str]) {
    for id in ids {
        assert!(client.publish(event(id, "t")).await.unwrap().success);
    }
}

#[tokio::test]
async fn minus_one_includes_what_was_published_before_and_is_not_yet_due() {
    let (_server, client) = serve(&[]).await;
    // Another group was here first, so nothing else is owed to this one.
    let mut earlier = from(&client, "earlier", 0).await;
    publish(&client, &["fired"]).await;
    earlier.next().await;
    let due_ms = wall_ms() + 1_000;
    assert!(
        client
            .publish(event_at("due", "t", due_ms))
            .await
            .unwrap()
            .success
    );
    let mut subscription = from(&client, "g", -1).await;
    let delivery = subscription.next().await;
    assert_eq!(
        event_of(&delivery).message_id,
        "due",
        "and not what had fired before"
    );
    assert!(wall_ms() >= due_ms);
}

#[tokio::test]
async fn minus_one_gives_the_first_group_what_fired_while_nobody_was_there() {
    let (_server, client) = serve(&[]).await;
    publish(&client, &["a", "b"]).await;
    let mut subscription = from(&client, "g", -1).await;
    assert_eq!(ids(&subscription.take(2).await), ["a", "b"]);
}

#[tokio::test]
async fn zero_means_from_the_earliest_event() {
    let (_server, client) = serve(&[]).await;
    publish(&client, &["a", "b"]).await;
    let mut one = from(&client, "one", 0).await;
    assert_eq!(ids(&one.take(2).await), ["a", "b"]);
    let mut two = from(&client, "two", 0).await;
    publish(&client, &["c"]).await;
    assert_eq!(ids(&two.take(3).await), ["a", "b", "c"]);
}

#[tokio::test]
async fn an_offset_means_from_that_event_on() {
    let (_server, client) = serve(&[]).await;
    publish(&client, &["a", "b", "c", "d"]).await;
    let mut subscription = from(&client, "g", 2).await;
    publish(&client, &["e"]).await;
    assert_eq!(ids(&subscription.take(3).await), ["c", "d", "e"]);
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn a_group_goes_on_where_it_stopped_wherever_it_is_asked_to_start() {
    let (_server, client) = serve(&[]).await;
    publish(&client, &["a", "b", "c"]).await;
    let mut acks = client.acks().await.unwrap();
    let mut first = from(&client, "g", 0).await;
    let deliveries = first.take(3).await;
    assert!(acks.settle(&deliveries[0], true).await.success);
    drop(first);
    for start_offset in [0, -1, 99] {
        let mut again = from(&client, "g", start_offset).await;
        assert_eq!(
            ids(&again.take(2).await),
            ["b", "c"],
            "start_offset {start_offset}"
        );
        assert!(again.within(SILENCE).await.is_none());
    }
}
