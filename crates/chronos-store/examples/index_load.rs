//! Measures what the index costs: time, CPU and bytes written per entry.
//!
//! `cargo run --release -p chronos-store --example index_load -- <folder> [entries]`
//!
//! Three loads, each in a store of its own that is removed afterwards: chunks of one event each
//! scheduled at random over ten thousand buckets, then read and removed in order; ascending batch
//! records, of one partition and of eight; message ids, ingested half a million at a time.
//! A flush runs every hundred thousand entries, as a partition's checkpoints do.

use chronos_core::store::{Family, Store, StoreError, Write, WriteBatch};
use chronos_store::{Options, RocksStore};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

const BUCKETS: u64 = 10_000;
const WRITES_PER_BATCH: u64 = 100;
const ENTRIES_PER_FLUSH: u64 = 100_000;
const IDS_PER_INGEST: u64 = 500_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: index_load <folder> [entries]")?);
    let entries: u64 = args.next().map_or(Ok(5_000_000), |n| n.parse())?;

    in_store(&folder, |store| chunks(store, entries))?;
    in_store(&folder, |store| batches(store, entries, 1))?;
    in_store(&folder, |store| batches(store, entries, 8))?;
    in_store(&folder, |store| ids(store, entries))?;
    Ok(())
}

fn in_store(
    folder: &Path,
    run: impl FnOnce(&RocksStore) -> Result<(), StoreError>,
) -> Result<(), Box<dyn Error>> {
    let path = folder.join("index_load");
    let store = RocksStore::open(&path, &Options::default())?;
    run(&store)?;
    drop(store);
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

fn chunks(store: &RocksStore, entries: u64) -> Result<(), StoreError> {
    let load = Load::start("chunks: put", store);
    let mut random = 1;
    puts(store, entries, |offset| {
        (
            Family::Chunk,
            chunk_key(step(&mut random) % BUCKETS, offset),
            vec![1, 2, 3, 4],
        )
    })?;
    load.end(entries, 28);

    let load = Load::start("chunks: scan and remove", store);
    let mut seen = 0;
    for bucket in 0..BUCKETS {
        let (from, to) = (chunk_key(bucket, 0), chunk_key(bucket + 1, 0));
        store.scan(Family::Chunk, &from, &to, &mut |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })?;
        let mut batch = WriteBatch::default();
        batch
            .writes
            .push(Write::DeleteRange(Family::Chunk, from, to));
        store.write(&batch)?;
        if bucket % 100 == 0 {
            store.flush()?;
        }
    }
    assert_eq!(seen, entries, "every chunk is found once");
    load.end(entries, 28);
    Ok(())
}

fn batches(store: &RocksStore, entries: u64, partitions: u64) -> Result<(), StoreError> {
    let load = Load::start(&format!("batches of {partitions} partitions: put"), store);
    puts(store, entries, |n| {
        let mut key = ((n % partitions) as u32).to_be_bytes().to_vec();
        key.extend((n / partitions).to_be_bytes());
        (Family::Batch, key, n.to_be_bytes().to_vec())
    })?;
    load.end(entries, 20);
    Ok(())
}

fn ids(store: &RocksStore, entries: u64) -> Result<(), StoreError> {
    let load = Load::start("ids: ingest", store);
    let mut random = 1;
    let mut some_keys = Vec::new();
    for first in (0..entries).step_by(IDS_PER_INGEST as usize) {
        let count = IDS_PER_INGEST.min(entries - first);
        let mut pairs: Vec<_> = (first..first + count)
            .map(|offset| (id_key(&mut random), [offset.to_be_bytes(); 2].concat()))
            .collect();
        some_keys.extend(pairs.iter().step_by(1000).map(|(key, _)| key.clone()));
        pairs.sort_unstable();
        store.ingest(Family::Dedup, &pairs)?;
    }
    load.end(entries, 36);

    let load = Load::start("ids: get, all present", store);
    for key in &some_keys {
        assert!(
            store.get(Family::Dedup, key)?.is_some(),
            "an ingested id is found"
        );
    }
    load.end(some_keys.len() as u64, 36);

    let load = Load::start("ids: get, none present", store);
    for _ in 0..some_keys.len() {
        assert!(
            store.get(Family::Dedup, &id_key(&mut random))?.is_none(),
            "no such id"
        );
    }
    load.end(some_keys.len() as u64, 36);
    Ok(())
}

fn puts(
    store: &RocksStore,
    entries: u64,
    mut entry: impl FnMut(u64) -> (Family, Vec<u8>, Vec<u8>),
) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    for n in 0..entries {
        let (family, key, value) = entry(n);
        batch.put(family, key, value);
        if (n + 1) % WRITES_PER_BATCH == 0 || n + 1 == entries {
            store.write(&batch)?;
            batch.writes.clear();
        }
        if (n + 1) % ENTRIES_PER_FLUSH == 0 {
            store.flush()?;
        }
    }
    store.flush()
}

fn chunk_key(bucket: u64, offset: u64) -> Vec<u8> {
    let mut key = vec![0; 8];
    key.extend((bucket ^ (1 << 63)).to_be_bytes());
    key.extend(offset.to_be_bytes());
    key
}

fn id_key(random: &mut u64) -> Vec<u8> {
    let mut key = vec![0; 4];
    key.extend(step(random).to_be_bytes());
    key.extend(step(random).to_be_bytes());
    key
}

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One measured stretch.
struct Load<'a> {
    name: String,
    store: &'a RocksStore,
    started: Instant,
    cpu_ticks: u64,
    written_bytes: u64,
}

impl<'a> Load<'a> {
    fn start(name: &str, store: &'a RocksStore) -> Self {
        Self {
            name: name.to_owned(),
            store,
            started: Instant::now(),
            cpu_ticks: cpu_ticks(),
            written_bytes: written_bytes(store),
        }
    }

    fn end(self, entries: u64, entry_bytes: u64) {
        let per_entry = |seconds: f64| seconds * 1e6 / entries as f64;
        let written_bytes = written_bytes(self.store) - self.written_bytes;
        let stats = self.store.stats();
        let files: u64 = stats.families.iter().map(|family| family.file_bytes).sum();
        let pending: u64 = stats
            .families
            .iter()
            .map(|f| f.pending_compaction_bytes)
            .sum();
        println!(
            "{:<32} {:6.2} µs/entry, {:6.2} µs CPU, {:5.2} x bytes written, \
             files {} MiB, pending {} MiB, cache {} MiB",
            self.name,
            per_entry(self.started.elapsed().as_secs_f64()),
            // A tick is 10 ms on Linux.
            per_entry((cpu_ticks() - self.cpu_ticks) as f64 / 100.0),
            written_bytes as f64 / (entries * entry_bytes) as f64,
            files >> 20,
            pending >> 20,
            stats.cache_bytes >> 20,
        );
    }
}

fn written_bytes(store: &RocksStore) -> u64 {
    let stats = store.stats();
    stats.flush_written_bytes + stats.compaction_written_bytes + stats.ingest_written_bytes
}

/// User and system time of this process and its threads; zero where there is no /proc.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}
