//! What a machine is given after a restart, and what a group needs to open.

use std::collections::BTreeSet;
use std::fs;

use chronos_raft::{Applied, First, Group, LogId, OpenError, ProposeError, StateFileError};
use futures::future::try_join_all;

use crate::disk::{Disk, NODE};
use crate::journal::{Journal, Notes};
use crate::{numbered, soon};

/// Runs a group that applies the commands `0..count`, and shuts it down.
async fn run(disk: &Disk, count: u64) -> Notes {
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    let futures: Vec<_> = (0..count).map(|n| group.propose(numbered(n))).collect();
    soon(try_join_all(futures)).await.unwrap();
    group.shutdown().await;
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_given_exactly_what_it_missed() {
    let disk = Disk::new();
    let before = run(&disk, 3000).await;
    let last = before.applied();

    for missed in [0_usize, 1, 2500, 3000] {
        let mut applied = last.clone();
        let kept = before.indexes().len() - missed;
        applied.log_id = Some(LogId {
            term: 1,
            index: before.indexes().get(kept).map_or_else(
                || last.log_id.unwrap().index,
                |first_missed| first_missed - 1,
            ),
        });
        let (machine, notes) = Journal::at(applied);
        let group = disk.open(machine).await.unwrap();
        soon(group.lead()).await.unwrap();
        assert_eq!(notes.commands(), before.commands()[kept..]);
        group.shutdown().await;
    }
}

#[tokio::test]
async fn a_shutdown_that_is_given_up_does_no_harm() {
    let disk = Disk::new();
    let group = disk.open(Journal::new().0).await.unwrap();
    soon(group.lead()).await.unwrap();
    {
        let given_up = group.shutdown();
        tokio::pin!(given_up);
        assert!(futures::poll!(given_up).is_pending());
    }
    soon(group.shutdown()).await;
    assert!(soon(group.add_learner(9)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_lost_everything_is_given_everything() {
    let disk = Disk::new();
    let before = run(&disk, 3000).await;

    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();

    assert_eq!(notes.commands(), before.commands());
    assert_eq!(notes.applied().membership, before.applied().membership);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_start_leads_under_a_later_term() {
    let disk = Disk::new();
    let mut applied = run(&disk, 1).await.applied();
    for term in 2..5 {
        let (machine, notes) = Journal::at(applied);
        let group = disk.open(machine).await.unwrap();
        assert_eq!(soon(group.lead()).await.unwrap(), term);
        let id = soon(group.propose(numbered(term))).await.unwrap();
        assert_eq!(id.term, term);
        group.shutdown().await;
        applied = notes.applied();
    }
}

#[test]
fn what_was_acknowledged_survives_a_stop_without_shutdown() {
    let disk = Disk::new();
    let mut acknowledged = 0;
    for round in 0..3 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let wal = disk.wal();
        let group = runtime.block_on(async {
            let (machine, notes) = Journal::new();
            let group = Group::open(disk.options(), wal.clone(), machine, First::only(NODE))
                .await
                .unwrap();
            soon(group.lead()).await.unwrap();
            let found = notes.commands().len() as u64;
            assert!(found >= acknowledged, "round {round}");
            let futures: Vec<_> = (found..found + 500)
                .map(|n| group.propose(numbered(n)))
                .collect();
            soon(try_join_all(futures)).await.unwrap();
            acknowledged = found + 500;
            // These are under way when it ends.
            for n in acknowledged..acknowledged + 500 {
                drop(group.propose(numbered(n)));
            }
            assert!(
                notes
                    .commands()
                    .into_iter()
                    .zip(0..)
                    .all(|(c, n)| c == numbered(n))
            );
            group
        });
        // As close to a kill as a test gets: every task is gone at its next await.
        drop(runtime);
        drop(group);
        // The flusher's threads live on; they must be done before the log is opened again.
        wal.sync().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_leaves_nothing_behind() {
    let disk = Disk::new();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    let stopped = tokio::spawn(group.stopped());
    let clone = group.clone();

    soon(group.shutdown()).await;
    soon(clone.shutdown()).await;

    assert!(notes.machine_is_gone());
    assert_eq!(soon(stopped).await.unwrap(), "it was shut down");
    let refused = soon(group.propose(numbered(1))).await;
    assert!(
        matches!(refused, Err(ProposeError::Stopped(_))),
        "{refused:?}"
    );
    assert!(soon(group.lead()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_vote_is_found() {
    let disk = Disk::new();
    run(&disk, 1).await;
    let path = disk.options().dir.join("raft-vote");
    let mut vote = fs::read(&path).unwrap();
    vote[9] ^= 1;
    fs::write(&path, vote).unwrap();

    let error = disk.open(Journal::new().0).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::StateFile(StateFileError::Damaged { path: at }) if *at == path),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_vote_is_found() {
    let disk = Disk::new();
    run(&disk, 1).await;
    fs::remove_file(disk.options().dir.join("raft-vote")).unwrap();

    let error = disk.open(Journal::new().0).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::VoteBehindLog {
                vote_term: 0,
                last: LogId { term: 1, .. }
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_found() {
    let disk = Disk::new();
    run(&disk, 1).await;
    let other = disk.another();
    let error = Group::open(
        disk.options(),
        other.wal(),
        Journal::new().0,
        First::only(NODE),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, OpenError::LogLost { vote_term: 1 }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_ahead_of_the_log_is_found() {
    let disk = Disk::new();
    let last = run(&disk, 1).await.applied();
    let mut ahead = last.clone();
    ahead.log_id.as_mut().unwrap().index += 1;
    let error = disk.open(Journal::at(ahead).0).await.unwrap_err();
    assert!(
        matches!(error, OpenError::LogBehindMachine { .. }),
        "{error}"
    );

    let mut foreign = last;
    foreign.log_id.as_mut().unwrap().term += 1;
    let error = disk.open(Journal::at(foreign).0).await.unwrap_err();
    assert!(matches!(error, OpenError::Log(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_member_opens_and_does_not_lead() {
    let disk = Disk::new();
    let before = run(&disk, 1).await;
    let mut options = disk.options();
    options.node_id = 99;
    let (machine, notes) = Journal::new();
    let group = Group::open(options, disk.wal(), machine, First::only(99))
        .await
        .unwrap();
    let refused = soon(group.propose(numbered(1))).await;
    assert!(
        matches!(refused, Err(ProposeError::NotLeader { .. })),
        "{refused:?}"
    );
    assert!(!group.leadership().get().leads && !group.holds_lease());
    assert_eq!(group.members().voters, BTreeSet::from([NODE]));
    group.shutdown().await;
    assert!(before.commands().starts_with(&notes.commands()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_note_of_what_is_committed_does_no_harm() {
    let disk = Disk::new();
    let before = run(&disk, 2000).await;
    fs::write(disk.options().dir.join("raft-committed"), "torn").unwrap();

    let (machine, notes) = Journal::at(Applied::default());
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    assert_eq!(notes.commands(), before.commands());
    group.shutdown().await;
}
