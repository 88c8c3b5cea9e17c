//! How RocksDB is set up for each family.
//!
//! | family | written                             | read              | compaction | blocks | why |
//! |--------|-------------------------------------|-------------------|------------|--------|-----|
//! | Meta   | few keys, over and over             | at start          | leveled    | 4 KiB  | stays one small file |
//! | Batch  | ascending within a partition        | seek              | leveled    | 4 KiB  | with one partition files do not overlap and are moved down unchanged |
//! | Chunk  | random, millions; removed by range  | short scans, once | universal  | 16 KiB | fewest bytes rewritten; scans do not displace cached blocks |
//! | Run    | ascending within a partition        | seek              | leveled    | 4 KiB  | as Batch |
//! | Dedup  | random hashes, sorted files only    | rare point reads  | FIFO       | 4 KiB  | every entry is written once; a filter of 10 bits per key, in partitions, so that a read loads 4 KiB of it per file |
//! | Dead   | few                                 | scans             | leveled    | 4 KiB  | small |
//! | FarId  | random hashes, sorted files          | rare point reads  | universal  | 4 KiB  | removed one by one when their time is over; filters as for Dedup |
//! | Change, Override | random, as many as are cancelled or moved | short scans | leveled | 4 KiB | read far more seldom than chunks |
//!
//! For all of them: no compression (keys are short and binary, CPU is scarcer than disk); indexes
//! and filters live in the block cache and count toward its size; only Dedup has filters, because
//! the other families are read by seek or hold few files; no expiry or periodic compaction by
//! RocksDB, no dumps of statistics, so an idle store does nothing.
//!
//! RocksDB's expiry would not work for Dedup: it judges a file by a creation time that files made
//! for ingestion do not carry, and keeps them for ever. Besides, a clock must not decide: this crate
//! drops them when the log has forgotten their ids, in `expiry`.
//!
//! What decided it, measured with `examples/index_load.rs` on two cores (10 M puts of single-event
//! chunks, a flush every 100 k; then each bucket is read and removed; bytes written are relative
//! to keys and values):
//!
//! | Chunk                | put: CPU | written | remove: CPU | written | files left of 180 MiB |
//! |----------------------|----------|---------|-------------|---------|-----------------------|
//! | universal, 4 runs    | 1.5 µs   | 3.5 x   | 0.31 µs     | 0.7 x   | 86 MiB  |
//! | **universal, 8 runs**| 1.3 µs   | 2.1 x   | 0.29 µs     | 0.7 x   | 144 MiB |
//! | universal, 16 runs   | 1.3 µs   | 1.7 x   | 0.25 µs     | 0.5 x   | 164 MiB |
//! | leveled              | 2.2 µs   | 5.7 x   | 0.63 µs     | 2.2 x   | 30 MiB  |
//!
//! The price is space: removed chunks stay in files until new ones are merged with them. A chunk
//! is small beside the payload it points at, so bytes written count for more.
//!
//! The same load of ascending Batch records writes 1.1 x in 0.3 µs of CPU with one partition and
//! 5 x in 1.3 µs with eight; ids are ingested at 1.2 x and 1 µs, half a million at a time.

use crate::options::Options;
use chronos_core::store::Family;
use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType,
    FifoCompactOptions, LogLevel, LruCacheOptions, UniversalCompactOptions,
};

/// Sorted runs of Chunk that start a merge. The more are merged at once, the fewer times an entry
/// is rewritten, and the more runs a scan has to look into.
const CHUNK_RUNS: i32 = 8;

/// Sorted files of FarId that start a merge. Every file holds random hashes and overlaps all others,
/// so merging costs as much as writing anew; a look-up asks a filter for each file instead.
const FAR_ID_RUNS: i32 = 32;

/// The cache that all families share.
pub(crate) fn cache(options: &Options) -> Cache {
    let mut lru = LruCacheOptions::default();
    lru.set_capacity(options.block_cache_bytes);
    // Four shards: enough for the few threads that read, and large enough to hold any block.
    lru.set_num_shard_bits(2);
    Cache::new_lru_cache_opts(&lru)
}

/// What holds for the database as a whole.
pub(crate) fn database(options: &Options) -> rocksdb::Options {
    let mut db = rocksdb::Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_atomic_flush(true);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    db.set_max_open_files(to_int(options.max_open_files).max(16));
    db.set_max_file_opening_threads(2);
    db.set_max_background_jobs(to_int(options.background_jobs).max(1));
    // Written back as it goes, so that the log's fsync does not wait behind a whole file.
    db.set_bytes_per_sync(1 << 20);
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_enable_write_thread_adaptive_yield(false);
    db.set_log_level(LogLevel::Warn);
    db.set_max_log_file_size(1 << 20);
    db.set_keep_log_file_num(4);
    // Counters only: they carry the bytes written by flushes and compactions.
    db.enable_statistics();
    db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    db
}

/// What holds for one family.
pub(crate) fn family(family: Family, options: &Options, cache: &Cache) -> rocksdb::Options {
    let mut cf = plain(options);
    let mut table = table(cache);
    match family {
        Family::Meta | Family::Batch | Family::Run | Family::Dead => {}
        Family::Change | Family::Override => cf.set_arena_block_size(1 << 20),
        Family::FarId => {
            cf.set_compaction_style(DBCompactionStyle::Universal);
            let mut universal = UniversalCompactOptions::default();
            universal.set_min_merge_width(FAR_ID_RUNS / 2);
            cf.set_universal_compaction_options(&universal);
            cf.set_level_zero_file_num_compaction_trigger(FAR_ID_RUNS);
            cf.set_level_zero_slowdown_writes_trigger(4 * FAR_ID_RUNS);
            cf.set_level_zero_stop_writes_trigger(6 * FAR_ID_RUNS);
            table.set_bloom_filter(10.0, false);
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_metadata_block_size(4 << 10);
        }
        Family::Chunk => {
            table.set_block_size(16 << 10);
            cf.set_arena_block_size(1 << 20);
            cf.set_compaction_style(DBCompactionStyle::Universal);
            let mut universal = UniversalCompactOptions::default();
            universal.set_min_merge_width(CHUNK_RUNS / 2);
            cf.set_universal_compaction_options(&universal);
            cf.set_level_zero_file_num_compaction_trigger(CHUNK_RUNS);
            cf.set_level_zero_slowdown_writes_trigger(4 * CHUNK_RUNS);
            cf.set_level_zero_stop_writes_trigger(6 * CHUNK_RUNS);
        }
        Family::Dedup => {
            table.set_bloom_filter(10.0, false);
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_metadata_block_size(4 << 10);
            cf.set_compaction_style(DBCompactionStyle::Fifo);
            cf.set_fifo_compaction_options(&unlimited());
            // One level: an ingested file must never sink below older ones.
            cf.set_num_levels(1);
            // Files are never merged, so their number is no reason to hold writes back.
            cf.set_level_zero_slowdown_writes_trigger(i32::MAX);
            cf.set_level_zero_stop_writes_trigger(i32::MAX);
        }
    }
    cf.set_block_based_table_factory(&table);
    cf
}

/// For the families that stay empty, and the start of all others.
pub(crate) fn plain(options: &Options) -> rocksdb::Options {
    let mut cf = rocksdb::Options::default();
    cf.set_compression_type(DBCompressionType::None);
    // The common budget decides when to flush, not the size of one family.
    cf.set_write_buffer_size(options.write_buffer_bytes);
    cf.set_max_write_buffer_number(3);
    cf.set_arena_block_size(64 << 10);
    cf.set_ttl(0);
    cf.set_periodic_compaction_seconds(0);
    cf
}

fn table(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_block_size(4 << 10);
    table
}

fn unlimited() -> FifoCompactOptions {
    let mut fifo = FifoCompactOptions::default();
    fifo.set_max_table_files_size(u64::MAX);
    fifo
}

fn to_int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
