//! What is lost, and found again.

use std::time::Duration;

use chronos_wal::FsyncMode;

use crate::cluster::Cluster;
use crate::numbered;

fn others(leader: u64) -> (u64, u64) {
    (leader % 3 + 1, (leader + 1) % 3 + 1)
}

#[tokio::test(start_paused = true)]
async fn entries_are_acknowledged_when_they_are_on_the_disks_of_a_majority() {
    let mut cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let (slow, gone) = others(leader);
    cluster.stop(gone).await;
    cluster.write(&[leader], 0).await;
    cluster.stall_disk(slow, true);
    let mut proposal = tokio::spawn(cluster.group(leader).propose(numbered(1)));
    let early = tokio::time::timeout(Duration::from_secs(3), &mut proposal).await;
    assert!(early.is_err(), "{early:?}");
    let follower = cluster.group(slow).status();
    assert_eq!(
        follower.applied_index,
        cluster.group(leader).status().applied_index
    );

    cluster.stall_disk(slow, false);
    // The answer counts, however late: the leader led all the time.
    proposal.await.unwrap().unwrap();
    cluster.lose_power(leader).await;
    cluster.restart(gone).await;
    cluster.write(&[slow, gone], 2).await;
    assert_eq!(
        cluster.notes(gone).commands()[..2],
        [numbered(0), numbered(1)]
    );
}

#[tokio::test(start_paused = true)]
async fn votes_are_on_disk_before_they_are_given() {
    for seed in 0..10 {
        let mut cluster = Cluster::of_voters(seed, 3).await;
        let mut terms = 0;
        for _ in 0..3 {
            let leader = cluster.leader().await;
            let term = cluster.group(leader).lead().await.unwrap();
            assert!(term > terms, "seed {seed}: two elections in term {term}");
            terms = term;
            for id in cluster.ids() {
                cluster.lose_power(id).await;
            }
            let voted = |id: &&u64| {
                let files = cluster.files(**id);
                let vote = files.content(&Cluster::dir().join("raft-vote"));
                vote.is_some_and(|bytes| bytes[8..16] == term.to_le_bytes())
            };
            assert!(cluster.ids().iter().filter(voted).count() >= 2);
            for id in cluster.ids() {
                cluster.restart(id).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_uncommitted_end_is_replaced_on_disk_as_well() {
    let mut cluster = Cluster::of_voters(2, 3).await;
    let old = cluster.leader().await;
    cluster.write(&[old], 0).await;
    cluster.converge(&[1, 2, 3]).await;
    cluster.net.isolate(&[old], &[1, 2, 3]);
    let group = cluster.group(old);
    let lost: Vec<_> = (100..120)
        .map(|n| tokio::spawn(group.propose(numbered(n))))
        .collect();
    cluster
        .until("they are on its disk", || {
            let status = group.status();
            let durable = cluster.wal(old).durable_index();
            (durable == status.last_index && durable > Some(15)).then_some(())
        })
        .await;
    let (a, b) = others(old);
    for n in 1..5 {
        cluster.write(&[a, b], n).await;
    }
    // It comes back with the old end.
    cluster.stop(old).await;
    cluster.net.heal();
    cluster.restart(old).await;
    cluster.write(&[1, 2, 3], 5).await;
    cluster.converge(&[1, 2, 3]).await;
    assert!(
        cluster
            .notes(old)
            .commands()
            .into_iter()
            .eq((0..=5).map(numbered))
    );
    for index in 0..=cluster.group(a).status().last_index.unwrap() {
        let record = |id| cluster.wal(id).read(index).unwrap().unwrap();
        assert_eq!(record(old), record(a), "entry {index}");
    }
    for proposal in lost {
        assert!(proposal.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn all_may_lose_power_at_once() {
    for seed in 0..10 {
        let mut cluster = Cluster::of_voters(seed, 3).await;
        for n in 0..30 {
            cluster.write(&[1, 2, 3], n).await;
        }
        for id in cluster.ids() {
            cluster.lose_power(id).await;
        }
        for id in cluster.ids() {
            cluster.restart(id).await;
        }
        cluster.write(&[1, 2, 3], 30).await;
        cluster.converge(&[1, 2, 3]).await;
        let expected = (0..=30).map(numbered);
        assert!(
            cluster.notes(1).commands().into_iter().eq(expected),
            "seed {seed}"
        );
    }
}

/// In the weaker mode a follower may forget what it had acknowledged. It gets it again.
#[tokio::test(start_paused = true)]
async fn a_follower_that_forgot_is_sent_it_again() {
    let mut cluster = Cluster::new(3);
    cluster.fsync = FsyncMode::Periodic;
    for id in 1..=3 {
        let voters = [1, 2, 3].into();
        cluster.start(id, chronos_raft::First::Voters(voters)).await;
    }
    let leader = cluster.leader().await;
    let (forgets, _) = others(leader);
    for n in 0..50 {
        cluster.write(&[leader], n).await;
    }
    cluster.converge(&[1, 2, 3]).await;
    let before = cluster.group(forgets).status().last_index;
    cluster.lose_power(forgets).await;
    cluster.net.isolate(&[forgets], &[1, 2, 3]);
    cluster.restart(forgets).await;
    assert!(cluster.group(forgets).status().last_index < before);
    cluster.net.heal();
    cluster.write(&[1, 2, 3], 50).await;
    cluster.converge(&[1, 2, 3]).await;
    assert!(
        cluster
            .notes(forgets)
            .commands()
            .into_iter()
            .eq((0..=50).map(numbered))
    );
}
