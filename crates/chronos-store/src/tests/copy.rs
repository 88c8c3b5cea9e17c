//! Copying a partition from one store on disk to another.

use super::{all, everything, fresh, settle};
use crate::{Options, RocksStore};
use chronos_core::keys::dedup::stamp_of;
use chronos_core::store::copy::{self, Import};
use chronos_core::store::{Family, Store, WriteBatch};
use std::ops::ControlFlow;

fn key(partition: u32, last: u8) -> Vec<u8> {
    [&partition.to_be_bytes()[..], &[last; 16]].concat()
}

/// Records of partitions 1 to 3 in every family: some in files, some in memory.
fn fill(store: &RocksStore) {
    for number in 1..5_u8 {
        for partition in 1..=3 {
            let pair = (key(partition, number), vec![number; 16]);
            store
                .ingest(Family::Dedup, std::slice::from_ref(&pair))
                .unwrap();
            store.ingest(Family::FarId, &[pair]).unwrap();
            let mut writes = WriteBatch::default();
            for family in Family::ALL {
                if !matches!(family, Family::Dedup | Family::FarId) {
                    writes.put(family, key(partition, number), vec![number; 16]);
                }
            }
            store.write(&writes).unwrap();
        }
        if number == 2 {
            store.flush().unwrap();
        }
    }
}

fn copy_of(from: &RocksStore, to: &RocksStore, partition: u32) {
    let mut import = Import::begin(to.clone(), partition).unwrap();
    copy::visit(from, partition, &mut |family, key, value| {
        import.add(family, key, value).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    import.finish().unwrap();
}

/// Everything but stamps, which are made anew.
fn records(store: &RocksStore) -> Vec<super::Pairs> {
    let mut records = everything(store);
    for pairs in &mut records {
        pairs.retain(|(key, _)| stamp_of(key).is_none());
    }
    records
}

#[test]
fn a_copy_is_complete_and_survives_a_restart() {
    let (_from_folder, from) = fresh();
    let (folder, to) = fresh();
    fill(&from);
    fill(&to);
    let mut other = WriteBatch::default();
    other.put(Family::Run, key(2, 99), vec![9]);
    to.write(&other).unwrap();
    copy_of(&from, &to, 2);
    assert_eq!(records(&to), records(&from));
    drop(to);
    let to = RocksStore::open(folder.path().join("index"), &Options::default()).unwrap();
    settle(&to);
    assert_eq!(records(&to), records(&from));
}

#[test]
fn what_was_cleared_stays_away_and_what_comes_later_is_found() {
    let (folder, store) = fresh();
    fill(&store);
    copy::clear(&store, 2).unwrap();
    let left = |store: &RocksStore| {
        let of = |family| {
            all(store, family)
                .into_iter()
                .filter(|(key, _)| key[3] == 2)
                .count()
        };
        Family::ALL.into_iter().map(of).sum::<usize>()
    };
    assert_eq!(left(&store), 0);
    store
        .ingest(Family::Dedup, &[(key(2, 7), vec![7])])
        .unwrap();
    store
        .ingest(Family::FarId, &[(key(2, 1), vec![7])])
        .unwrap();
    assert_eq!(left(&store), 2);
    store.flush().unwrap();
    drop(store);
    let store = RocksStore::open(folder.path().join("index"), &Options::default()).unwrap();
    settle(&store);
    assert_eq!(left(&store), 2);
    assert_eq!(
        all(&store, Family::Dedup).len(),
        4 + 4 + 1,
        "others keep theirs"
    );
}

#[test]
fn a_visit_sees_one_moment_whatever_is_written_meanwhile() {
    let (_folder, store) = fresh();
    fill(&store);
    let mut seen = 0;
    copy::visit(&store, 2, &mut |family, key, value| {
        seen += 1;
        let mut writes = WriteBatch::default();
        let mut next = key.to_vec();
        next[19] = 0xff;
        writes.put(family, next.clone(), value);
        writes.delete(Family::Meta, key);
        if family != Family::Dedup {
            store.write(&writes).unwrap();
        }
        store.ingest(Family::FarId, &[(next, value)]).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 4 * Family::ALL.len());
}
