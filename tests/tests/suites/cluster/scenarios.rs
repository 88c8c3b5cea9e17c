//! One fault of each kind, under load.

use std::time::Duration;

use chronos_tests::cluster::ClusterProcesses;
use chronos_tests::patience::within;
use chronos_tests::random::Random;

use super::faults::{Fault, kill};
use super::load::{Load, three_nodes};
use crate::schedule::races::Races;

/// How long the load has the cluster for itself before a fault and after it.
const QUIET: Duration = Duration::from_millis(1_500);

/// For how long copies are made for a node that replaces another one.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

async fn survives(fault: Fault, times: usize, seed: u64) {
    survives_on(three_nodes().await, fault, times, seed).await;
}

/// Strikes a cluster under load so many times; the history has to be clean.
pub async fn survives_on(mut cluster: ClusterProcesses, fault: Fault, times: usize, seed: u64) {
    let seed = crate::seed(seed);
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
async fn cancels_and_moves_have_an_order_through_failovers() {
    let seed = crate::seed(109);
    let mut cluster = three_nodes().await;
    let mut random = Random::new(seed);
    let mut races = Races::start(cluster.client(0).clone(), seed);
    for victim in [1, 0, 2] {
        // While one node is down, calls go by way of another.
        races.go_to(cluster.client((victim + 1) % cluster.count()).clone());
        let racing = races.race(200);
        let pause_ms = random.range(50, 400);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        cluster.kill(victim).await.unwrap();
        racing.await.unwrap();
        cluster.start_all().await.unwrap();
    }
    races.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_disk_takes_the_place_of_a_lost_one() {
    let seed = crate::seed(110);
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, seed);
    tokio::time::sleep(QUIET).await;
    let victim = cluster.settled().await.unwrap()[0];
    let begin = load.run.recorder.now();
    cluster.wipe(victim).await.unwrap();
    cluster.settled().await.unwrap();
    cluster.launch(victim).unwrap();
    cluster.settled().await.unwrap();
    let other = (victim + 1) % cluster.count();
    let complete = within(REPLACED_WITHIN, || async {
        let leaders = cluster.leaders_by(other).await?;
        let is_complete = cluster.is_complete_by(other).await?;
        (is_complete && leaders.contains(&victim)).then_some(())
    });
    assert!(complete.await.is_some(), "{}", cluster.logs());
    load.run.fault("wipe", begin);
    // It applies its catalog anew, which has its replicas elsewhere at first, and keeps them.
    kill(&mut cluster, victim, &mut Random::new(seed)).await;
    cluster.settled().await.unwrap();
    let log = cluster.node(victim).log();
    assert!(!log.contains("the replica went to another node"), "{log}");
    load.run.fault("kill", begin);
    // Every event is on the new disk as well, or another node could not be missing now.
    Fault::KillLeader
        .strike(&mut cluster, &load, &mut Random::new(seed))
        .await;
    let report = load.finish(&mut cluster).await;
    println!("replaced: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart() {
    survives(Fault::Roll, 1, 108).await;
}
