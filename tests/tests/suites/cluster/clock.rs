//! A node whose clock is wrong.

use std::time::Duration;

use chronos_tests::patience::eventually;

use super::load::{Load, three_nodes_with};

/// The node that is wrong, and by how much: it would deliver half a minute early.
const WRONG: usize = 1;
const OFF_BY: (&str, &str) = ("CHRONOS_CLOCK_OFF_BY_MS", "30000");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_off_leads_nothing_and_delivers_nothing() {
    let wrong = |node| match node {
        WRONG => vec![OFF_BY],
        _ => vec![],
    };
    let mut cluster = three_nodes_with(&["-clock-skew-threshold-ms=2000"], wrong).await;
    // At its first pulses it hears that it is off; then others lead what it led.
    eventually("others lead", || async {
        let leaders = cluster.leaders_by(0).await?;
        (!leaders.contains(&WRONG)).then_some(())
    })
    .await;
    eventually("its metric tells", || async {
        let skew = cluster.node(WRONG).metric("cronos_clock_skew_ms").await;
        ((skew.ok()? - 30_000.0).abs() < 2_000.0).then_some(())
    })
    .await;

    // Nothing that clients see is early, whichever node they ask.
    let load = Load::start(&cluster, crate::seed(130));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let report = load.finish(&mut cluster).await;
    assert!(report.statistics.acked > 0, "{report}");
    // An election may have given it a lead for a moment.
    eventually("others lead again", || async {
        let leaders = cluster.leaders_by(0).await?;
        (!leaders.contains(&WRONG)).then_some(())
    })
    .await;
}
