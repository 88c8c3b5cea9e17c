//! Members come, go and change their roles.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_raft::{ChangeError, First, OpenError, RequestKind};

use crate::cluster::Cluster;
use crate::journal::Journal;
use crate::numbered;

#[tokio::test(start_paused = true)]
async fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let mut cluster = Cluster::of_voters(1, 3).await;
    cluster.start(4, First::Wait).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let before = group.members();
    let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();

    assert_eq!(group.set_voters(set(&[])).await, Err(ChangeError::NoVoters));
    let with_stranger = set(&[1, 2, 3, 4]);
    assert_eq!(
        group.set_voters(with_stranger).await,
        Err(ChangeError::NotALearner(4))
    );
    let without_leader = set(&[leader % 3 + 1]);
    assert_eq!(
        group.set_voters(without_leader).await,
        Err(ChangeError::LeaderLeaves)
    );
    assert_eq!(group.remove(leader).await, Err(ChangeError::LeaderLeaves));
    let follower = cluster.group(leader % 3 + 1);
    let not_here = Err(ChangeError::NotLeader {
        leader: Some(leader),
    });
    assert_eq!(follower.add_learner(4).await, not_here);
    assert_eq!(follower.remove(leader).await, not_here);
    assert_eq!(group.members(), before);

    // These are so already.
    group.remove(9).await.unwrap();
    group.add_learner(leader).await.unwrap();
    assert_eq!(group.members(), before);
}

#[tokio::test(start_paused = true)]
async fn the_last_voter_stays() {
    let mut cluster = Cluster::new(1);
    cluster.start(1, First::only(1)).await;
    cluster.leader().await;
    let group = cluster.group(1);
    assert_eq!(group.remove(1).await, Err(ChangeError::NoVoters));
    cluster.write(&[1], 1).await;
}

#[tokio::test(start_paused = true)]
async fn all_voters_may_be_replaced_one_after_the_other() {
    let mut cluster = Cluster::of_voters(2, 3).await;
    for n in 0..20 {
        cluster.write(&[1, 2, 3], n).await;
    }
    let mut voters = BTreeSet::from([1, 2, 3]);
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        let staying = *voters.iter().find(|id| **id != old).unwrap();
        let leader = cluster.leader().await;
        if leader == old {
            cluster.group(old).transfer_lead(staying).await.unwrap();
        }
        cluster.start(new, First::Wait).await;
        let leader = cluster.leader().await;
        let group = cluster.group(leader);
        group.add_learner(new).await.unwrap();
        cluster.converge(&[leader, new]).await;
        voters.remove(&old);
        voters.insert(new);
        group.set_voters(voters.clone()).await.unwrap();
        assert_eq!(group.members().learners, BTreeSet::from([old]));
        group.remove(old).await.unwrap();
        assert_eq!(group.members().learners, BTreeSet::new());
        cluster.stop(old).await;
        cluster.write(&cluster.running(), new * 100).await;
    }
    cluster.converge(&[4, 5, 6]).await;
    assert_eq!(cluster.notes(5).commands().len(), 23);
}

#[tokio::test(start_paused = true)]
async fn members_survive_a_restart_of_all() {
    let mut cluster = Cluster::of_voters(3, 3).await;
    cluster.start(4, First::Wait).await;
    let leader = cluster.leader().await;
    cluster.group(leader).add_learner(4).await.unwrap();
    cluster.write(&[leader], 1).await;
    cluster.converge(&[1, 2, 3, 4]).await;
    for id in cluster.ids() {
        cluster.stop(id).await;
    }
    for id in cluster.ids() {
        cluster.restart(id).await;
    }
    cluster.write(&[1, 2, 3], 2).await;
    cluster.converge(&[1, 2, 3, 4]).await;
    for id in cluster.ids() {
        let members = cluster.group(id).members();
        assert_eq!(members.voters, BTreeSet::from([1, 2, 3]));
        assert_eq!(members.learners, BTreeSet::from([4]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_opens_waits_and_disturbs_nobody() {
    let mut cluster = Cluster::of_voters(4, 3).await;
    let leader = cluster.leader().await;
    let gone = leader % 3 + 1;
    let term = cluster.group(leader).lead().await.unwrap();
    cluster.group(leader).remove(gone).await.unwrap();
    cluster.write(&[leader], 1).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(cluster.group(leader).lead().await, Ok(term));
        assert!(!cluster.group(gone).leadership().get().leads);
        cluster.stop(gone).await;
        cluster.restart(gone).await;
    }
    let leader_group = cluster.group(leader);
    assert_eq!(leader_group.members().voters.len(), 2);
    // It may come back.
    leader_group.add_learner(gone).await.unwrap();
    cluster.converge(&[leader, gone]).await;
    leader_group.set_voters([1, 2, 3].into()).await.unwrap();
    cluster.converge(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_lost_its_leader_in_the_middle_is_completed_by_the_next() {
    let mut cluster = Cluster::of_voters(5, 3).await;
    cluster.start(4, First::Wait).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    group.add_learner(4).await.unwrap();
    cluster.converge(&[1, 2, 3, 4]).await;

    let goal: BTreeSet<u64> = [1, 2, 3, 4].into();
    let (changing, voters) = (group.clone(), goal.clone());
    let change = tokio::spawn(async move { changing.set_voters(voters).await });
    cluster
        .until("the change has begun", || {
            group.members().old_voters.map(|_| ())
        })
        .await;
    // The first step gets away, the second cannot be told to anyone.
    cluster.net.delay(Duration::from_millis(3));
    let others: Vec<_> = [1, 2, 3, 4]
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    cluster
        .until("another has the first step", || {
            let has = |id: &u64| cluster.group(*id).members().old_voters.is_some();
            others.iter().any(has).then_some(())
        })
        .await;
    cluster.net.isolate(&[leader], &[1, 2, 3, 4]);
    let next = cluster.leader_among(&others).await;
    cluster.write(&[next], 1).await;
    cluster.net.heal();
    assert!(change.await.unwrap().is_err());

    let next = cluster.leader().await;
    cluster.group(next).set_voters(goal.clone()).await.unwrap();
    let members = cluster.group(next).members();
    assert_eq!((members.voters, members.old_voters), (goal, None));
    cluster.write(&[1, 2, 3, 4], 2).await;
    cluster.converge(&[1, 2, 3, 4]).await;
}

/// A group that is alone says nothing and wakes nobody; that ends and begins with its members.
#[tokio::test(start_paused = true)]
async fn a_group_without_peers_is_silent() {
    let mut cluster = Cluster::new(6);
    cluster.start(1, First::only(1)).await;
    cluster.start(2, First::Wait).await;
    cluster.leader().await;
    let group = cluster.group(1);
    let sent = |kind| cluster.net.sent(kind);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sent(RequestKind::Vote) + sent(RequestKind::Heartbeat), 0);

    group.add_learner(2).await.unwrap();
    cluster.converge(&[1, 2]).await;
    let before = sent(RequestKind::Heartbeat);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let beats = sent(RequestKind::Heartbeat) - before;
    assert!((25..=45).contains(&beats), "{beats}");

    group.remove(2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sent(RequestKind::Heartbeat);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(sent(RequestKind::Heartbeat), before);
    assert_eq!(sent(RequestKind::Vote), 0);
}

#[tokio::test(start_paused = true)]
async fn the_leader_tells_how_its_peers_keep_up() {
    let cluster = Cluster::of_voters(7, 3).await;
    let leader = cluster.leader().await;
    let (near, far) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let id = cluster.write(&[leader], 1).await;
    cluster.converge(&[1, 2, 3]).await;
    cluster.net.isolate(&[far], &[1, 2, 3]);
    let later = cluster.write(&[leader], 2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let peers = cluster.group(leader).replication().unwrap();
    assert_eq!(peers.len(), 2);
    assert_eq!(peers[&near].matched_index, Some(later.index));
    assert_eq!(peers[&far].matched_index, Some(id.index));
    assert!(peers[&near].heard_ago.unwrap() < Duration::from_secs(1));
    assert!(peers[&far].heard_ago.unwrap() > Duration::from_secs(4));
    let status = cluster.group(leader).status();
    assert_eq!(status.voters, BTreeSet::from([1, 2, 3]));
    assert!(status.quorum_heard_ago.unwrap() < Duration::from_secs(1));
    assert_eq!(cluster.group(near).replication(), None);
    assert_eq!(cluster.group(near).status().quorum_heard_ago, None);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_node_that_heard_of_a_leader_before_its_first_entry_opens_again() {
    let mut cluster = Cluster::of_voters(8, 3).await;
    cluster.start(4, First::Wait).await;
    let leader = cluster.leader().await;
    // It hears that there is a leader, and never gets an entry.
    cluster.stall_disk(4, true);
    cluster.group(leader).add_learner(4).await.unwrap();
    let vote = Cluster::dir().join("raft-vote");
    cluster
        .until("it has heard of the leader", || {
            cluster.files(4).content(&vote).map(|_| ())
        })
        .await;
    cluster.lose_power(4).await;
    cluster.stall_disk(4, false);
    cluster.restart(4).await;
    cluster.converge(&[1, 2, 3, 4]).await;

    // But a log that was there and is gone is found.
    cluster.write(&[1, 2, 3], 1).await;
    cluster.converge(&[1, 2, 3, 4]).await;
    cluster.stop(4).await;
    let files = cluster.files(4);
    for path in files.paths("/log".as_ref()) {
        chronos_wal::Files::remove(&files, &path).unwrap();
    }
    let opened = cluster.start_with(4, First::Wait, Journal::new()).await;
    assert!(
        matches!(opened, Err(OpenError::LogLost { .. })),
        "{opened:?}"
    );
    assert_eq!(cluster.notes(1).commands(), [numbered(1)]);
}
