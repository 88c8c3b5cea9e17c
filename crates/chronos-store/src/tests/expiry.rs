//! Files of message ids disappear when their time is over.

use super::{all, fresh, settle};
use crate::{Options, RocksStore};
use chronos_core::store::{Family, Store};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

fn ingest(store: &RocksStore, id: &[u8]) {
    store
        .ingest(Family::Dedup, &[(id.to_vec(), vec![0; 1000])])
        .unwrap();
}

/// Makes every file of the store look as if it had been written that long ago.
fn age_files(store: &RocksStore, age: Duration) {
    for entry in fs::read_dir(store.inner.db.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
    }
}

/// A look at the ages at that time from now, whether or not one is due.
fn expire(store: &RocksStore, later: Duration) {
    let turn = store.inner.expiry.turn(&store.inner).unwrap();
    turn.end(SystemTime::now() + later);
    settle(store);
}

#[test]
fn drops_only_the_files_that_are_too_old() {
    let (_folder, store) = fresh();
    let ttl = Options::default().dedup_ttl;
    ingest(&store, b"0000a");
    ingest(&store, b"0000b");
    age_files(&store, ttl);
    ingest(&store, b"0000c");
    ingest(&store, b"0000d");
    assert_eq!(all(&store, Family::Dedup).len(), 4);
    expire(&store, Duration::from_secs(1000));
    let keys: Vec<_> = all(&store, Family::Dedup)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, [b"0000c", b"0000d"]);
}

#[test]
fn new_files_stay_after_old_ones_were_dropped() {
    let (_folder, store) = fresh();
    let ttl = Options::default().dedup_ttl;
    ingest(&store, b"0000a");
    expire(&store, ttl + Duration::from_secs(10));
    assert!(all(&store, Family::Dedup).is_empty());
    for id in [b"0000b", b"0000c", b"0000d"] {
        ingest(&store, id);
        settle(&store);
    }
    assert_eq!(all(&store, Family::Dedup).len(), 3);
}

#[test]
fn nothing_is_dropped_before_its_time() {
    let (_folder, store) = fresh();
    let ttl = Options::default().dedup_ttl;
    ingest(&store, b"0000a");
    expire(&store, ttl - Duration::from_secs(60));
    assert_eq!(all(&store, Family::Dedup).len(), 1);
}
