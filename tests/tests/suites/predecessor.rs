//! One test for each known failure of the predecessor that concerns one node, by its number in the
//! wire contract. `regressions/predecessor_cluster.rs` has those that concern several.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::{
    CompactRequest, EventRef, FireNowRequest, GetConsumerGroupRequest, GetSchedulerStatusRequest,
    RetentionRequest, ScheduleOutcome, SubscribeRequest,
};
use chronos_tests::client::{Client, event, event_at, event_of, ids, subscription};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::patience::eventually;
use chronos_tests::workload::{Consumer, ConsumerPlan, PublishPlan, Run, publish};
use tokio::process::Command;

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

async fn pending(client: &Client) -> i64 {
    let request = GetSchedulerStatusRequest { partition_id: 0 };
    client
        .partitions
        .clone()
        .get_scheduler_status(request)
        .await
        .unwrap()
        .into_inner()
        .active_timers
}

#[tokio::test]
async fn failure_1_timers_die_on_the_second_restart() {
    let (mut server, client) = serve(&[]).await;
    let due_ms = wall_ms() + 4_000;
    let batch = (0..100)
        .map(|number| event_at(&format!("a{number}"), "t", due_ms))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    for _ in 0..3 {
        assert!(server.stop().await.unwrap().success());
        server.restart().await.unwrap();
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let came = subscription.take(100).await;
    assert!(wall_ms() >= due_ms);
    assert_eq!(ids(&came).into_iter().collect::<BTreeSet<_>>().len(), 100);
}

#[tokio::test]
async fn failure_2_far_timers_are_not_durable() {
    let (mut server, client) = serve(&["-near-window-ms=1000"]).await;
    let now_ms = wall_ms();
    for (id, due_in_ms) in [
        ("soon", 3_000),
        ("tomorrow", 86_400_000),
        ("year", 31_536_000_000),
    ] {
        assert!(
            client
                .publish(event_at(id, "t", now_ms + due_in_ms))
                .await
                .unwrap()
                .success
        );
    }
    for _ in 0..2 {
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        assert!(pending(&client).await >= 2);
    }
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(event_of(&subscription.next().await).message_id, "soon");
    assert_eq!(pending(&client).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_3_paging_in_leaves_holes() {
    // The window is one second; events are published into every distance around its edge while
    // time moves the edge over them.
    let (server, _client) = serve(&["-near-window-ms=1000"]).await;
    let run = Run::new(&server, Settings::default(), crate::seed(31));
    let consumer = Consumer::start(&run, ConsumerPlan::new("g", "m"));
    let publishers = ["p1", "p2"].map(|name| {
        let plan = PublishPlan {
            name: name.into(),
            events: 1_500,
            due_in_ms: 700..3_000,
            batch_events: 4,
            ..PublishPlan::default()
        };
        tokio::spawn(publish(run.clone(), plan))
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    run.observe_partitions().await.unwrap();
    run.drain(wall_ms() + 3_100, 0).await;
    consumer.stop().await;
    let report = run.verify();
    assert!(report.statistics.acked >= 2_900, "{report}");
}

#[tokio::test]
async fn failure_4_retention_deletes_unfired_events() {
    let (mut server, client) = serve(&["-segment-size=65536"]).await;
    // Far enough ahead that it cannot fire meanwhile, however slow the machine is.
    let due_ms = wall_ms() + 3_600_000;
    assert!(
        client
            .publish(event_at("unfired", "t", due_ms))
            .await
            .unwrap()
            .success
    );
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    // Many segments beyond it, all settled.
    for round in 0..8 {
        let batch = (0..100)
            .map(|number| {
                let mut large = event(&format!("{round}/{number}"), "t");
                large.payload = vec![7; 1_000].into();
                large
            })
            .collect();
        assert!(client.publish_batch(batch).await.unwrap().success);
        for delivery in subscription.take(100).await {
            acks.settle(&delivery, true).await;
        }
    }
    let mut partitions = client.partitions.clone();
    let _ = partitions
        .compact(CompactRequest {
            force: true,
            before_ts: i64::MAX,
            ..Default::default()
        })
        .await;
    let _ = partitions
        .run_retention(RetentionRequest {
            min_offset: i64::MAX,
            max_size_bytes: 1,
            ..Default::default()
        })
        .await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut subscription = client
        .subscribe(self::subscription("g", "m", "t"))
        .await
        .unwrap();
    let fired = client
        .schedules
        .clone()
        .fire_now(FireNowRequest {
            event: Some(EventRef {
                topic: "t".into(),
                message_id: "unfired".into(),
                ..EventRef::default()
            }),
            if_version: None,
        })
        .await
        .unwrap();
    assert_eq!(fired.into_inner().outcome(), ScheduleOutcome::Fired);
    let delivery = subscription.next().await;
    assert_eq!(event_of(&delivery).message_id, "unfired");
    assert_eq!(event_of(&delivery).payload, "payload of unfired");
}

#[tokio::test]
async fn failure_5_no_subscriber_at_fire_time_drops_the_event() {
    let (_server, client) = serve(&[]).await;
    // The group exists, and everybody has gone.
    drop(client.subscribe(subscription("g", "m", "t")).await.unwrap());
    let due_ms = wall_ms() + 300;
    assert!(
        client
            .publish(event_at("a", "t", due_ms))
            .await
            .unwrap()
            .success
    );
    eventually("the event has fired", || async {
        (pending(&client).await == 0).then_some(())
    })
    .await;
    let mut late = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(event_of(&late.next().await).message_id, "a");
    let mut new = client
        .subscribe(subscription("new", "m", "t"))
        .await
        .unwrap();
    assert_eq!(event_of(&new.next().await).message_id, "a");
}

#[tokio::test]
async fn failure_6_no_credit_drops_the_event() {
    let (_server, client) = serve(&[]).await;
    let request = SubscribeRequest {
        max_buffer_size: 1,
        ..subscription("g", "m", "t")
    };
    let mut narrow = client.subscribe(request).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    let due_ms = wall_ms() + 300;
    let batch = (0..50)
        .map(|number| event_at(&format!("a{number}"), "t", due_ms))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let mut held = narrow.next().await;
    assert!(narrow.within(SILENCE).await.is_none());
    let mut seen = BTreeSet::from([event_of(&held).message_id.clone()]);
    for _ in 1..25 {
        acks.settle(&held, true).await;
        held = narrow.next().await;
        seen.insert(event_of(&held).message_id.clone());
    }
    // What is in flight when the member unsubscribes goes to the next one.
    drop(narrow);
    seen.remove(&event_of(&held).message_id);
    let mut next = client
        .subscribe(subscription("g", "next", "t"))
        .await
        .unwrap();
    seen.extend(ids(&next.take(26).await));
    assert_eq!(seen.len(), 50);
}

#[tokio::test]
async fn failure_7_a_nack_commits() {
    let (_server, client) = serve(&["-retry-backoff=50ms"]).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let batch = (0..3)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let deliveries = subscription.take(3).await;
    let committed = || async {
        let request = GetConsumerGroupRequest {
            group_id: "g".into(),
        };
        let group = client
            .groups
            .clone()
            .get_consumer_group(request)
            .await
            .unwrap()
            .into_inner();
        group.committed_offsets.get(&0).copied().unwrap_or(-1)
    };
    assert!(acks.settle(&deliveries[2], true).await.success);
    assert_eq!(
        committed().await,
        -1,
        "an ack above a gap does not close it"
    );
    assert!(acks.settle(&deliveries[0], false).await.success);
    assert_eq!(committed().await, -1, "a nack commits nothing");
    let again = subscription.next().await;
    assert_eq!(
        (event_of(&again).message_id.as_str(), again.attempt),
        ("a0", 2)
    );
    assert!(acks.settle(&again, true).await.success);
    assert_eq!(committed().await, 1);
    assert!(acks.settle(&deliveries[1], true).await.success);
    assert_eq!(committed().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_10_events_overwrite_each_other_under_load() {
    let (server, _client) = serve(&[]).await;
    let run = Run::new(&server, Settings::default(), crate::seed(32));
    let consumers =
        ["m1", "m2", "m3"].map(|member| Consumer::start(&run, ConsumerPlan::new("g", member)));
    // All fall due within the same hundred milliseconds, while more are published.
    let publishers = [0, 1, 2, 3].map(|number| {
        let plan = PublishPlan {
            name: format!("p{number}"),
            events: 1_500,
            due_in_ms: 0..100,
            batch_percent: 80,
            batch_events: 200,
            ..PublishPlan::default()
        };
        tokio::spawn(publish(run.clone(), plan))
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    run.drain(wall_ms() + 200, 0).await;
    run.observe_partitions().await.unwrap();
    for consumer in consumers {
        consumer.stop().await;
    }
    let report = run.verify();
    assert!(report.statistics.acked >= 5_900, "{report}");
}

#[tokio::test]
async fn failure_11_dropped_ticks_are_never_caught_up() {
    let (server, client) = serve(&[]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let now_ms = wall_ms();
    let batch = (0..300_i64)
        .map(|number| event_at(&format!("{number:03}"), "t", now_ms + 500 + number * 10))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    // The whole process stands still over a hundred due times.
    let pid = server.pid().unwrap();
    for (signal, at_ms) in [("STOP", 800), ("CONT", 2_000)] {
        eventually("it is time", || async {
            (wall_ms() >= now_ms + at_ms).then_some(())
        })
        .await;
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {pid}"))
            .status();
        assert!(status.await.unwrap().success());
    }
    let came = subscription.take(300).await;
    assert!(ids(&came).is_sorted(), "all of them, in order");
    // A bad timer does not stop the rest of its batch either.
    let mut batch = vec![
        event("before", "t"),
        event_at("bad", "t", -1),
        event("behind", "t"),
    ];
    batch[0].schedule_ts = 1;
    let answer = client.publish_batch(batch).await.unwrap();
    assert_eq!((answer.published_count, answer.error_count), (2, 1));
    assert_eq!(subscription.take(2).await.len(), 2);
}

#[tokio::test]
async fn failure_12_a_failed_publish_leaves_a_hole_and_created_ts_is_lost() {
    let (mut server, client) = serve(&[]).await;
    let before_ms = wall_ms();
    let mut empty = event("empty", "t");
    empty.payload = Default::default();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    assert!(!client.publish(empty).await.unwrap().success);
    assert_eq!(client.publish(event("b", "t")).await.unwrap().offset, 1);
    let after_ms = wall_ms();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    for it in client.replay(Default::default()).await.unwrap() {
        let created_ts = it.event.unwrap().created_ts;
        assert!((before_ms..=after_ms).contains(&created_ts), "{created_ts}");
    }
}

#[tokio::test]
async fn failure_14_groups_live_in_one_partition_s_store() {
    let (mut server, client) = serve(&["-partition-count=4"]).await;
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for number in 0..40 {
        assert!(
            client
                .publish(event(&format!("spread-{number}"), "t"))
                .await
                .unwrap()
                .success
        );
    }
    for delivery in subscription.take(40).await {
        assert!(acks.settle(&delivery, true).await.success);
    }
    drop((subscription, acks));
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let request = GetConsumerGroupRequest {
        group_id: "g".into(),
    };
    let group = client
        .groups
        .clone()
        .get_consumer_group(request)
        .await
        .unwrap()
        .into_inner();
    let settled: i64 = group.committed_offsets.values().sum();
    assert_eq!(settled, 40, "{group:?}");
    let mut again = client
        .subscribe(self::subscription("g", "m", "t"))
        .await
        .unwrap();
    assert!(again.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn failure_15_delivery_flags_do_nothing() {
    let args = [
        "-ack-timeout=400ms",
        "-max-retries=2",
        "-retry-backoff=200ms",
        "-max-credits=3",
    ];
    let (server, client) = serve(&args).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let batch = (0..10)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let first = subscription.take(3).await;
    let received_ms = wall_ms();
    assert!(
        first
            .iter()
            .all(|it| it.ack_timeout_ms == 400 && it.attempt == 1)
    );
    let attempts: Vec<i32> = subscription
        .take(3)
        .await
        .iter()
        .map(|it| it.attempt)
        .collect();
    assert!(
        wall_ms() - received_ms >= 300,
        "credit and attempts wait for the timeout: {attempts:?}"
    );
    // Nobody acks: after two attempts each, all ten are dead letters.
    let mut acks = client.acks().await.unwrap();
    let mut came = first.len() + attempts.len();
    while came < 20 {
        let delivery = subscription.next().await;
        assert!(delivery.attempt <= 2);
        came += 1;
        acks.settle(&delivery, false).await;
    }
    eventually("all are dead letters", || async {
        let dead = server
            .metric("chronos_events_dead_lettered_total")
            .await
            .ok()?;
        (dead.round() as i64 == 10).then_some(())
    })
    .await;
    assert!(
        subscription
            .within(Duration::from_millis(1_000))
            .await
            .is_none()
    );
}
