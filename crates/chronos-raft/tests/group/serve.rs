//! Whatever bytes arrive, there is an answer, and a group does nothing for strangers.

use std::time::Duration;

use bytes::Bytes;

use crate::cluster::Cluster;

const REFUSED: u8 = 9;

/// A request for a vote in a late term, as `wire` describes it.
fn ask_for_vote(group: u32, from: u64, to: u64) -> Bytes {
    let mut bytes = vec![1, 2];
    bytes.extend(group.to_le_bytes());
    bytes.extend(from.to_le_bytes());
    bytes.extend(to.to_le_bytes());
    bytes.extend(99_u64.to_le_bytes());
    // No entry; the leader handed over.
    bytes.extend([0, 1]);
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_this_group_and_node_is_refused() {
    let cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let term = cluster.group(leader).lead().await.unwrap();
    let group = cluster.group(1);
    for (bytes, why) in [
        (ask_for_vote(5, 2, 3), "not group 5 of node 3"),
        (ask_for_vote(6, 2, 1), "not group 6 of node 1"),
        (ask_for_vote(5, 1, 1), "asks itself"),
        (Bytes::new(), "cut off"),
        (Bytes::from_static(b"GET / HTTP/1.1"), "version"),
    ] {
        let answer = group.serve(bytes).await;
        assert_eq!(answer[..2], [1, REFUSED]);
        let text = String::from_utf8_lossy(&answer[2..]);
        assert!(text.contains(why), "{text}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.group(leader).lead().await, Ok(term));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_has_stopped_answers_so() {
    let mut cluster = Cluster::of_voters(2, 3).await;
    let group = cluster.group(1);
    cluster.stop(1).await;
    let answer = group.serve(ask_for_vote(5, 2, 1)).await;
    assert_eq!(answer[..2], [1, REFUSED]);
    assert!(String::from_utf8_lossy(&answer).contains("stopped"));
}

/// Cuts and flips of a request that would be taken up.
#[tokio::test(start_paused = true)]
async fn damaged_requests_are_answered() {
    let cluster = Cluster::of_voters(3, 3).await;
    cluster.leader().await;
    let group = cluster.group(1);
    let good = ask_for_vote(5, 2, 1);
    for len in 0..good.len() {
        let answer = group.serve(good.slice(..len)).await;
        assert_eq!(answer[..2], [1, REFUSED], "{len} bytes");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let answer = group.serve(bad.into()).await;
        assert_eq!(answer[0], 1, "bit {bit}");
    }
    cluster.write(&[1, 2, 3], 1).await;
    cluster.converge(&[1, 2, 3]).await;
}
