//! Opening, opening again, and refusing to open.

use super::{crash, everything, fresh};
use crate::{OpenError, Options, RocksStore, layout};
use chronos_core::store::{Family, Store, WriteBatch};
use std::fs;
use std::path::Path;

fn batch(family: Family, key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(family, key, value);
    batch
}

/// Adds an empty family behind the store's back.
fn add_family(path: &Path, name: &str) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    let mut db = rocksdb::DB::open_cf(&options, path, names).unwrap();
    db.create_cf(name, &options).unwrap();
}

#[test]
fn finds_everything_after_a_clean_close() {
    let (folder, store) = fresh();
    for family in Family::ALL {
        store.write(&batch(family, b"0000k", b"v")).unwrap();
    }
    let before = everything(&store);
    drop(store);
    let store = RocksStore::open(folder.path().join("index"), &Options::default()).unwrap();
    assert_eq!(everything(&store), before);
}

#[test]
fn keeps_what_was_flushed_and_what_was_ingested_through_a_crash() {
    let (_folder, store) = fresh();
    store
        .write(&batch(Family::Meta, b"0000flushed", b"1"))
        .unwrap();
    store.flush().unwrap();
    store
        .write(&batch(Family::Meta, b"0000lost", b"2"))
        .unwrap();
    store
        .ingest(Family::Dedup, &[(b"0000id".to_vec(), b"3".to_vec())])
        .unwrap();
    let (_crashed_folder, crashed) = crash(&store, &Options::default());
    assert_eq!(
        crashed.get(Family::Meta, b"0000flushed").unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(crashed.get(Family::Meta, b"0000lost").unwrap(), None);
    assert_eq!(
        crashed.get(Family::Dedup, b"0000id").unwrap(),
        Some(b"3".to_vec())
    );
}

#[test]
fn refuses_another_format() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("index");
    let (ours, theirs) = (layout::FORMAT, layout::FORMAT + 1);
    add_family(&path, &format!("{}{theirs}", layout::FORMAT_PREFIX));
    let error = RocksStore::open(&path, &Options::default()).err().unwrap();
    let OpenError::Format {
        found, supported, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((found, *supported), (&theirs.to_string(), ours));
    let told = format!("has format {theirs}; this version reads format {ours}");
    assert!(error.to_string().contains(&told), "{error}");
}

#[test]
fn refuses_a_family_it_does_not_know() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("index");
    add_family(&path, "mystery");
    let error = RocksStore::open(&path, &Options::default()).err().unwrap();
    assert!(matches!(&error, OpenError::UnknownFamily { name, .. } if name == "mystery"));
}

#[test]
fn refuses_a_store_that_is_in_use() {
    let (folder, _store) = fresh();
    let error = RocksStore::open(folder.path().join("index"), &Options::default())
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::Engine { .. }), "{error}");
}

#[test]
fn refuses_a_folder_it_cannot_make() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = RocksStore::open(file.join("index"), &Options::default())
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[test]
fn removes_files_that_a_crash_left_to_be_ingested() {
    let (folder, store) = fresh();
    store
        .ingest(Family::Dedup, &[(b"0000id".to_vec(), b"3".to_vec())])
        .unwrap();
    let path = folder.path().join("index");
    let ingest = layout::ingest_folder(&path);
    assert_eq!(
        fs::read_dir(&ingest).unwrap().count(),
        0,
        "an ingested file is moved"
    );
    drop(store);
    fs::write(ingest.join("7.sst"), b"half a file").unwrap();
    let store = RocksStore::open(&path, &Options::default()).unwrap();
    assert_eq!(fs::read_dir(&ingest).unwrap().count(), 0);
    assert_eq!(
        store.get(Family::Dedup, b"0000id").unwrap(),
        Some(b"3".to_vec())
    );
}

#[test]
fn a_flush_is_complete_when_another_one_was_running() {
    let folder = tempfile::tempdir().unwrap();
    // So little that every write starts a flush by itself.
    let options = Options {
        write_buffer_bytes: 64 << 10,
        ..Options::default()
    };
    let mut store = RocksStore::open(folder.path(), &options).unwrap();
    for n in 0..20u8 {
        let mut both = batch(Family::Chunk, &[0, n], b"");
        both.put(Family::Batch, [0, n], b"");
        store.write(&both).unwrap();
        store.write(&batch(Family::Batch, &[1, n], b"")).unwrap();
        if n % 2 == 0 {
            store.flush().unwrap();
            assert!(!store.inner.has_unflushed(Family::Batch).unwrap());
        } else {
            drop(store);
            store = RocksStore::open(folder.path(), &options).unwrap();
        }
        assert!(
            store.get(Family::Batch, &[1, n]).unwrap().is_some(),
            "round {n}"
        );
    }
}
