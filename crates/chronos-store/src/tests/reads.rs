//! Edges of reading, and the figures.

use super::{all, fresh};
use crate::{Options, RocksStore};
use chronos_core::store::{Family, Store, Write, WriteBatch};
use std::ops::ControlFlow;

#[test]
fn a_visitor_may_use_the_store() {
    let (_folder, store) = fresh();
    let mut batch = WriteBatch::default();
    for n in 0..10u8 {
        batch.put(Family::Chunk, vec![0, 0, 0, 0, n], vec![n]);
    }
    store.write(&batch).unwrap();
    let mut seen = 0;
    store
        .scan(Family::Chunk, &[0], &[1], &mut |key, value| {
            assert_eq!(
                store.get(Family::Chunk, key).unwrap().as_deref(),
                Some(value)
            );
            let mut batch = WriteBatch::default();
            batch
                .writes
                .push(Write::Delete(Family::Chunk, key.to_vec()));
            store.write(&batch).unwrap();
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 10, "a scan sees the store as it was when it began");
    assert!(all(&store, Family::Chunk).is_empty());
}

#[test]
fn empty_batches_and_ranges_do_nothing() {
    let (_folder, store) = fresh();
    store.write(&WriteBatch::default()).unwrap();
    store
        .ingest::<Vec<u8>, Vec<u8>>(Family::Dedup, &[])
        .unwrap();
    let mut batch = WriteBatch::default();
    batch.put(Family::Run, b"0000b", b"");
    batch.writes.push(Write::DeleteRange(
        Family::Run,
        b"0000c".to_vec(),
        b"0000a".to_vec(),
    ));
    batch.writes.push(Write::DeleteRange(
        Family::Run,
        b"0000b".to_vec(),
        b"0000b".to_vec(),
    ));
    store.write(&batch).unwrap();
    assert_eq!(store.get(Family::Run, b"0000b").unwrap(), Some(vec![]));
    assert!(store.multi_get(Family::Run, &[]).unwrap().is_empty());
}

#[test]
fn many_keys_are_read_in_the_order_asked() {
    let (_folder, store) = fresh();
    let pairs: Vec<_> = (0..1000u32)
        .map(|n| (n.to_be_bytes().to_vec(), n.to_le_bytes().to_vec()))
        .collect();
    store.ingest(Family::Dedup, &pairs).unwrap();
    let keys: Vec<[u8; 4]> = (0..2000u32).rev().map(u32::to_be_bytes).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
    let values = store.multi_get(Family::Dedup, &keys).unwrap();
    for (n, value) in (0..2000u32).rev().zip(values) {
        assert_eq!(value, (n < 1000).then(|| n.to_le_bytes().to_vec()));
    }
}

#[test]
fn stats_tell_sizes_and_bytes_written() {
    let (_folder, store) = fresh();
    let mut batch = WriteBatch::default();
    batch.put(Family::Chunk, b"0000k", vec![7; 100_000]);
    store.write(&batch).unwrap();
    let family = |family: Family| store.stats().families[family as usize];
    assert!(family(Family::Chunk).memtable_bytes > 100_000);
    assert_eq!(family(Family::Chunk).file_bytes, 0);
    store.flush().unwrap();
    assert_eq!(family(Family::Chunk).family, Family::Chunk);
    assert!(family(Family::Chunk).file_bytes > 100_000);
    assert_eq!(family(Family::Chunk).estimated_keys, 1);
    assert!(store.stats().flush_written_bytes > 100_000);
    store
        .ingest(Family::Dedup, &[(b"0000id".to_vec(), vec![1; 50_000])])
        .unwrap();
    assert!(store.stats().ingest_written_bytes > 50_000);
    assert_eq!(store.stats().compaction_written_bytes, 0);
}

#[test]
fn memory_for_unflushed_writes_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        write_buffer_bytes: 1 << 20,
        ..Options::default()
    };
    let store = RocksStore::open(folder.path(), &options).unwrap();
    let mut batch = WriteBatch::default();
    for n in 0..2000u32 {
        batch.writes.clear();
        batch.put(
            Family::ALL[n as usize % 4],
            n.to_be_bytes(),
            vec![0; 10_000],
        );
        store.write(&batch).unwrap();
        let memtables: u64 = store
            .stats()
            .families
            .iter()
            .map(|f| f.memtable_bytes)
            .sum();
        assert!(memtables < 8 << 20, "{memtables} bytes after {n} writes");
    }
    assert!(store.stats().flush_written_bytes > 10 << 20);
}
