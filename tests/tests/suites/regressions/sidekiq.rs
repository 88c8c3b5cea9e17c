//! Jobs that run late because somebody looks only now and then, or because others are busy.

use super::HOUR_MS;
use crate::serve;
use chronos_proto::cronos_db::SubscribeRequest;
use chronos_tests::client::{event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;

/// sidekiq#2011, #2187 and #2354: a job scheduled in one second ran after fifteen seconds to four
/// minutes, with nothing else to do, because the schedule is polled.
#[tokio::test]
async fn an_idle_node_wakes_when_an_event_is_due() {
    // Less than any of those polls; a busy machine does not stand still for so long.
    const MOST_LATE_MS: i64 = 5_000;
    let (_server, client) = serve(&["-near-window-ms=1000"]).await;
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    // Something far ahead, so that there is a later time to sleep to.
    let far = event_at("far", "t", wall_ms() + HOUR_MS);
    client.publish(far).await.unwrap();
    // In the wheel at once, at its edge, and beyond it.
    for due_in_ms in [1, 400, 1_000, 2_500] {
        let due_ms = wall_ms() + due_in_ms;
        let id = format!("in {due_in_ms}");
        client.publish(event_at(&id, "t", due_ms)).await.unwrap();
        let delivery = deliveries.next().await;
        let late_ms = wall_ms() - due_ms;
        assert_eq!(event_of(&delivery).message_id, id);
        assert!((0..MOST_LATE_MS).contains(&late_ms), "{id}: {late_ms}");
        assert!(delivery.lateness_ms < MOST_LATE_MS, "{delivery:?}");
    }
}

/// sidekiq#6529: every day at the peak all scheduled jobs were 20 to 30 minutes late, because there
/// were too few workers for some of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_daily_peak_holds_up_no_other_group_and_nothing_that_comes_after_it() {
    const PEAK: usize = 20_000;
    let (_server, client) = serve(&[]).await;
    let with_credit = |group, credit| SubscribeRequest {
        max_buffer_size: credit,
        ..subscription(group, "m", "t")
    };
    let mut overloaded = client
        .subscribe(with_credit("overloaded", 1))
        .await
        .unwrap();
    let mut quick = client
        .subscribe(with_credit("quick", 50_000))
        .await
        .unwrap();
    let peak_ms = wall_ms() + 3_000;
    for begin in (0..PEAK).step_by(1_000) {
        let batch = (begin..begin + 1_000).map(|n| event_at(&format!("{n:05}"), "t", peak_ms));
        assert!(client.publish_batch(batch.collect()).await.unwrap().success);
    }
    let after = event_at("after", "t", peak_ms + 200);
    assert!(client.publish(after).await.unwrap().success);
    // The one that is overloaded never answers what it got.
    overloaded.next().await;
    let came = quick.take(PEAK + 1).await;
    assert!(wall_ms() >= peak_ms + 200);
    let came = ids(&came);
    assert!(came[..PEAK].is_sorted() && came[PEAK] == "after");
}
