//! Messages that were stuck or lost after a crash.

use super::killed;
use crate::serve;
use chronos_tests::client::{Client, event, event_at, event_of, subscription};
use chronos_tests::history::wall_ms;
use std::collections::BTreeSet;

async fn publish_step(client: &Client, step: usize) {
    let next = event_at(&format!("step-{step}"), "t", wall_ms() + 20);
    let answer = client.publish(next).await.unwrap();
    assert!(
        answer.success || answer.error == "duplicate message_id",
        "{answer:?}"
    );
}

/// rabbitmq-delayed-message-exchange#125 and #178: consumers that send each message on with a delay
/// found that the chain ended at some point, without an error.
#[tokio::test]
async fn a_chain_in_which_each_event_publishes_the_next_never_ends_by_itself() {
    const STEPS: usize = 120;
    let (mut server, mut client) = serve(&[]).await;
    publish_step(&client, 0).await;
    let mut step = 0;
    while step < STEPS {
        let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
        let mut acks = client.acks().await.unwrap();
        let until = step + 30;
        while step < until {
            let delivery = deliveries.next().await;
            let id = &event_of(&delivery).message_id;
            let came: usize = id.strip_prefix("step-").unwrap().parse().unwrap();
            // One that was published on before the kill, and not answered, comes again.
            assert!(came == step || came + 1 == step, "{came} after {step}");
            step = came + 1;
            publish_step(&client, step).await;
            if step < until {
                assert!(acks.settle(&delivery, true).await.success);
            }
        }
        client = killed(&mut server).await;
    }
}

/// rabbitmq-delayed-message-exchange#37, #90, #133 and #288: after a crash delayed messages, old and
/// new, were stuck or gone, while others went through.
#[tokio::test]
async fn after_a_crash_delayed_events_of_before_and_after_it_come_like_all_others() {
    let (mut server, mut client) = serve(&["-near-window-ms=1000"]).await;
    for round in 0..3 {
        let mut expected = BTreeSet::new();
        let mut publish = async |client: &Client, when: &str| {
            for due_in_ms in [0, 200, 1_500] {
                let id = format!("{round}-{when}-{due_in_ms}");
                let published = match due_in_ms {
                    0 => event(&id, "t"),
                    _ => event_at(&id, "t", wall_ms() + due_in_ms),
                };
                assert!(client.publish(published).await.unwrap().success);
                expected.insert(id);
            }
        };
        publish(&client, "before").await;
        client = killed(&mut server).await;
        publish(&client, "after").await;
        let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
        let mut acks = client.acks().await.unwrap();
        let mut came = BTreeSet::new();
        for delivery in deliveries.take(expected.len()).await {
            assert!(acks.settle(&delivery, true).await.success);
            came.insert(event_of(&delivery).message_id.clone());
        }
        assert_eq!(came, expected);
    }
}
