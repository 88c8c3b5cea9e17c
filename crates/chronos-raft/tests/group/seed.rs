//! Who is too far behind asks for a copy, and goes on from it.

use std::sync::Arc;
use std::time::Duration;

use chronos_raft::{
    First, LogId, OpenError, Seed, SeedError, SeedWanted, forget_positions, give_up_log,
    is_still_wanted, prepare_seed,
};
use chronos_wal::faulty::FaultyFiles;

use crate::cluster::Cluster;
use crate::journal::Journal;

/// Writes 200 commands and gives up the first of them on the leader, which removes segments.
async fn write_and_purge(cluster: &Cluster, leader: u64, from: u64) -> u64 {
    let mut last = None;
    for n in from..from + 200 {
        last = Some(cluster.write(&[leader], n).await.index);
    }
    let upto = last.unwrap() - 20;
    cluster.group(leader).purge(upto).await.unwrap();
    cluster.wal(leader).remove_segments_below(upto + 1).unwrap();
    assert!(cluster.wal(leader).first_index().unwrap() > 0);
    assert_eq!(cluster.group(leader).status().purged_index, Some(upto));
    upto
}

async fn wanted(cluster: &Cluster, id: u64) -> SeedWanted {
    let seeds = Arc::clone(&cluster.seeds);
    cluster
        .until("it asks for a copy", || {
            let mut seeds = seeds.lock().unwrap();
            let at = seeds.iter().position(|(node, _)| *node == id)?;
            Some(seeds.remove(at).1)
        })
        .await
}

/// What the node layer does: closes the group, copies log and state, and opens it again.
async fn copy(cluster: &mut Cluster, wanted: SeedWanted, to: u64) {
    cluster.stop(to).await;
    let (source, target) = (cluster.files(wanted.leader), cluster.files(to));
    for path in target.paths("/log".as_ref()) {
        chronos_wal::Files::remove(&target, &path).unwrap();
    }
    for path in source.paths("/log".as_ref()) {
        target.set_content(&path, source.content(&path).unwrap());
    }
    let applied = cluster.notes(wanted.leader).applied();
    let id = applied.log_id.unwrap();
    let seed = Seed {
        leader: wanted.leader,
        term: wanted.term,
        floor: Some(wanted.floor),
        last: id,
        committed: Some(id),
    };
    prepare_seed(Arc::new(target), Cluster::dir(), &seed).unwrap();
    let machine = Journal::at(applied);
    cluster.start_with(to, First::Wait, machine).await.unwrap();
}

async fn follows_again(cluster: &Cluster, leader: u64, id: u64) {
    let last = cluster.write(&[leader], 1_000_000).await;
    cluster
        .until("it follows again", || {
            let applied = cluster.group(id).status().applied_index;
            (applied == Some(last.index)).then_some(())
        })
        .await;
    let all = cluster.notes(leader).commands();
    assert!(all.ends_with(&cluster.notes(id).commands()));
}

#[tokio::test(start_paused = true)]
async fn a_voter_behind_a_purge_gets_a_copy_and_goes_on() {
    for seed in 0..5 {
        let mut cluster = Cluster::of_voters(seed, 3).await;
        cluster.segment_bytes = 64 << 10;
        let leader = cluster.leader().await;
        let behind = leader % 3 + 1;
        for id in cluster.ids() {
            cluster.stop(id).await;
        }
        for id in cluster.ids() {
            cluster.restart(id).await;
        }
        let leader = {
            cluster.leader().await;
            cluster.stop(behind).await;
            cluster.leader().await
        };
        let upto = write_and_purge_large(&cluster, leader).await;
        cluster.restart(behind).await;
        let wanted = wanted(&cluster, behind).await;
        assert_eq!((wanted.group, wanted.leader), (5, leader));
        assert_eq!(wanted.floor.index, upto);
        // It is asked for again and again, and more is written meanwhile.
        cluster.write(&[leader], 2_000_000).await;
        let wanted = self::wanted(&cluster, behind).await;
        copy(&mut cluster, wanted, behind).await;
        for n in 0..20 {
            cluster.write(&[leader], 3_000_000 + n).await;
        }
        follows_again(&cluster, leader, behind).await;

        // Its vote counts.
        let other = (1..=3).find(|id| ![leader, behind].contains(id)).unwrap();
        cluster.stop(other).await;
        cluster.write(&[leader, behind], 4_000_000).await;
    }
}

/// Large commands, so that there are several segments.
async fn write_and_purge_large(cluster: &Cluster, leader: u64) -> u64 {
    let group = cluster.group(leader);
    for n in 0..40_u8 {
        let large = vec![n; 8 << 10];
        group.propose(large.into()).await.unwrap();
    }
    let upto = write_and_purge(cluster, leader, 0).await;
    assert!(cluster.wal(leader).first_index().unwrap() <= upto + 1);
    upto
}

#[tokio::test(start_paused = true)]
async fn a_new_learner_of_a_purged_log_gets_a_copy() {
    let mut cluster = Cluster::new(1);
    cluster.segment_bytes = 64 << 10;
    cluster.start(1, First::only(1)).await;
    cluster.leader().await;
    write_and_purge_large(&cluster, 1).await;
    cluster.start(2, First::Wait).await;
    cluster.group(1).add_learner(2).await.unwrap();
    let wanted = wanted(&cluster, 2).await;
    copy(&mut cluster, wanted, 2).await;
    follows_again(&cluster, 1, 2).await;
    cluster.group(1).set_voters([1, 2].into()).await.unwrap();
    follows_again(&cluster, 1, 2).await;
}

#[tokio::test(start_paused = true)]
async fn all_of_the_log_may_be_given_up() {
    let mut cluster = Cluster::new(2);
    cluster.start(1, First::only(1)).await;
    let last = cluster.write(&[1], 1).await;
    cluster.group(1).purge(last.index).await.unwrap();
    cluster.start(2, First::Wait).await;
    let group = cluster.group(1);
    group.add_learner(2).await.unwrap();
    let wanted = wanted(&cluster, 2).await;
    assert_eq!(wanted.floor, last);
    copy(&mut cluster, wanted, 2).await;
    follows_again(&cluster, 1, 2).await;
}

/// A copy that breaks off leaves nothing of what the node had acknowledged.
#[tokio::test(start_paused = true)]
async fn a_voter_whose_copy_broke_off_gets_another_one() {
    let mut cluster = Cluster::of_voters(3, 3).await;
    let leader = cluster.leader().await;
    let behind = leader % 3 + 1;
    cluster.write(&[leader, behind], 1).await;
    cluster.stop(behind).await;
    let last = cluster.write(&[leader], 2).await;
    cluster.group(leader).purge(last.index).await.unwrap();
    cluster.restart(behind).await;
    for _ in 0..3 {
        wanted(&cluster, behind).await;
        wipe(&mut cluster, behind).await;
        cluster.restart(behind).await;
    }
    let wanted = wanted(&cluster, behind).await;
    assert_eq!(wanted.leader, leader);
    copy(&mut cluster, wanted, behind).await;
    follows_again(&cluster, leader, behind).await;
}

/// What the node layer does with a replica that is to go: only the vote and the note of its end stay.
async fn wipe(cluster: &mut Cluster, id: u64) {
    let wal = cluster.wal(id);
    cluster.stop(id).await;
    let files = cluster.files(id);
    give_up_log(Arc::new(files.clone()), Cluster::dir(), &wal).unwrap();
    drop(wal);
    for path in files.paths("/log".as_ref()) {
        chronos_wal::Files::remove(&files, &path).unwrap();
    }
    forget_positions(Arc::new(files), Cluster::dir()).unwrap();
}

/// What it had confirmed is not forgotten by somebody who never had it and gets its vote.
#[tokio::test(start_paused = true)]
async fn a_voter_that_gave_its_log_up_elects_nobody_who_has_less() {
    let mut cluster = Cluster::of_voters(4, 3).await;
    let leader = cluster.leader().await;
    let (behind, wiped) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.write(&[leader, behind, wiped], 1).await;
    cluster.stop(behind).await;
    let acknowledged = cluster.write(&[leader, wiped], 2).await;
    wipe(&mut cluster, wiped).await;
    cluster.stop(leader).await;
    cluster.restart(wiped).await;
    cluster.restart(behind).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!cluster.group(behind).leadership().get().leads);
    // Who has it is elected, with the same vote.
    cluster.stop(behind).await;
    cluster.restart(leader).await;
    assert_eq!(cluster.leader_among(&[leader]).await, leader);
    assert!(cluster.group(leader).status().last_index >= Some(acknowledged.index));
}

/// A leader's word that a copy is needed may be old when it is heeded.
#[tokio::test(start_paused = true)]
async fn a_copy_is_not_wanted_any_more_by_who_has_caught_up_or_voted_since() {
    let mut cluster = Cluster::of_voters(5, 3).await;
    let leader = cluster.leader().await;
    let behind = leader % 3 + 1;
    cluster.write(&[leader, behind], 1).await;
    cluster.stop(behind).await;
    let last = cluster.write(&[leader], 2).await;
    cluster.group(leader).purge(last.index).await.unwrap();
    cluster.restart(behind).await;
    let wanted = wanted(&cluster, behind).await;
    let wal = cluster.wal(behind);
    cluster.stop(behind).await;
    let files: Arc<dyn chronos_wal::Files> = Arc::new(cluster.files(behind));
    let asks = |wanted: SeedWanted| {
        is_still_wanted(Arc::clone(&files), Cluster::dir(), &wal, &wanted).unwrap()
    };
    assert!(asks(wanted));
    let term = wanted.term - 1;
    assert!(!asks(SeedWanted { term, ..wanted }), "another may lead");
    let floor = LogId {
        index: wal.last_index().unwrap(),
        ..wanted.floor
    };
    assert!(!asks(SeedWanted { floor, ..wanted }), "it has the entry");
    let term = floor.term + 1;
    let another = LogId { term, ..floor };
    let floor = another;
    assert!(asks(SeedWanted { floor, ..wanted }), "it has another entry");
}

const DIR: &str = "/group";

fn seed() -> Seed {
    let at = |term, index| LogId { term, index };
    Seed {
        leader: 3,
        term: 7,
        floor: Some(at(4, 10)),
        last: at(6, 20),
        committed: Some(at(5, 15)),
    }
}

fn vote(files: &FaultyFiles) -> Option<(u64, u64, u8)> {
    let bytes = files.content("/group/raft-vote".as_ref())?;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    Some((number(8), number(16), bytes[24]))
}

fn prepare(files: &FaultyFiles, seed: &Seed) -> Result<(), SeedError> {
    prepare_seed(Arc::new(files.clone()), DIR.into(), seed)
}

#[test]
fn a_vote_is_raised_and_never_forgotten() {
    let files = FaultyFiles::new(1);
    prepare(&files, &seed()).unwrap();
    assert_eq!(vote(&files), Some((7, 3, 0)));
    // The same term: what was voted stays, whoever it was for.
    prepare(
        &files,
        &Seed {
            leader: 4,
            ..seed()
        },
    )
    .unwrap();
    assert_eq!(vote(&files), Some((7, 3, 0)));
    prepare(&files, &Seed { term: 6, ..seed() }).unwrap();
    assert_eq!(vote(&files), Some((7, 3, 0)));
    prepare(&files, &Seed { term: 9, ..seed() }).unwrap();
    assert_eq!(vote(&files), Some((9, 3, 0)));
}

#[test]
fn a_copy_that_contradicts_itself_is_refused() {
    let at = |term, index| Some(LogId { term, index });
    let files = FaultyFiles::new(1);
    let later = Seed { term: 5, ..seed() };
    assert!(matches!(
        prepare(&files, &later),
        Err(SeedError::LaterTerm { term: 5, .. })
    ));
    for bad in [
        Seed {
            floor: at(4, 21),
            ..seed()
        },
        Seed {
            floor: at(7, 10),
            ..seed()
        },
        Seed {
            committed: at(5, 21),
            ..seed()
        },
    ] {
        assert!(matches!(
            prepare(&files, &bad),
            Err(SeedError::Order { .. })
        ));
    }
    assert_eq!(files.paths(DIR.as_ref()).len(), 0, "nothing was written");
}

#[test]
fn a_power_loss_in_the_middle_can_be_repeated() {
    for cut in 1..40 {
        let files = FaultyFiles::new(cut);
        let old = Seed {
            term: 6,
            leader: 1,
            floor: None,
            committed: None,
            ..seed()
        };
        prepare(&files, &old).unwrap();
        files.cut_power_at(cut);
        let prepared = prepare(&files, &seed());
        files.power_loss(cut);
        let known = vote(&files).unwrap();
        assert!([(6, 1, 0), (7, 3, 0)].contains(&known), "{known:?}");
        if prepared.is_ok() {
            assert_eq!(known, (7, 3, 0));
        }
        prepare(&files, &seed()).unwrap();
        assert_eq!(vote(&files), Some((7, 3, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_late_does_not_open_without_its_floor() {
    let mut cluster = Cluster::new(3);
    cluster.segment_bytes = 64 << 10;
    cluster.start(1, First::only(1)).await;
    cluster.leader().await;
    write_and_purge_large(&cluster, 1).await;
    let applied = cluster.notes(1).applied();
    cluster.stop(1).await;
    let files = cluster.files(1);
    chronos_wal::Files::remove(&files, &Cluster::dir().join("raft-floor")).unwrap();
    let machine = Journal::at(applied);
    let opened = cluster.start_with(1, First::Wait, machine).await;
    assert!(matches!(opened, Err(OpenError::Log(_))), "{opened:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
}
