//! No two nodes hold the lease at the same time, whatever happens.

use std::time::Duration;

use chronos_raft::First;

use crate::cluster::Cluster;
use crate::numbered;

impl Cluster {
    /// The nodes that believe to hold the lease, of which there may be one.
    fn holders(&self) -> Vec<u64> {
        let running = self.running().into_iter();
        running.filter(|id| self.group(*id).holds_lease()).collect()
    }

    /// Lets time pass, and looks at every millisecond of it. Returns who held the lease last.
    async fn watch_lease(&self, time: Duration) -> Option<u64> {
        let mut holder = None;
        for _ in 0..time.as_millis() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let holders = self.holders();
            assert!(holders.len() <= 1, "{holders:?} hold the lease");
            holder = holders.first().copied().or(holder);
        }
        holder
    }
}

fn others(leader: u64) -> (u64, u64) {
    (leader % 3 + 1, (leader + 1) % 3 + 1)
}

#[tokio::test(start_paused = true)]
async fn an_isolated_leader_loses_the_lease_before_another_can_lead() {
    for seed in 0..10 {
        let cluster = Cluster::of_voters(seed, 3).await;
        let old = cluster.leader().await;
        cluster.net.isolate(&[old], &[1, 2, 3]);
        // A new leader is there within two and a half seconds.
        let new = cluster.watch_lease(Duration::from_millis(2500)).await;
        let new = new.filter(|new| *new != old).unwrap();
        assert!(cluster.group(new).holds_lease(), "seed {seed}");
        cluster.net.heal();
        let after = cluster.watch_lease(Duration::from_secs(4)).await;
        assert_eq!(after, Some(new), "seed {seed}: a return disturbs nobody");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_heard_but_hears_nothing_does_not_hold_the_lease() {
    let cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let (a, b) = others(leader);
    cluster.net.cut_one_way(a, leader);
    cluster.net.cut_one_way(b, leader);
    tokio::time::sleep(cluster.options(leader).lease()).await;
    assert!(!cluster.group(leader).holds_lease());
    // It falls silent, so that others can elect one whom all hear of.
    let new = cluster.watch_lease(Duration::from_secs(4)).await;
    assert!([a, b].map(Some).contains(&new), "{new:?}");
    assert!(cluster.group(leader).propose(numbered(1)).await.is_err());
    let elected = cluster.group(new.unwrap());
    elected.propose(numbered(2)).await.unwrap();
    cluster.net.heal();
    let after = cluster.watch_lease(Duration::from_secs(8)).await;
    assert_eq!(after, new, "a return disturbs nobody");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_stopped_finds_its_lease_over() {
    let cluster = Cluster::of_voters(2, 3).await;
    let leader = cluster.leader().await;
    // So that no answer is there right after.
    cluster.net.delay(Duration::from_millis(20));
    cluster.watch_lease(Duration::from_secs(1)).await;
    let group = cluster.group(leader);
    assert!(group.holds_lease());
    let lease = cluster.options(leader).lease();
    tokio::time::advance(lease + Duration::from_millis(1)).await;
    assert!(!group.holds_lease());
    // The others stood still as well, so it may lead on once they say so.
    cluster.leader().await;
}

/// The voter that makes the majority restarts at once and has forgotten whom it had heard of,
/// while the third voter has long wanted an election.
#[tokio::test(start_paused = true)]
async fn a_voter_that_restarts_keeps_to_the_lease_it_gave() {
    for seed in 0..20 {
        let mut cluster = Cluster::of_voters(seed, 3).await;
        let old = cluster.leader().await;
        let (witness, rival) = others(old);
        cluster.net.isolate(&[rival], &[1, 2, 3]);
        cluster.watch_lease(Duration::from_secs(3)).await;
        assert!(cluster.group(old).holds_lease());

        cluster.net.heal();
        cluster.net.isolate(&[old], &[1, 2, 3]);
        cluster.stop(witness).await;
        cluster.restart(witness).await;
        let new = cluster.watch_lease(Duration::from_secs(5)).await.unwrap();
        assert_ne!(new, old, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn handing_over_gives_the_lease_up_first() {
    for seed in 0..10 {
        let cluster = Cluster::of_voters(seed, 3).await;
        let old = cluster.leader().await;
        let (to, third) = others(old);
        cluster.net.delay(Duration::from_millis(5));
        cluster.watch_lease(Duration::from_millis(300)).await;
        assert!(cluster.group(old).holds_lease());
        let group = cluster.group(old);
        let transfer = tokio::spawn(async move { group.transfer_lead(to).await });
        if seed % 2 == 1 {
            // The old leader is not told that another was elected.
            cluster.net.cut_one_way(to, old);
            cluster.net.cut_one_way(third, old);
        }
        let new = cluster.watch_lease(Duration::from_secs(1)).await;
        assert_eq!(new, Some(to), "seed {seed}");
        cluster.net.heal();
        transfer.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_voter_needs_nobody() {
    let mut cluster = Cluster::new(1);
    cluster.start(1, First::only(1)).await;
    cluster.leader().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.group(1).holds_lease());
    let group = cluster.group(1);
    cluster.stop(1).await;
    assert!(!group.holds_lease());
}

/// It rests on one node's answers as soon as that node has a vote, and no more after.
#[tokio::test(start_paused = true)]
async fn the_lease_goes_with_the_voters() {
    let mut cluster = Cluster::new(1);
    cluster.start(1, First::only(1)).await;
    cluster.start(2, First::Wait).await;
    cluster.leader().await;
    let group = cluster.group(1);
    group.add_learner(2).await.unwrap();
    cluster.net.isolate(&[1], &[1, 2]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(group.holds_lease(), "a learner has no say");

    cluster.net.heal();
    cluster.converge(&[1, 2]).await;
    group.set_voters([1, 2].into()).await.unwrap();
    cluster.leader_among(&[1]).await;
    cluster.net.isolate(&[1], &[1, 2]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!group.holds_lease());
}

/// Who could be elected lacks the vote of the leader that fell silent, because its own log is shorter.
#[tokio::test(start_paused = true)]
async fn a_silent_leader_leads_on_when_nobody_else_can() {
    let mut cluster = Cluster::of_voters(3, 3).await;
    let leader = cluster.leader().await;
    let (a, b) = others(leader);
    cluster.net.isolate(&[a], &[1, 2, 3]);
    cluster.group(leader).propose(numbered(1)).await.unwrap();
    cluster.stop(b).await;
    // Alone for long enough to fall silent.
    assert_eq!(
        cluster.watch_lease(Duration::from_secs(4)).await,
        Some(leader)
    );
    cluster.net.heal();
    let after = cluster.watch_lease(Duration::from_secs(12)).await;
    assert_eq!(after, Some(leader));
    cluster.group(leader).propose(numbered(2)).await.unwrap();
}
