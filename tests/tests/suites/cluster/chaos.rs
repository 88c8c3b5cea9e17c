//! Faults at random: a few in the suite, for as long as `CHRONOS_CHAOS_SECONDS` asks for in `make chaos`.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use chronos_tests::random::Random;

use super::faults::FAULTS;
use super::load::{Load, three_nodes};

/// Faults of one cluster; then its history is checked, and the next one is founded.
const FAULTS_EACH: usize = 4;

fn seconds() -> u64 {
    let asked = env::var("CHRONOS_CHAOS_SECONDS").ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_at_random() {
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut struck: BTreeMap<String, usize> = BTreeMap::new();
    let (mut published, mut delivered, mut acked, mut clusters) = (0, 0, 0, 0);
    while clusters == 0 || Instant::now() < until {
        let seed = crate::seed(200 + clusters);
        let mut random = Random::new(seed);
        let mut cluster = three_nodes().await;
        let load = Load::start(&cluster, seed);
        for _ in 0..FAULTS_EACH {
            let quiet_ms = random.range(200, 2_000);
            tokio::time::sleep(Duration::from_millis(quiet_ms)).await;
            let fault = FAULTS[random.range(0, FAULTS.len() as u64) as usize];
            fault.strike(&mut cluster, &load, &mut random).await;
            *struck.entry(format!("{fault:?}")).or_default() += 1;
            load.observe().await;
        }
        let report = load.finish(&mut cluster).await;
        clusters += 1;
        published += report.statistics.published;
        delivered += report.statistics.delivered;
        acked += report.statistics.acked;
        println!("seed {seed}: {report}");
    }
    println!(
        "{clusters} clusters: {published} publishes, {delivered} deliveries, {acked} acks, faults {struck:?}, 0 violations"
    );
}
