//! How long it takes until another node delivers, by the clients' own history. `make chaos` prints it.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use chronos_tests::cluster::ClusterProcesses;
use chronos_tests::history::{Moment, Op, Record};
use chronos_tests::patience::eventually;

use super::load::{Load, three_nodes};

/// What one node handed out reaches a client within this; what comes later is another's.
const UNDER_WAY_US: u64 = 100_000;
/// The bound here is generous, for tests of all kinds share the machine. Measured is what is printed.
const BOUND_MS: u64 = 15_000;
const QUIET: Duration = Duration::from_millis(1_500);

/// How many leaders fail; `CHRONOS_TEST_FAILOVERS` asks for more.
fn failovers() -> usize {
    let asked = env::var("CHRONOS_TEST_FAILOVERS").ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or(3)
}

/// For each of the partitions, the time from `since` to the first delivery by another leader.
fn gaps_ms(records: &[Record], since: Moment, partitions: &[i32]) -> BTreeMap<i32, u64> {
    let mut gaps = BTreeMap::new();
    for record in records {
        if let Op::Deliver(delivery) = &record.op
            && partitions.contains(&delivery.event.partition)
            && record.t_ret_us > since.t_us + UNDER_WAY_US
        {
            let gap_ms = (record.t_ret_us - since.t_us) / 1_000;
            let gap = gaps.entry(delivery.event.partition).or_insert(gap_ms);
            *gap = gap_ms.min(*gap);
        }
    }
    gaps
}

/// The longest time in which a partition delivered nothing, from `since` on.
fn longest_silence_ms(records: &[Record], since: Moment, partition: i32) -> u64 {
    let mut times: Vec<u64> = records
        .iter()
        .filter(|it| matches!(&it.op, Op::Deliver(it) if it.event.partition == partition))
        .map(|record| record.t_ret_us)
        .filter(|at_us| *at_us > since.t_us)
        .collect();
    times.sort_unstable();
    let longest_us = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    longest_us.unwrap_or(0) / 1_000
}

/// Waits until every one of the partitions delivers again; how long each took.
async fn delivering_again(load: &Load, since: Moment, led: &[i32]) -> Vec<u64> {
    let gaps = eventually("each partition delivers again", || async {
        let gaps = gaps_ms(&load.run.recorder.records(), since, led);
        (gaps.len() == led.len()).then_some(gaps)
    });
    gaps.await.into_values().collect()
}

fn led_by(leaders: &[usize], node: usize) -> Vec<i32> {
    let partitions = (0_i32..).zip(leaders);
    partitions
        .filter_map(|(partition, leader)| (*leader == node).then_some(partition))
        .collect()
}

/// Kills the node that leads the most; for each of its partitions, how long it took.
async fn kill_a_leader(cluster: &mut ClusterProcesses, load: &Load) -> Vec<u64> {
    let leaders = cluster.settled().await.unwrap();
    let most = |node: &usize| led_by(&leaders, *node).len();
    let victim = (0..cluster.count()).max_by_key(most).unwrap();
    let led = led_by(&leaders, victim);
    let begin = load.run.recorder.now();
    cluster.kill(victim).await.unwrap();
    let gaps = delivering_again(load, begin, &led).await;
    cluster.launch(victim).unwrap();
    cluster.settled().await.unwrap();
    load.run.fault("kill", begin);
    gaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_delivers_soon_after_a_leader_was_killed() {
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, crate::seed(120));
    let mut gaps_ms = Vec::new();
    for _ in 0..failovers() {
        tokio::time::sleep(QUIET).await;
        gaps_ms.extend(kill_a_leader(&mut cluster, &load).await);
    }
    load.finish(&mut cluster).await;
    gaps_ms.sort_unstable();
    let at = |percent| gaps_ms[(gaps_ms.len() - 1) * percent / 100];
    println!(
        "failover of {} leads: p50 {} ms, p99 {} ms, max {} ms",
        gaps_ms.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(100) < BOUND_MS, "{gaps_ms:?}");
}

/// What a client that retries saw of the publishes since a moment: how many had no certain answer,
/// and the longest time from the first call to the answer.
fn publishes(records: &[Record], since: Moment) -> (usize, usize, u64) {
    let mut calls: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut unknown = 0;
    for record in records {
        if let Op::Publish(publish) = &record.op
            && record.t_inv_us >= since.t_us
        {
            let (begun, answered) = calls
                .entry(&publish.id)
                .or_insert((record.t_inv_us, record.t_ret_us));
            *begun = record.t_inv_us.min(*begun);
            *answered = record.t_ret_us.max(*answered);
            unknown += usize::from(publish.reply.is_none());
        }
    }
    let longest_us = calls.values().map(|(begun, end)| end - begun).max();
    (calls.len(), unknown, longest_us.unwrap_or(0) / 1_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_end_hands_its_leads_over() {
    let mut cluster = three_nodes().await;
    let load = Load::start(&cluster, crate::seed(121));
    for node in 0..cluster.count() {
        tokio::time::sleep(QUIET).await;
        let leaders = cluster.settled().await.unwrap();
        let led = led_by(&leaders, node);
        let begin = load.run.recorder.now();
        cluster.stop(node).await.unwrap();
        delivering_again(&load, begin, &led).await;
        let records = load.run.recorder.records();
        let silence = |partition: &i32| longest_silence_ms(&records, begin, *partition);
        let silences_ms: Vec<u64> = led.iter().map(silence).collect();
        let (calls, unknown, longest_ms) = publishes(&records, begin);
        println!(
            "SIGTERM of a node with {} leads: they were silent for {silences_ms:?} ms at the most; {unknown} of {calls} publishes in doubt, the longest took {longest_ms} ms",
            led.len()
        );
        cluster.launch(node).unwrap();
        cluster.settled().await.unwrap();
        load.run.fault("terminate", begin);
        assert!(
            silences_ms.iter().all(|silence| *silence < BOUND_MS),
            "{silences_ms:?}"
        );
    }
    load.finish(&mut cluster).await;
}
