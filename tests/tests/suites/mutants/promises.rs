//! Failures of the promises that hold whatever is asked for.

use std::time::Duration;

use chronos_tests::checker::{Report, Rule};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::server::Options;
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};

use super::{Mutant, each_is_caught};

const MUTANTS: &[Mutant] = &[
    (
        "ack-before-append",
        &[Rule::Lost, Rule::Offsets, Rule::Replay, Rule::Counts],
    ),
    ("commit-on-nack", &[Rule::Lost]),
    ("settle-past-gap", &[Rule::Lost]),
    ("drop-no-subscriber", &[Rule::Lost]),
    ("drop-no-credit", &[Rule::Lost]),
    ("drop-inflight-on-disconnect", &[Rule::Lost]),
    ("fire-early", &[Rule::Early]),
    ("forget-timers-on-restart", &[Rule::Lost, Rule::Counts]),
    ("forget-dedup-on-restart", &[Rule::Dedup]),
    ("dedup-before-append-poison", &[Rule::Dedup]),
    ("reuse-offset", &[Rule::Offsets]),
    ("far-page-hole", &[Rule::Lost]),
    ("wheel-lost-tick", &[Rule::Lost]),
    ("settle-not-logged", &[Rule::Duplicate]),
    ("forget-far-on-publish", &[Rule::Lost]),
    ("deliver-twice", &[Rule::Duplicate]),
    ("wrong-payload", &[Rule::Phantom]),
    ("skip-dead-letter", &[Rule::Lost]),
    ("retry-lost", &[Rule::Lost]),
    ("replay-skips", &[Rule::Replay]),
];

const MAX_ATTEMPTS: i32 = 3;
const BACKOFF_MS: u64 = 100;

/// The same work for everyone: a calm phase with everything that goes wrong in a consumer's life,
/// a phase in which nobody is subscribed, and a loss of power in the middle of publishing.
async fn work(mutant: Option<&str>, flags: &[&str], seed: u64) -> (Run, Report) {
    let settings = Settings {
        ack_timeout_ms: 2_000,
        max_attempts: MAX_ATTEMPTS,
        ..Settings::default()
    };
    let options = Options::new().args([
        "-ack-timeout=2s",
        "-retry-backoff=100ms",
        "-max-retries=3",
        "-near-window-ms=1000",
    ]);
    let mut server = options
        .args(flags.iter().copied())
        .variable("CHRONOS_LOSE_UNSYNCED", "1")
        .mutant(mutant)
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let run = Run::new(&server, settings, crate::seed(seed));
    let behaviour = Behaviour {
        nack_percent: 8,
        ignore_percent: 4,
        poison_percent: 4,
        hold_percent: 30,
        leave_after: None,
    };
    let leaving = Behaviour {
        leave_after: Some(25),
        ..behaviour
    };
    let plan = |name: &str, events, due_in_ms| PublishPlan {
        name: name.to_string(),
        events,
        due_in_ms,
        ..PublishPlan::default()
    };

    // A group that is there from the begin; one whose members all leave and come back later.
    let steady = [
        ConsumerPlan::new("steady", "m1")
            .behaving(behaviour)
            .credits(10),
        ConsumerPlan::new("steady", "m2")
            .behaving(leaving)
            .credits(10),
        ConsumerPlan::new("narrow", "m3").credits(1),
    ];
    let steady: Vec<Consumer> = steady
        .into_iter()
        .map(|it| Consumer::start(&run, it))
        .collect();
    let absent = Consumer::start(&run, ConsumerPlan::new("absent", "m4").behaving(behaviour));
    publish(run.clone(), plan("calm", 60, -100..400)).await;
    absent.stop().await;
    publish(run.clone(), plan("unattended", 40, -300..300)).await;
    publish(run.clone(), plan("far", 60, 1_200..2_200)).await;
    let absent = Consumer::start(&run, ConsumerPlan::new("absent", "m4").behaving(behaviour));
    run.drain(wall_ms() + 2_300, BACKOFF_MS * 3).await;
    let observed = run.observe_dead_letters(&server).await;
    observed.unwrap_or_else(|error| panic!("{error}"));

    // Published before the crash: due while it lasts, after it, and not within this run.
    publish(run.clone(), plan("waiting", 40, 300..2_000)).await;
    publish(run.clone(), plan("never", 10, 3_600_000..7_200_000)).await;
    let publishers = [0, 1, 2, 3].map(|number| {
        let mut plan = plan(&format!("crash{number}"), 400, 0..300);
        plan.batch_percent = 10;
        tokio::spawn(publish(run.clone(), plan))
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    let killed = run.kill_and_restart(&mut server).await;
    killed.unwrap_or_else(|error| panic!("{error}"));
    for publisher in publishers {
        publisher.await.unwrap_or_else(|error| panic!("{error}"));
    }
    // The same ids as before the crash must still be known, whatever the restart was.
    let stopped = run.restart(&mut server).await;
    stopped.unwrap_or_else(|error| panic!("{error}"));
    publish(run.clone(), plan("calm", 60, -100..400)).await;
    run.drain(wall_ms() + 1_000, BACKOFF_MS * 3).await;
    let observed = run.observe_partitions().await;
    observed.unwrap_or_else(|error| panic!("{error}"));
    for consumer in steady.into_iter().chain([absent]) {
        consumer.stop().await;
    }
    let report = run.report();
    (run, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mutant_the_work_is_clean() {
    let (run, _) = work(None, &[], 61).await;
    let report = run.verify();
    println!("{report}");
    for reason in ["nack", "ack timeout", "member gone", "fault"] {
        assert!(
            report.statistics.redelivered.contains_key(reason),
            "no {reason}: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutant_is_caught_by_its_rule() {
    each_is_caught(MUTANTS, |mutant, number| async move {
        work(Some(mutant), &[], 100 + number).await
    })
    .await;
}

/// Mode `periodic` promises less: what was published in the last second may go with the power, and its
/// offsets are given again. So the power does fail here, and the checker sees it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_synced_is_missed_after_a_loss_of_power() {
    let flags = ["-fsync-mode=periodic", "-flush-interval=1000"];
    // On a slow machine the last second may have nothing in it.
    for seed in 62..66 {
        let (_, report) = work(None, &flags, seed).await;
        let broken = report.broken_rules();
        if broken.contains(&Rule::Lost) || broken.contains(&Rule::Offsets) {
            return;
        }
    }
    panic!("nothing was lost with the power");
}
