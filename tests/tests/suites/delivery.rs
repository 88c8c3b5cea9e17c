//! Consumer groups over their whole life: sharing, credits, retries, dead letters, takeover.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::{Delivery, SubscribeRequest};
use chronos_tests::client::{Acks, event, event_at, event_of, ids, subscription};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::patience::eventually;
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

/// Short enough to see a timeout, a backoff and the end of the attempts within a test.
const HASTY: &[&str] = &["-ack-timeout=1s", "-retry-backoff=100ms", "-max-retries=3"];

async fn settle_all(acks: &mut Acks, deliveries: &[Delivery], success: bool) {
    for delivery in deliveries {
        assert!(acks.settle(delivery, success).await.success);
    }
}

#[tokio::test]
async fn a_nacked_event_comes_again_after_the_backoff() {
    let (_server, client) = serve(HASTY).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let first = subscription.next().await;
    assert_eq!(first.attempt, 1);
    assert_eq!(first.ack_timeout_ms, 1_000);
    let nacked_ms = wall_ms();
    assert!(acks.settle(&first, false).await.success);
    let second = subscription.next().await;
    assert_eq!(
        (second.attempt, ids(std::slice::from_ref(&second))),
        (2, vec!["a".to_string()])
    );
    assert!(wall_ms() - nacked_ms >= 100, "the backoff is kept");
    assert_ne!(second.delivery_id, first.delivery_id);
    assert!(acks.settle(&second, true).await.success);
    assert!(
        subscription
            .within(Duration::from_millis(1_500))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn an_event_without_an_ack_comes_again_after_the_timeout() {
    let (_server, client) = serve(HASTY).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    subscription.next().await;
    let received_ms = wall_ms();
    let second = subscription.next().await;
    assert_eq!(second.attempt, 2);
    assert!(wall_ms() - received_ms >= 900, "not before the timeout");
    assert!(acks.settle(&second, true).await.success);
    assert!(
        subscription
            .within(Duration::from_millis(1_500))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn attempts_that_are_used_up_end_in_the_dead_letters() {
    let (server, client) = serve(HASTY).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for id in ["poison", "forgotten", "good"] {
        assert!(client.publish(event(id, "t")).await.unwrap().success);
    }
    let mut attempts = Vec::new();
    while attempts.len() < 7 {
        let delivery = subscription.next().await;
        let id = event_of(&delivery).message_id.clone();
        match id.as_str() {
            "poison" => assert!(acks.settle(&delivery, false).await.success),
            "good" => assert!(acks.settle(&delivery, true).await.success),
            _ => {}
        }
        attempts.push((id, delivery.attempt));
    }
    attempts.sort();
    let expected = [
        ("forgotten", 1),
        ("forgotten", 2),
        ("forgotten", 3),
        ("good", 1),
    ]
    .into_iter()
    .chain([("poison", 1), ("poison", 2), ("poison", 3)]);
    assert_eq!(
        attempts,
        expected
            .map(|(id, it)| (id.to_string(), it))
            .collect::<Vec<_>>()
    );
    eventually("both are counted as dead letters", || async {
        let dead = server
            .metric("chronos_events_dead_lettered_total")
            .await
            .ok()?;
        (dead.round() as i64 == 2).then_some(())
    })
    .await;
    assert!(
        subscription
            .within(Duration::from_millis(1_500))
            .await
            .is_none(),
        "never again"
    );
    // They are settled for the group, and still there for everybody else.
    let replayed = client.replay(Default::default()).await.unwrap();
    assert_eq!(replayed.len(), 3);
    let mut other = client
        .subscribe(self::subscription("other", "m", "t"))
        .await
        .unwrap();
    assert_eq!(other.take(3).await.len(), 3);
}

#[tokio::test]
async fn a_dead_letter_stays_dead_after_a_crash() {
    let (mut server, client) = serve(HASTY).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for id in ["poison", "good"] {
        assert!(client.publish(event(id, "t")).await.unwrap().success);
    }
    for _ in 0..4 {
        let delivery = subscription.next().await;
        let good = event_of(&delivery).message_id == "good";
        assert!(acks.settle(&delivery, good).await.success);
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut again = client
        .subscribe(self::subscription("g", "m", "t"))
        .await
        .unwrap();
    assert!(client.publish(event("after", "t")).await.unwrap().success);
    assert_eq!(event_of(&again.next().await).message_id, "after");
    assert!(again.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn attempts_are_counted_across_a_crash() {
    let (mut server, client) = serve(HASTY).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let first = subscription.next().await;
    assert!(acks.settle(&first, false).await.success);
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut again = client
        .subscribe(self::subscription("g", "m", "t"))
        .await
        .unwrap();
    let second = again.next().await;
    assert_eq!(second.attempt, 2, "a nack that was answered is remembered");
}

#[tokio::test]
async fn what_a_gone_member_held_goes_to_the_others() {
    let (_server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let mut leaving = client
        .subscribe(subscription("g", "leaving", "t"))
        .await
        .unwrap();
    let batch = (0..20)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let held = leaving.take(20).await;
    settle_all(&mut acks, &held[..5], true).await;
    let mut staying = client
        .subscribe(subscription("g", "staying", "t"))
        .await
        .unwrap();
    assert!(
        staying.within(SILENCE).await.is_none(),
        "held by a living member"
    );
    drop(leaving);
    let taken_over = staying.take(15).await;
    let expected: BTreeSet<String> = ids(&held[5..]).into_iter().collect();
    assert_eq!(
        ids(&taken_over).into_iter().collect::<BTreeSet<_>>(),
        expected
    );
    settle_all(&mut acks, &taken_over, true).await;
    assert!(staying.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn a_member_without_credit_does_not_hold_up_the_others() {
    let (_server, client) = serve(&[]).await;
    let request = SubscribeRequest {
        max_buffer_size: 1,
        ..subscription("g", "stuck", "t")
    };
    let mut stuck = client.subscribe(request).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    assert!(client.publish(event("first", "t")).await.unwrap().success);
    let mut seen: BTreeSet<String> = ids(&[stuck.next().await]).into_iter().collect();
    let mut working = client
        .subscribe(subscription("g", "working", "t"))
        .await
        .unwrap();
    let batch = (0..50)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    for _ in 0..50 {
        let delivery = working.next().await;
        assert!(acks.settle(&delivery, true).await.success);
        seen.extend(ids(&[delivery]));
    }
    assert_eq!(seen.len(), 51);
}

#[tokio::test]
async fn groups_do_not_wait_for_each_other() {
    let (_server, client) = serve(&[]).await;
    let request = SubscribeRequest {
        max_buffer_size: 1,
        ..subscription("slow", "m", "t")
    };
    let mut slow = client.subscribe(request).await.unwrap();
    let mut fast = client
        .subscribe(subscription("fast", "m", "t"))
        .await
        .unwrap();
    let mut acks = client.acks().await.unwrap();
    let batch = (0..100)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    assert_eq!(fast.take(100).await.len(), 100);
    for _ in 0..100 {
        let delivery = slow.next().await;
        assert!(acks.settle(&delivery, true).await.success);
    }
}

#[tokio::test]
async fn progress_survives_a_restart() {
    let (mut server, client) = serve(&[]).await;
    let mut acks = client.acks().await.unwrap();
    let mut first = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let batch = (0..30)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let deliveries = first.take(30).await;
    // Out of order, and with holes.
    let (settled, left): (Vec<_>, Vec<_>) = deliveries
        .into_iter()
        .rev()
        .partition(|it| event_of(it).offset % 3 != 0);
    settle_all(&mut acks, &settled, true).await;
    drop((first, acks));
    assert!(server.stop().await.unwrap().success());
    server.restart().await.unwrap();
    let mut again = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let came: BTreeSet<String> = ids(&again.take(10).await).into_iter().collect();
    assert_eq!(came, ids(&left).into_iter().collect());
    assert!(again.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn events_of_a_key_come_in_the_order_they_fall_due() {
    let (_server, client) = serve(&["-partition-count=4"]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let now_ms = wall_ms();
    for number in (0..40_i64).rev() {
        let mut keyed = event_at(&format!("{number:02}"), "t", now_ms + 600 + number);
        keyed.meta.insert("partition_key".into(), "the key".into());
        assert!(client.publish(keyed).await.unwrap().success);
    }
    let came = ids(&subscription.take(40).await);
    assert!(came.is_sorted(), "{came:?}");
}

/// Members that nack, forget, hold back and leave, over one partition and over several.
async fn mixed(partition_count: u32, seed: u64) {
    let settings = Settings {
        partition_count,
        ack_timeout_ms: 2_000,
        max_attempts: 4,
        ..Settings::default()
    };
    let (server, _client) = serve(&[
        &format!("-partition-count={partition_count}"),
        "-ack-timeout=2s",
        "-retry-backoff=100ms",
        "-max-retries=4",
    ])
    .await;
    let run = Run::new(&server, settings, crate::seed(seed));
    let behaviour = Behaviour {
        nack_percent: 5,
        ignore_percent: 3,
        poison_percent: 2,
        hold_percent: 30,
        leave_after: None,
    };
    let leaving = Behaviour {
        leave_after: Some(60),
        ..behaviour
    };
    let consumers = [
        ConsumerPlan::new("shared", "m1")
            .behaving(behaviour)
            .credits(20),
        ConsumerPlan::new("shared", "m2")
            .behaving(leaving)
            .credits(50),
        ConsumerPlan::new("alone", "m3").behaving(behaviour),
        ConsumerPlan::new("narrow", "m4").credits(2),
    ];
    let consumers: Vec<Consumer> = consumers
        .into_iter()
        .map(|plan| Consumer::start(&run, plan))
        .collect();
    let publishers = ["p1", "p2"].map(|name| {
        let plan = PublishPlan {
            name: name.into(),
            events: 300,
            due_in_ms: -200..1_500,
            ..Default::default()
        };
        tokio::spawn(publish(run.clone(), plan))
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    run.drain(wall_ms() + 1_600, 400).await;
    run.observe_dead_letters(&server).await.unwrap();
    run.observe_partitions().await.unwrap();
    for consumer in consumers {
        consumer.stop().await;
    }
    let report = run.verify();
    println!("{report}");
    assert!(report.statistics.published >= 590, "{report}");
    for reason in ["nack", "ack timeout", "member gone"] {
        assert!(
            report.statistics.redelivered.contains_key(reason),
            "no {reason}: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_work_keeps_every_promise() {
    mixed(1, 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_work_over_several_partitions_keeps_every_promise() {
    mixed(4, 12).await;
}
