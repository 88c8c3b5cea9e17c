//! Failures of what is done on request only: key order, priorities, ends, batches, pauses, redrives.

use super::{Mutant, each_is_caught};
use chronos_proto::cronos_db::pause_service_client::PauseServiceClient;
use chronos_proto::cronos_db::pause_target::Target;
use chronos_proto::cronos_db::{PauseRequest, PauseTarget, ResumeRequest, WhilePaused};
use chronos_tests::checker::{Report, Rule};
use chronos_tests::history::{Op, Outcome, Pause, Settings, wall_ms};
use chronos_tests::patience::eventually;
use chronos_tests::server::{Options, Server};
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};

const MUTANTS: &[Mutant] = &[
    ("key-order-ignored", &[Rule::Keys, Rule::Order]),
    ("key-freed-by-failure", &[Rule::Keys]),
    ("key-never-freed", &[Rule::Lost]),
    ("priority-ignored", &[Rule::Order]),
    ("expiry-ignored", &[Rule::Expired]),
    ("expires-at-once", &[Rule::Lost]),
    ("batch-answer-settles-all", &[Rule::Lost]),
    ("batch-answer-lost", &[Rule::Duplicate]),
    ("batch-failure-repeats-all", &[Rule::Duplicate]),
    ("pause-ignored", &[Rule::Paused]),
    ("pause-loses-held", &[Rule::Lost]),
    ("drop-holds", &[Rule::Paused]),
    ("redrive-lost", &[Rule::Redriven]),
    ("redrive-not-logged", &[Rule::Duplicate]),
];

const MAX_ATTEMPTS: i32 = 3;
const BACKOFF_MS: u64 = 100;
/// Longer than what is on its way may take, and by enough for events to fall due after that.
const PAUSE_MS: i64 = 4_000;

/// Pauses two groups for a while: one holds, one drops what falls due. Publishes meanwhile.
async fn pause(run: &Run, server: &Server) {
    let pauses = PauseServiceClient::new(server.channel().unwrap());
    let target = |group: &str| {
        Some(PauseTarget {
            target: Some(Target::Group(group.into())),
        })
    };
    let groups = [("held", false), ("dropping", true)];
    let mut begun = Vec::new();
    for (group, drops) in groups {
        let while_paused = match drops {
            true => WhilePaused::Drop,
            false => WhilePaused::Hold,
        };
        let request = PauseRequest {
            target: target(group),
            while_paused: while_paused.into(),
            ..PauseRequest::default()
        };
        pauses.clone().pause(request).await.unwrap();
        begun.push(run.recorder.now());
    }
    let end_ms = wall_ms() + PAUSE_MS;
    let plan = PublishPlan {
        name: "paused".into(),
        events: 80,
        due_in_ms: 100..3_400,
        fleeting_percent: 20,
        ..PublishPlan::default()
    };
    publish(run.clone(), plan).await;
    eventually("the pause is over", || async {
        (wall_ms() >= end_ms).then_some(())
    })
    .await;
    for ((group, drops), begun) in groups.into_iter().zip(begun) {
        let pause = Pause {
            group: group.into(),
            drops,
        };
        run.recorder.record(0, begun, Outcome::Ok, Op::Pause(pause));
        let request = ResumeRequest {
            target: target(group),
        };
        pauses.clone().resume(request).await.unwrap();
    }
}

/// The same work for everyone: a calm phase with failures, one with two groups paused, a redrive of
/// all dead letters of a group, and a kill -9 after it.
async fn work(mutant: Option<&str>, seed: u64) -> (Run, Report) {
    let settings = Settings {
        ack_timeout_ms: 2_000,
        max_attempts: MAX_ATTEMPTS,
        ..Settings::default()
    };
    let mut options =
        Options::new().args(["-ack-timeout=2s", "-retry-backoff=100ms", "-max-retries=3"]);
    if let Some(mutant) = mutant {
        options = options.variable("CHRONOS_MUTANT", mutant);
    }
    let mut server = options
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let run = Run::new(&server, settings, crate::seed(seed));
    let behaviour = Behaviour {
        nack_percent: 15,
        ignore_percent: 3,
        poison_percent: 8,
        hold_percent: 30,
        leave_after: None,
    };
    let consumers = [
        ConsumerPlan::new("keys", "k1").in_key_order(),
        ConsumerPlan::new("keys", "k2").in_key_order().credits(5),
        ConsumerPlan::new("batches", "b1").batches(8),
        ConsumerPlan::new("batches", "b2").batches(50).credits(20),
        ConsumerPlan::new("held", "h1"),
        ConsumerPlan::new("dropping", "d1"),
        ConsumerPlan::new("redriven", "r1"),
    ];
    let consumers: Vec<Consumer> = consumers
        .into_iter()
        .map(|plan| Consumer::start(&run, plan.behaving(behaviour)))
        .collect();
    let plan = |name: &str| PublishPlan {
        name: name.into(),
        events: 160,
        due_in_ms: 700..1_200,
        round_ms: 250,
        priority_percent: 60,
        lasting_percent: 20,
        ..PublishPlan::default()
    };
    publish(run.clone(), plan("calm")).await;
    run.drain(wall_ms() + 1_500, BACKOFF_MS * 3).await;
    pause(&run, &server).await;
    run.drain(wall_ms(), BACKOFF_MS * 3).await;
    run.redrive("redriven").await.unwrap();
    run.drain(wall_ms(), BACKOFF_MS * 3).await;
    run.kill_and_restart(&mut server)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    publish(run.clone(), plan("after")).await;
    run.drain(wall_ms() + 1_500, BACKOFF_MS * 3).await;
    run.observe_partitions().await.unwrap();
    for consumer in consumers {
        consumer.stop().await;
    }
    let report = run.report();
    (run, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mutant_what_was_asked_for_is_done() {
    let (run, _) = work(None, 71).await;
    let report = run.verify();
    println!("{report}");
    let records = run.recorder.records();
    let redriven = records.iter().find_map(|record| match &record.op {
        Op::Redrive(redrive) => Some(redrive.events.len()),
        _ => None,
    });
    assert!(redriven > Some(0), "there were dead letters to redrive");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutant_of_what_is_asked_for_is_caught_by_its_rule() {
    each_is_caught(MUTANTS, |mutant, number| async move {
        work(Some(mutant), 200 + number).await
    })
    .await;
}
