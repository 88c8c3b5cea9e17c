//! A leader that stood still while another one took over: what it had handed out before stays with it.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_tests::client::{Client, event, event_of, subscription};
use chronos_tests::routing;
use tonic::transport::Endpoint;

use super::load::{PARTITIONS, three_nodes};

const EVENTS: usize = 600;
const PAYLOAD_BYTES: usize = 4_000;
/// What a client takes before it reads.
const WINDOW_BYTES: u32 = 512 << 10;
/// What the transport may have taken and not yet sent when the process was stopped: it encodes
/// some events ahead. A window has room for several times as many.
const TAKEN_BEFORE: usize = 24;
const SILENCE: Duration = Duration::from_secs(1);

/// A client that takes no more than a window before it reads.
fn slow_client(address: &str) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    Client::new(endpoint.connect_lazy())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_leader_that_wakes_up_delivers_nothing_that_it_had_queued() {
    let mut cluster = three_nodes().await;
    let leaders = cluster.settled().await.unwrap();
    let old = leaders[0];
    let other = (old + 1) % cluster.count();
    let keys = (0..).map(|number| format!("key {number}"));
    let mut keys = keys.filter(|key| routing::partition(key, "", PARTITIONS) == 0);
    let key = keys.next().unwrap();

    let slow = slow_client(&cluster.node(old).address());
    let mut request = subscription("g", "slow", "t");
    request.partition_id = 0;
    let mut stalled = slow.subscribe(request.clone()).await.unwrap();
    for part in 0..4 {
        let batch = (0..EVENTS / 4).map(|number| {
            let mut event = event(&format!("{part}/{number}"), "t");
            event.payload = vec![7; PAYLOAD_BYTES].into();
            event.meta.insert("partition_key".into(), key.clone());
            event
        });
        let answer = cluster.client(old).publish_batch(batch.collect()).await;
        assert!(answer.unwrap().success);
    }
    // One is read, so the rest was handed out to this member as well.
    let first = stalled.next().await;
    assert_eq!(event_of(&first).partition_id, 0);

    cluster.pause(old).await.unwrap();
    // What was sent before is read, so that the window is open when the process goes on.
    while stalled.within(SILENCE).await.is_some() {}
    cluster.settled().await.unwrap();
    request.subscription_id = "quick".into();
    let mut quick = cluster.client(other).subscribe(request).await.unwrap();
    let mut acks = cluster.client(other).acks().await.unwrap();
    let mut settled = BTreeSet::new();
    while settled.len() < EVENTS {
        let delivery = quick.next().await;
        assert!(acks.settle(&delivery, true).await.success);
        settled.insert(event_of(&delivery).offset);
    }

    cluster.resume(old).await.unwrap();
    let mut late = 0;
    while let Some(Ok(_)) = stalled.within(SILENCE).await {
        late += 1;
    }
    assert!(
        late <= TAKEN_BEFORE,
        "{late} of {EVENTS} came after their acks"
    );
}
