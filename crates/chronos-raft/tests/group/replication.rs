//! Several voters agree, as long as a majority is there.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_raft::{First, ProposeError};
use futures::future::join_all;

use crate::cluster::Cluster;
use crate::numbered;

#[tokio::test(start_paused = true)]
async fn three_voters_elect_one_leader_and_commit() {
    let cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let term = group.lead().await.unwrap();

    let proposals: Vec<_> = (0..500).map(|n| group.propose(numbered(n))).collect();
    for (n, result) in join_all(proposals).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().term, term, "{n}");
    }
    cluster.converge(&[1, 2, 3]).await;
    assert!(
        cluster
            .notes(1)
            .commands()
            .into_iter()
            .eq((0..500).map(numbered))
    );
    for id in cluster.ids() {
        let lead = cluster.group(id).leadership().get();
        assert_eq!((lead.term, lead.leader), (term, Some(leader)));
        assert_eq!(lead.leads, id == leader);
        assert_eq!(cluster.group(id).holds_lease(), id == leader);
        assert_eq!(
            cluster.group(id).members().voters,
            BTreeSet::from([1, 2, 3])
        );
    }
    let follower = cluster.group(leader % 3 + 1);
    assert_eq!(
        follower.propose(numbered(500)).await,
        Err(ProposeError::NotLeader {
            leader: Some(leader)
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_minority_may_be_gone() {
    let mut cluster = Cluster::of_voters(2, 3).await;
    let leader = cluster.leader().await;
    cluster.stop(leader % 3 + 1).await;
    for n in 0..50 {
        cluster.write(&cluster.running(), n).await;
    }
    cluster.stop(leader).await;
    cluster.restart(leader % 3 + 1).await;
    for n in 50..100 {
        cluster.write(&cluster.running(), n).await;
    }
    cluster.restart(leader).await;
    cluster.converge(&[1, 2, 3]).await;
    assert!(
        cluster
            .notes(leader)
            .commands()
            .into_iter()
            .eq((0..100).map(numbered))
    );
}

#[tokio::test(start_paused = true)]
async fn a_learner_is_added_catches_up_and_becomes_a_voter() {
    let mut cluster = Cluster::new(3);
    cluster.start(1, First::only(1)).await;
    for n in 0..100 {
        cluster.write(&[1], n).await;
    }
    // These wait before anyone has heard of them.
    cluster.start(2, First::Wait).await;
    cluster.start(3, First::Wait).await;
    let group = cluster.group(1);
    group.add_learner(2).await.unwrap();
    group.add_learner(3).await.unwrap();
    assert_eq!(group.members().learners, BTreeSet::from([2, 3]));
    cluster.converge(&[1, 2, 3]).await;
    assert!(!cluster.group(2).leadership().get().leads);

    group.set_voters(BTreeSet::from([1, 2, 3])).await.unwrap();
    let members = group.members();
    assert_eq!(members.voters, BTreeSet::from([1, 2, 3]));
    assert_eq!(members.old_voters, None);

    // The old leader is not needed any more.
    cluster.stop(1).await;
    cluster.write(&[2, 3], 100).await;
    cluster.restart(1).await;
    cluster.converge(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_else_got_is_not_acknowledged_and_can_be_proposed_again() {
    let cluster = Cluster::of_voters(4, 3).await;
    let old = cluster.leader().await;
    cluster.write(&[old], 0).await;
    cluster.net.isolate(&[old], &[1, 2, 3]);
    let lost = cluster.group(old).propose(numbered(1));
    let lost = tokio::spawn(lost);

    let others: Vec<_> = [1, 2, 3].into_iter().filter(|id| *id != old).collect();
    cluster.write(&others, 2).await;
    assert!(!lost.is_finished(), "nobody knows yet");
    let late = cluster.group(old).propose(numbered(3)).await;
    assert!(
        matches!(late, Err(ProposeError::NotLeader { .. })),
        "{late:?}"
    );

    cluster.net.heal();
    let lost = tokio::time::timeout(Duration::from_secs(30), lost).await;
    assert_eq!(lost.unwrap().unwrap(), Err(ProposeError::Unknown));
    cluster.write(&[1, 2, 3], 1).await;
    cluster.converge(&[1, 2, 3]).await;
    let expected = [numbered(0), numbered(2), numbered(1)];
    assert_eq!(cluster.notes(old).commands(), expected);
}
