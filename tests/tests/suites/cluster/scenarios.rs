//! One fault of each kind, under load.

use std::time::Duration;

use chronos_tests::random::Random;

use super::faults::Fault;
use super::load::{Load, three_nodes};

/// How long the load has the cluster for itself before a fault and after it.
const QUIET: Duration = Duration::from_millis(1_500);

async fn survives(fault: Fault, times: usize, seed: u64) {
    let seed = crate::seed(seed);
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, seed);
    let mut random = Random::new(seed);
    for _ in 0..times {
        tokio::time::sleep(QUIET).await;
        fault.strike(&mut cluster, &load, &mut random).await;
        load.observe().await;
    }
    tokio::time::sleep(QUIET).await;
    let report = load.finish(&mut cluster).await;
    println!("{fault:?}: {report}");
    let statistics = &report.statistics;
    assert!(
        statistics.faults >= times && statistics.published > 0 && statistics.acked > 0,
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_dash_9_of_a_leader() {
    survives(Fault::KillLeader, 2, 101).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_dash_9_of_a_follower() {
    survives(Fault::KillFollower, 2, 102).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_dash_9_of_all() {
    survives(Fault::KillAll, 2, 103).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stands_still_and_goes_on() {
    survives(Fault::Pause, 2, 104).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off() {
    survives(Fault::Isolate, 2, 105).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nothing() {
    survives(Fault::Deaf, 1, 106).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_not_heard() {
    survives(Fault::Mute, 1, 107).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart() {
    survives(Fault::Roll, 1, 108).await;
}
