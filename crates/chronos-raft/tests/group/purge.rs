//! Giving up the log's beginning.

use std::pin::pin;
use std::time::Duration;

use chronos_raft::{Applied, First, Group, LogId, OpenError};
use chronos_wal::Wal;
use futures::future::try_join_all;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::disk::{Disk, NODE};
use crate::journal::{Journal, Notes};
use crate::{numbered, soon};

/// A log of several segments.
fn disk() -> Disk {
    let mut disk = Disk::new();
    disk.segment_bytes = 64 << 10;
    disk
}

/// Runs a group that applies 3000 commands and gives up everything before `upto`.
async fn run_and_purge(disk: &Disk, upto: u64) -> Notes {
    let (machine, notes) = Journal::new();
    let wal = disk.wal();
    let group = Group::open(disk.options(), wal.clone(), machine, First::only(NODE))
        .await
        .unwrap();
    soon(group.lead()).await.unwrap();
    let futures: Vec<_> = (0..3000).map(|n| group.propose(numbered(n))).collect();
    soon(try_join_all(futures)).await.unwrap();
    soon(group.purge(upto)).await.unwrap();
    // Again, and less: nothing happens.
    soon(group.purge(upto)).await.unwrap();
    soon(group.purge(upto / 2)).await.unwrap();
    remove_below(&wal, upto + 1);
    soon(group.propose(numbered(3000))).await.unwrap();
    drop(wal);
    group.shutdown().await;
    notes
}

fn remove_below(wal: &Wal, index: u64) {
    let before = wal.status().segments.len();
    wal.remove_segments_below(index).unwrap();
    assert!(wal.status().segments.len() < before);
    assert!(wal.first_index().unwrap() <= index);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_log_opens_again_and_goes_on() {
    let disk = disk();
    let mut applied = run_and_purge(&disk, 2000).await.applied();
    for number in 3001..3004 {
        let (machine, notes) = Journal::at(applied);
        let group = disk.open(machine).await.unwrap();
        soon(group.lead()).await.unwrap();
        soon(group.propose(numbered(number))).await.unwrap();
        group.shutdown().await;
        assert_eq!(notes.commands().len(), 1);
        applied = notes.applied();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_missed_is_applied_again_as_long_as_the_log_has_it() {
    let disk = disk();
    let before = run_and_purge(&disk, 2000).await;
    let at = |index| Applied {
        log_id: Some(LogId { term: 1, index }),
        membership: before.applied().membership,
    };
    let (machine, notes) = Journal::at(at(2000));
    let group = disk.open(machine).await.unwrap();
    soon(group.lead()).await.unwrap();
    let kept = before
        .indexes()
        .iter()
        .filter(|index| **index <= 2000)
        .count();
    assert_eq!(notes.commands(), before.commands()[kept..]);
    group.shutdown().await;

    for missing in [at(1999), Applied::default()] {
        let (machine, _) = Journal::at(missing);
        let error = disk.open(machine).await.unwrap_err();
        assert!(
            matches!(error, OpenError::MachineBehindLog { .. }),
            "{error}"
        );
    }
}

/// A leader waits while it sends what is to go to a peer. Who lost the lead meanwhile has nobody to wait for.
#[tokio::test(start_paused = true)]
async fn what_a_leader_put_off_is_given_up_after_it_lost_the_lead() {
    let cluster = Cluster::of_voters(1, 3).await;
    let leader = cluster.leader().await;
    let (other, silent) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.converge(&[1, 2, 3]).await;
    cluster.net.cut_one_way(leader, silent);
    let last = cluster.write(&[leader], 1).await;
    let group = cluster.group(leader);
    let mut purge = pin!(group.purge(last.index));
    let put_off = timeout(Duration::from_millis(50), &mut purge).await;
    assert!(put_off.is_err(), "nobody was waited for");
    group.transfer_lead(other).await.unwrap();
    soon(purge).await.unwrap();
    assert_eq!(group.status().purged_index, Some(last.index));
}
