//! A group that cannot go on stops, says why, and acknowledges nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use chronos_raft::{First, Group, ProposeError};
use chronos_wal::FsyncMode;
use chronos_wal::faulty::{Fault, FaultyFiles, Operation};
use futures::future::join_all;

use crate::disk::{Disk, NODE};
use crate::journal::{Journal, Trouble};
use crate::{numbered, soon};

async fn a_failing_machine_stops_the_group(trouble: Trouble, text: &str) {
    let disk = Disk::new();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine.with(trouble)).await.unwrap();
    soon(group.lead()).await.unwrap();

    let before = group.propose(numbered(1));
    let bad = group.propose("trouble".into());
    let behind = group.propose(numbered(2));

    assert!(soon(before).await.is_ok());
    assert_eq!(soon(bad).await, Err(ProposeError::Unknown));
    assert_eq!(soon(behind).await, Err(ProposeError::Unknown));
    let reason = soon(group.stopped()).await;
    assert!(reason.contains(text), "{reason}");
    let refused = soon(group.propose(numbered(3))).await;
    assert!(
        matches!(&refused, Err(ProposeError::Stopped(why)) if why.contains(text)),
        "{refused:?}"
    );
    soon(group.shutdown()).await;
    assert_eq!(notes.commands(), [numbered(1)]);

    // Whoever repairs the machine finds the command in the log.
    let (machine, notes) = Journal::at(notes.applied());
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    assert_eq!(notes.commands()[0], "trouble");
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_fails_stops_the_group() {
    a_failing_machine_stops_the_group(Trouble::Error("the index is full"), "the index is full")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_panics_stops_the_group() {
    a_failing_machine_stops_the_group(Trouble::Panic("a bug"), "panicked at entry 3@1: a bug")
        .await;
}

/// Where a test's group gets its files from.
fn faulty() -> (FaultyFiles, Disk) {
    let files = FaultyFiles::new(1);
    let disk = Disk::with(Arc::new(files.clone()));
    (files, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_failed_sync() {
    let (files, disk) = faulty();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    soon(group.propose(numbered(0))).await.unwrap();

    files.fail(Operation::Sync, 1, Fault::Eio);
    let futures: Vec<_> = (1..100).map(|n| group.propose(numbered(n))).collect();
    for result in soon(join_all(futures)).await {
        assert!(
            matches!(
                result,
                Err(ProposeError::Unknown | ProposeError::Stopped(_))
            ),
            "{result:?}"
        );
    }
    // Only the one sync failed, but what it may have lost is lost.
    let reason = soon(group.stopped()).await;
    assert!(reason.contains("failed write"), "{reason}");
    let refused = soon(group.propose(numbered(100))).await;
    assert!(
        matches!(refused, Err(ProposeError::Stopped(_))),
        "{refused:?}"
    );
    soon(group.shutdown()).await;
    assert_eq!(notes.commands(), [numbered(0)]);

    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    assert_eq!(notes.commands()[0], numbered(0));
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_cannot_be_saved_stops_the_group() {
    let (files, disk) = faulty();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    group.shutdown().await;

    let wal = disk.wal();
    files.fail(Operation::Rename, 1, Fault::Eio);
    let (machine, _) = Journal::at(notes.applied());
    let group = Group::open(disk.options(), wal, machine, First::only(NODE))
        .await
        .unwrap();
    assert!(soon(group.lead()).await.is_err());
    let reason = soon(group.stopped()).await;
    assert!(reason.contains("raft-vote"), "{reason}");
    soon(group.shutdown()).await;
}

/// Runs a group until the power goes, and returns the numbers of the commands acknowledged.
async fn run_until_the_power_goes(disk: &Disk, from: u64) -> u64 {
    let mut acknowledged = from;
    let Ok(wal) = disk.try_wal() else {
        return acknowledged;
    };
    let Ok(group) = Group::open(disk.options(), wal, Journal::new().0, First::only(NODE)).await
    else {
        return acknowledged;
    };
    if soon(group.lead()).await.is_ok() {
        let mut next = from;
        let mut under_way = VecDeque::new();
        loop {
            while under_way.len() < 100 {
                under_way.push_back(group.propose(numbered(next)));
                next += 1;
            }
            let Some(first) = under_way.pop_front() else {
                break;
            };
            if soon(first).await.is_err() {
                break;
            }
            acknowledged += 1;
        }
    }
    soon(group.shutdown()).await;
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_power_loss_at_any_moment() {
    for seed in 0..150 {
        let (files, disk) = faulty();
        let mut acknowledged = 0;
        for round in 0..3 {
            files.cut_power_at(1 + (seed * 7 + round * 31) % 97);
            acknowledged = run_until_the_power_goes(&disk, acknowledged).await;
            files.power_loss(seed * 3 + round);

            let (machine, notes) = Journal::new();
            let group = disk.open(machine).await.unwrap();
            soon(group.lead()).await.unwrap();
            let found = notes.commands();
            let kept = found.len() as u64;
            assert!(
                kept >= acknowledged,
                "seed {seed}: {kept} of {acknowledged}"
            );
            assert!(found.into_iter().eq((0..kept).map(numbered)), "seed {seed}");
            acknowledged = kept;
            group.shutdown().await;
        }
    }
}

/// The weaker mode may lose what it acknowledged last, but not open anything else than a start of
/// what was proposed, and not refuse to open.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_loss_between_two_syncs_takes_the_end_and_nothing_else() {
    for seed in 0..50 {
        let (files, mut disk) = faulty();
        disk.fsync = FsyncMode::Periodic;
        let mut from = 0;
        let mut term = 0;
        for round in 0..3 {
            files.cut_power_at(1 + (seed * 7 + round * 31) % 97);
            run_until_the_power_goes(&disk, from).await;
            files.power_loss(seed * 3 + round);

            let (machine, notes) = Journal::new();
            let group = disk.open(machine).await.unwrap();
            let next_term = soon(group.lead()).await.unwrap();
            assert!(next_term > term, "seed {seed}");
            term = next_term;
            let found = notes.commands();
            from = found.len() as u64;
            assert!(found.into_iter().eq((0..from).map(numbered)), "seed {seed}");
            group.shutdown().await;
        }
    }
}
