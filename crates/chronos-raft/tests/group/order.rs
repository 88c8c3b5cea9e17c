//! The order of calls is the order of the log, and everyone is answered.

use bytes::Bytes;
use chronos_raft::{First, Group};
use futures::future::try_join_all;

use crate::disk::{Disk, NODE};
use crate::journal::Journal;
use crate::{numbered, soon};

#[tokio::test(flavor = "multi_thread")]
async fn proposals_under_way_together_are_applied_in_the_order_of_the_calls() {
    let disk = Disk::new();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    assert_eq!(soon(group.lead()).await.unwrap(), 1);

    let futures: Vec<_> = (0..10_000).map(|n| group.propose(numbered(n))).collect();
    let ids = soon(try_join_all(futures)).await.unwrap();

    assert!(ids.is_sorted_by(|a, b| a.index + 1 == b.index));
    assert!(notes.commands().into_iter().eq((0..10_000).map(numbered)));
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_delays_and_keeps_the_order() {
    let disk = Disk::new();
    let (machine, notes) = Journal::new();
    let mut options = disk.options();
    options.queue = 3;
    let group = Group::open(options, disk.wal(), machine, First::only(NODE))
        .await
        .unwrap();
    soon(group.lead()).await.unwrap();

    let futures: Vec<_> = (0..1000).map(|n| group.propose(numbered(n))).collect();
    soon(try_join_all(futures)).await.unwrap();

    assert!(notes.commands().into_iter().eq((0..1000).map(numbered)));
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_whose_future_is_dropped_is_applied_all_the_same() {
    let disk = Disk::new();
    let (machine, notes) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();

    drop(group.propose(numbered(1)));
    soon(group.propose(numbered(2))).await.unwrap();

    assert_eq!(notes.commands(), [numbered(1), numbered(2)]);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_record_is_the_command() {
    let disk = Disk::new();
    let (machine, _) = Journal::new();
    let wal = disk.wal();
    let group = Group::open(disk.options(), wal.clone(), machine, First::only(NODE))
        .await
        .unwrap();
    soon(group.lead()).await.unwrap();

    let large = Bytes::from(vec![42; 4 << 20]);
    let empty = soon(group.propose(Bytes::new())).await.unwrap();
    let large_id = soon(group.propose(large.clone())).await.unwrap();

    assert!(wal.read(empty.index).unwrap().unwrap().body.is_empty());
    assert_eq!(wal.read(large_id.index).unwrap().unwrap().body, large);
    let part = wal.read_body_at(large_id.index, 1 << 20, 100).unwrap();
    assert_eq!(part, large.slice(..100));
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_on_one_flusher_do_not_mix() {
    let disks: Vec<_> = {
        let first = Disk::new();
        let others: Vec<_> = (1..8).map(|_| first.another()).collect();
        std::iter::once(first).chain(others).collect()
    };
    let mut groups = Vec::new();
    for disk in &disks {
        let (machine, notes) = Journal::new();
        groups.push((disk.open(machine).await.unwrap(), notes));
    }
    for (group, _) in &groups {
        soon(group.lead()).await.unwrap();
    }
    let futures: Vec<_> = (0..500)
        .flat_map(|n| {
            groups
                .iter()
                .enumerate()
                .map(move |(g, group)| (n, g, group))
        })
        .map(|(n, g, (group, _))| group.propose(numbered(n * 8 + g as u64)))
        .collect();
    soon(try_join_all(futures)).await.unwrap();
    for (g, (group, notes)) in groups.iter().enumerate() {
        let expected = (0..500).map(|n| numbered(n * 8 + g as u64));
        assert!(notes.commands().into_iter().eq(expected));
        group.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_where_the_group_stands() {
    let disk = Disk::new();
    let (machine, _) = Journal::new();
    let group = disk.open(machine).await.unwrap();
    let term = soon(group.lead()).await.unwrap();
    let last = soon(group.propose(numbered(1))).await.unwrap();
    group.shutdown().await;

    let status = group.status();
    assert_eq!(status.term, term);
    assert_eq!(status.leader, Some(disk.options().node_id));
    assert_eq!(status.last_index, Some(last.index));
    assert_eq!(status.committed_index, Some(last.index));
}
