//! The lead goes over without loss, and quickly.

use std::time::Duration;

use chronos_raft::{ProposeError, TransferError};
use futures::FutureExt;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::numbered;

#[tokio::test(start_paused = true)]
async fn the_lead_goes_over_under_load_and_nothing_acknowledged_is_lost() {
    for seed in 0..5 {
        let cluster = Cluster::of_voters(seed, 3).await;
        cluster.net.delay(Duration::from_millis(1));
        let old = cluster.leader().await;
        let to = old % 3 + 1;
        let group = cluster.group(old);
        let load = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                match group.propose(numbered(n)).await {
                    Ok(_) => acknowledged.push(numbered(n)),
                    Err(ProposeError::Unknown) => {}
                    Err(ProposeError::NotLeader { leader }) => return (acknowledged, leader),
                    Err(stopped) => panic!("{stopped}"),
                }
            }
            (acknowledged, None)
        });
        tokio::time::sleep(Duration::from_millis(500)).await;

        let start = Instant::now();
        cluster.group(old).transfer_lead(to).await.unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_millis(100), "{took:?}");
        let (acknowledged, hint) = load.await.unwrap();
        assert!(acknowledged.len() > 50);
        assert_eq!(hint, Some(to));

        cluster.write(&[to], 1_000_000).await;
        cluster.converge(&[1, 2, 3]).await;
        let all = cluster.notes(to).commands();
        assert!(acknowledged.iter().all(|command| all.contains(command)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_lead_goes_only_to_whom_can_take_it() {
    let cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let (other, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let group = cluster.group(leader);
    group.transfer_lead(leader).await.unwrap();
    assert_eq!(
        group.transfer_lead(9).await,
        Err(TransferError::NotAVoter(9))
    );
    assert_eq!(
        cluster.group(other).transfer_lead(third).await,
        Err(TransferError::NotLeader {
            leader: Some(leader)
        })
    );
    cluster.net.isolate(&[other], &[1, 2, 3]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        group.transfer_lead(other).await,
        Err(TransferError::Behind(other))
    );
    assert!(group.holds_lease(), "nothing was given up");
    cluster.write(&[leader], 1).await;
}

#[tokio::test(start_paused = true)]
async fn if_the_other_does_not_take_over_someone_else_does() {
    let cluster = Cluster::of_voters(2, 3).await;
    let old = cluster.leader().await;
    let (to, third) = (old % 3 + 1, (old + 1) % 3 + 1);
    cluster.net.isolate(&[to], &[1, 2, 3]);
    let group = cluster.group(old);
    let term = group.lead().await.unwrap();
    let lost = group.lost(term);
    assert_eq!(
        group.transfer_lead(to).await,
        Err(TransferError::TimedOut(to))
    );
    let new = cluster.leader_among(&[old, third]).await;
    assert!(cluster.group(new).leadership().get().term > term);
    lost.await;
    cluster.net.heal();
    cluster.write(&[1, 2, 3], 1).await;
    cluster.converge(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_it_and_does_not_wait_costs_nobody_the_lease() {
    let cluster = Cluster::of_voters(3, 3).await;
    let old = cluster.leader().await;
    let to = old % 3 + 1;
    let group = cluster.group(old);
    let unfinished = group.transfer_lead(to).now_or_never();
    assert_eq!(unfinished, None, "it has begun, and is dropped");
    cluster.leader_among(&[to]).await;
    cluster.group(to).transfer_lead(old).await.unwrap();
    let holds = async {
        while !group.holds_lease() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(5), holds).await;
    assert!(held.is_ok(), "it leads and may do nothing");
}
