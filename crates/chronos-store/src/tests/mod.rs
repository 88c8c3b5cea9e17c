//! Tests of the whole store.

mod copy;
mod expiry;
mod failure;
mod model;
mod open;
mod reads;

use crate::{Options, RocksStore};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use chronos_core::store::{Family, Store};

/// A store in a folder of its own, and the folder.
fn fresh() -> (tempfile::TempDir, RocksStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = RocksStore::open(folder.path().join("index"), &Options::default()).unwrap();
    (folder, store)
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything in a family, for keys that start below 0xff.
fn all(store: &impl Store, family: Family) -> Pairs {
    let mut pairs = Vec::new();
    store
        .scan(family, &[], &[0xff], &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    pairs
}

fn everything(store: &impl Store) -> Vec<Pairs> {
    Family::ALL
        .iter()
        .map(|family| all(store, *family))
        .collect()
}

/// Waits until nothing runs in the background, so that the folder holds still.
fn settle(store: &RocksStore) {
    store
        .inner
        .db
        .wait_for_compact(&rocksdb::WaitForCompactOptions::default())
        .unwrap();
}

/// What a crash now would leave behind, opened.
fn crash(store: &RocksStore, options: &Options) -> (tempfile::TempDir, RocksStore) {
    settle(store);
    let folder = tempfile::tempdir().unwrap();
    copy(store.inner.db.path(), folder.path());
    let crashed = RocksStore::open(folder.path(), options).unwrap();
    (folder, crashed)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
