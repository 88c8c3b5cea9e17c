//! Kill -9 at any moment, restarts, graceful stops, and directories that must be refused.

use std::collections::BTreeSet;
use std::time::Duration;
use std::{env, fs};

use chronos_tests::client::{event, event_at, event_of, ids, subscription};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::patience::{eventually, soon};
use chronos_tests::random::Random;
use chronos_tests::server::{self, Options};
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

/// How often each kill -9 loop kills; `CHRONOS_TEST_CYCLES` asks for more.
fn cycles() -> usize {
    env::var("CHRONOS_TEST_CYCLES")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(10)
}

/// Publishers and consumers run without a break while the server is killed again and again.
async fn kill_loop(args: &[&str], partition_count: u32, seed: u64) {
    let settings = Settings {
        partition_count,
        ack_timeout_ms: 2_000,
        max_attempts: 20,
        ..Settings::default()
    };
    let mut args = args.to_vec();
    let count = format!("-partition-count={partition_count}");
    args.extend([
        &count,
        "-ack-timeout=2s",
        "-retry-backoff=50ms",
        "-max-retries=20",
    ]);
    let (mut server, _client) = serve(&args).await;
    let seed = crate::seed(seed);
    let run = Run::new(&server, settings, seed);
    let mut random = Random::new(seed);
    let behaviour = Behaviour {
        nack_percent: 3,
        ignore_percent: 1,
        hold_percent: 20,
        ..Default::default()
    };
    let consumers: Vec<Consumer> = [("shared", "m1"), ("shared", "m2"), ("alone", "m3")]
        .map(|(group, member)| {
            Consumer::start(
                &run,
                ConsumerPlan::new(group, member)
                    .behaving(behaviour)
                    .credits(100),
            )
        })
        .into();
    for cycle in 0..cycles() {
        let publishers = ["near", "far"].map(|name| {
            let plan = PublishPlan {
                name: format!("{name}{cycle}"),
                events: 60,
                due_in_ms: if name == "near" {
                    -100..300
                } else {
                    500..2_500
                },
                ..PublishPlan::default()
            };
            tokio::spawn(publish(run.clone(), plan))
        });
        tokio::time::sleep(Duration::from_millis(random.range(5, 250))).await;
        run.kill_and_restart(&mut server).await.unwrap();
        for publisher in publishers {
            publisher.await.unwrap();
        }
        for group in ["shared", "alone"] {
            run.observe_group(group).await.unwrap();
        }
    }
    run.observe_partitions().await.unwrap();
    run.drain(wall_ms() + 2_600, 1_000).await;
    run.observe_partitions().await.unwrap();
    for consumer in consumers {
        consumer.stop().await;
    }
    let report = run.verify();
    println!("{} cycles: {report}", cycles());
    assert!(
        report.statistics.faults == cycles() && report.statistics.acked > 0,
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_dash_9_again_and_again() {
    kill_loop(&["-near-window-ms=1000"], 1, 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_dash_9_with_several_partitions_and_small_segments() {
    kill_loop(&["-segment-size=65536"], 4, 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_dash_9_in_the_other_fsync_modes() {
    // A crash of the process alone loses nothing in any mode.
    kill_loop(&["-fsync-mode=periodic", "-flush-interval=100"], 1, 23).await;
}

#[tokio::test]
async fn what_fell_due_while_down_fires_at_the_start() {
    let (mut server, client) = serve(&[]).await;
    let due_ms = wall_ms() + 600;
    let batch = (0..50)
        .map(|number| event_at(&format!("a{number}"), "t", due_ms))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    server.kill().await.unwrap();
    eventually("the events are due", || async {
        (wall_ms() > due_ms + 100).then_some(())
    })
    .await;
    server.restart().await.unwrap();
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let deliveries = subscription.take(50).await;
    let came: BTreeSet<String> = ids(&deliveries).into_iter().collect();
    assert_eq!(came.len(), 50);
    for delivery in deliveries {
        assert!(delivery.lateness_ms >= 100, "marked late: {delivery:?}");
    }
}

#[tokio::test]
async fn an_acknowledged_settle_is_not_redelivered() {
    let (mut server, client) = serve(&[]).await;
    let batch = (0..100)
        .map(|number| event(&format!("a{number}"), "t"))
        .collect();
    assert!(client.publish_batch(batch).await.unwrap().success);
    let mut expected: BTreeSet<String> = (0..100).map(|number| format!("a{number}")).collect();
    for round in 0..4 {
        let mut acks = client.acks().await.unwrap();
        let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
        let deliveries = subscription.take(expected.len()).await;
        assert_eq!(
            ids(&deliveries).into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{round}"
        );
        for delivery in deliveries.iter().rev().step_by(3) {
            assert!(acks.settle(delivery, true).await.success);
            expected.remove(&event_of(delivery).message_id);
        }
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(
        ids(&subscription.take(expected.len()).await).len(),
        expected.len()
    );
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn ids_are_remembered_across_crashes() {
    let (mut server, client) = serve(&[]).await;
    for round in 0..3 {
        let id = format!("a{round}");
        assert!(client.publish(event(&id, "t")).await.unwrap().success);
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        for earlier in 0..=round {
            let again = client
                .publish(event(&format!("a{earlier}"), "t"))
                .await
                .unwrap();
            assert_eq!(again.error, "duplicate message_id");
        }
    }
    let next = client.publish(event("next", "t")).await.unwrap();
    assert_eq!(next.offset, 3, "offsets go on without a gap");
}

#[tokio::test]
async fn a_graceful_stop_ends_streams_and_takes_no_new_work() {
    let (mut server, client) = serve(&["-shutdown-timeout=5s"]).await;
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let delivery = subscription.next().await;
    assert!(acks.settle(&delivery, true).await.success);
    server.terminate().await.unwrap();
    let end = soon(
        "the stream of deliveries ends",
        subscription.deliveries.next(),
    )
    .await;
    if let Some(Err(status)) = &end {
        assert!(
            matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Cancelled
            ),
            "{status}"
        );
    }
    assert!(
        !matches!(end, Some(Ok(_))),
        "nothing more is delivered: {end:?}"
    );
    let status = server.exited().await.unwrap();
    assert!(status.success(), "{status}\n{}", server.log());
    let refused = client.publish(event("b", "t")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    server.restart().await.unwrap();
    let after = client.publish(event("b", "t")).await.unwrap();
    assert!(
        after.success && after.offset == 1,
        "refused, so not stored: {after:?}"
    );
}

#[tokio::test]
async fn an_idle_stream_does_not_hold_up_a_stop() {
    let (mut server, client) = serve(&["-shutdown-timeout=2s"]).await;
    let _reading_nothing = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let _acking_nothing = client.acks().await.unwrap();
    let status = server.stop().await.unwrap();
    assert!(status.success(), "{status}\n{}", server.log());
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let (server, client) = serve(&[]).await;
    let second = Options::new().data_dir(server.data_dir()).start().await;
    let Err(server::Error::Ended { status, log }) = second else {
        panic!("it must not start")
    };
    assert!(!status.success());
    assert!(log.contains("in use"), "{log}");
    assert!(
        client.publish(event("a", "t")).await.unwrap().success,
        "the first lives on"
    );
}

#[tokio::test]
async fn a_directory_of_another_node_is_refused() {
    let (mut server, _client) = serve(&[]).await;
    server.stop().await.unwrap();
    let refused = server.restart_with(&["-node-id=node2"]).await;
    let Err(server::Error::Ended { status, log }) = refused else {
        panic!("it must not start")
    };
    assert!(!status.success());
    assert!(
        log.contains("belongs to node") && log.contains("node1"),
        "{log}"
    );
    server.restart_with(&[]).await.unwrap();
}

#[tokio::test]
async fn a_directory_with_another_number_of_partitions_is_refused() {
    let (mut server, _client) = serve(&["-partition-count=2"]).await;
    server.stop().await.unwrap();
    let refused = server.restart_with(&["-partition-count=3"]).await;
    let Err(server::Error::Ended { log, .. }) = refused else {
        panic!("it must not start")
    };
    assert!(log.contains("partitions"), "{log}");
    server.restart_with(&[]).await.unwrap();
}

#[tokio::test]
async fn a_directory_of_an_unknown_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("somebody-else.txt"), "mine").unwrap();
    let refused = Options::new().data_dir(folder.path()).start().await;
    let Err(server::Error::Ended { status, log }) = refused else {
        panic!("it must not start")
    };
    assert!(!status.success());
    assert!(log.contains("not empty"), "{log}");
    assert_eq!(
        fs::read_to_string(folder.path().join("somebody-else.txt")).unwrap(),
        "mine"
    );

    let (mut server, _client) = serve(&[]).await;
    server.stop().await.unwrap();
    let identity = server.data_dir().join("identity.toml");
    let text = fs::read_to_string(&identity).unwrap();
    let newer: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("format") {
                "format = 999".into()
            } else {
                line.into()
            }
        })
        .collect();
    assert_ne!(
        newer.join("\n").trim(),
        text.trim(),
        "the identity has a format"
    );
    fs::write(&identity, newer.join("\n")).unwrap();
    let Err(server::Error::Ended { log, .. }) = server.restart().await else {
        panic!("it must not start")
    };
    assert!(log.contains("format 999"), "{log}");
    fs::write(&identity, text).unwrap();
    server.restart().await.unwrap();
}
