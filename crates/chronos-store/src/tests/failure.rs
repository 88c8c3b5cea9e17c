//! A disk that stops working.

use super::fresh;
use crate::{Options, RocksStore};
use chronos_core::store::{Family, Store, StoreError, WriteBatch};
use std::fs;

fn some_kilobytes(n: u32) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(Family::Chunk, n.to_be_bytes(), vec![0; 10_000]);
    batch
}

#[test]
fn a_failed_flush_is_reported_and_ends_all_writing() {
    let (folder, store) = fresh();
    store.write(&some_kilobytes(1)).unwrap();
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    assert!(matches!(store.flush(), Err(StoreError::Engine(_))));
    assert!(store.write(&some_kilobytes(2)).is_err());
    assert!(store.flush().is_err());
    let pair = (b"0000id".to_vec(), vec![]);
    assert!(store.ingest(Family::Dedup, &[pair]).is_err());
    assert!(
        store
            .get(Family::Chunk, &1u32.to_be_bytes())
            .unwrap()
            .is_some(),
        "reads go on"
    );
}

#[test]
fn a_failure_in_the_background_reaches_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        write_buffer_bytes: 1 << 20,
        ..Options::default()
    };
    let path = folder.path().join("index");
    let store = RocksStore::open(&path, &options).unwrap();
    fs::remove_dir_all(&path).unwrap();
    // Memtables hold a few megabytes; writes stop when they cannot be flushed.
    let failed = (0..10_000).any(|n| store.write(&some_kilobytes(n)).is_err());
    assert!(failed, "100 MB were taken and could not be stored");
}
