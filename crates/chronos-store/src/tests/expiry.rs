//! Files of message ids disappear when their ids are forgotten, and not before.

use super::{all, fresh, settle};
use crate::{Options, RocksStore};
use chronos_core::command::publish::{Builder as Events, NewEvent};
use chronos_core::command::{Builder, Kind};
use chronos_core::keys::dedup::{key, stamp, stamp_of};
use chronos_core::partition::{LogPosition, Partition};
use chronos_core::store::{Family, Store, copy};
use chronos_core::types::DueKey;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

/// A file with one id of a partition.
fn ingest(store: &RocksStore, partition: u32, id: u128, newest_ms: i64) {
    let pairs = [stamp(partition, newest_ms), key(partition, id << 64)].map(|key| (key, [0; 1000]));
    store.ingest(Family::Dedup, &pairs).unwrap();
}

/// The ids that are left, by partition and number.
fn left(store: &RocksStore) -> Vec<(u8, u8)> {
    settle(store);
    let ids = all(store, Family::Dedup).into_iter();
    ids.filter(|(key, _)| stamp_of(key).is_none())
        .map(|(key, _)| (key[3], key[11]))
        .collect()
}

fn forget(store: &RocksStore, upto_ms: i64) {
    store.drop_forgotten_ids(|_| Some(upto_ms)).unwrap();
}

#[test]
fn drops_only_the_files_whose_ids_are_all_forgotten() {
    let (_folder, store) = fresh();
    for (id, newest_ms) in [(1, 100), (2, 200), (3, 300), (4, 400)] {
        ingest(&store, 0, id, newest_ms);
    }
    forget(&store, 99);
    assert_eq!(left(&store).len(), 4);
    forget(&store, 200);
    assert_eq!(left(&store), [(0, 3), (0, 4)]);
    forget(&store, 200);
    assert_eq!(left(&store), [(0, 3), (0, 4)]);
}

#[test]
fn new_files_stay_after_old_ones_were_dropped() {
    let (_folder, store) = fresh();
    ingest(&store, 0, 1, 100);
    forget(&store, 100);
    assert!(left(&store).is_empty());
    for id in 2..5 {
        ingest(&store, 0, id, 200);
        settle(&store);
    }
    assert_eq!(left(&store).len(), 3);
}

#[test]
fn each_partition_forgets_by_its_own_log() {
    let (_folder, store) = fresh();
    for (partition, id) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
        ingest(&store, partition, id, 100);
    }
    // What partition 2 needs keeps what came after it: an older file never outlives a newer one.
    store
        .drop_forgotten_ids(|partition| (partition != 2).then_some(1_000))
        .unwrap();
    assert_eq!(left(&store), [(1, 3), (2, 2), (3, 4)]);
    store
        .drop_forgotten_ids(|partition| (partition != 3).then_some(1_000))
        .unwrap();
    assert_eq!(left(&store), [(3, 4)]);
}

#[test]
fn a_partition_that_was_cleared_holds_nothing_up() {
    let (folder, store) = fresh();
    ingest(&store, 1, 1, 100);
    copy::clear(&store, 1).unwrap();
    store.flush().unwrap();
    ingest(&store, 2, 2, 100);
    ingest(&store, 2, 3, 300);
    drop(store);
    let store = RocksStore::open(folder.path().join("index"), &Options::default()).unwrap();
    // Nobody knows partition 1 any more.
    store
        .drop_forgotten_ids(|partition| Some(if partition == 2 { 200 } else { i64::MAX }))
        .unwrap();
    assert_eq!(left(&store), [(2, 3)]);
}

/// A replica of partition 3 with a store on disk.
struct Replica {
    partition: Partition<RocksStore>,
    store: RocksStore,
    folder: tempfile::TempDir,
}

impl Replica {
    fn new() -> Self {
        let (folder, store) = fresh();
        Self {
            partition: Partition::open(3, store.clone()).unwrap(),
            store,
            folder,
        }
    }

    /// Publishes an event with this id; whether it was accepted.
    fn publish(&mut self, index: u64, id: &str, now_ms: i64) -> bool {
        let mut events = Events::new(1, 0);
        events.push(NewEvent {
            schedule_ms: now_ms,
            body: id.as_bytes(),
            id: (0, id.len() as u8),
            topic: (0, 0),
            allow_duplicate: false,
        });
        let mut builder = Builder::new(0);
        builder.push(Kind::Publish, &events.finish(TTL_MS as u64));
        let body = builder.finish(now_ms, 0, 1);
        let position = LogPosition { term: 1, index };
        let effects = self.partition.apply(position, &body).unwrap();
        effects.batch.is_some()
    }

    fn checkpoint(&mut self) {
        let checkpoint = self.partition.begin_checkpoint(&[], DueKey::MIN).unwrap();
        checkpoint.write(&self.store).unwrap();
        self.store.flush().unwrap();
        self.partition.finish_checkpoint();
        let forgotten_ms = self.partition.saved_forgotten_ms();
        self.store
            .drop_forgotten_ids(|_| Some(forgotten_ms))
            .unwrap();
        settle(&self.store);
    }

    /// Starts again with files that look as if they had been written that long ago.
    fn restart_after(self, time: Duration) -> Self {
        let path = self.store.inner.db.path().to_owned();
        drop((self.partition, self.store));
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                let file = File::options().write(true).open(path).unwrap();
                file.set_modified(SystemTime::now() - time).unwrap();
            }
        }
        let store = RocksStore::open(&path, &Options::default()).unwrap();
        Self {
            partition: Partition::open(3, store.clone()).unwrap(),
            store,
            folder: self.folder,
        }
    }
}

const DAY_MS: i64 = 86_400_000;
const TTL_MS: i64 = 7 * DAY_MS;

#[test]
fn a_replica_that_was_down_for_long_decides_about_duplicates_as_the_others_did() {
    // Ids and times of the log: duplicates within the time that ids are remembered, and after it.
    let log: Vec<(&str, i64)> = vec![
        ("a", 0),
        ("b", DAY_MS),
        ("x", 2 * DAY_MS),
        ("a", 6 * DAY_MS),
        ("y", 7 * DAY_MS),
        ("b", 7 * DAY_MS),
        ("a", 30 * DAY_MS),
        ("b", 31 * DAY_MS),
    ];
    let (mut steady, mut late) = (Replica::new(), Replica::new());
    let mut outcomes = Vec::new();
    for (index, (id, now_ms)) in (1..).zip(&log) {
        outcomes.push(steady.publish(index, id, *now_ms));
        steady.checkpoint();
    }
    for (index, (id, now_ms)) in (1..).zip(&log) {
        assert_eq!(
            late.publish(index, id, *now_ms),
            outcomes[index as usize - 1],
            "entry {index}"
        );
        late.checkpoint();
        if index == 3 {
            late = late.restart_after(Duration::from_secs(60 * 86_400));
        }
    }
    assert_eq!(outcomes, [true, true, true, false, true, false, true, true]);
    // In the end what is forgotten is gone.
    let ids = |replica: &Replica| left(&replica.store).len();
    assert_eq!((ids(&steady), ids(&late)), (2, 2));
}
