//! How large the store is and how much it has written.

use crate::store::Inner;
use chronos_core::store::Family;
use rocksdb::properties;
use rocksdb::statistics::Ticker;
use std::sync::atomic::Ordering;

/// Sizes now, and bytes written since the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// One entry per family, in the order of [`Family::ALL`].
    pub families: Vec<FamilyStats>,
    /// Memory held by the block cache, bytes.
    pub cache_bytes: u64,
    /// The part of it in use by running reads, which cannot be evicted, bytes.
    pub cache_pinned_bytes: u64,
    /// Written by flushes since open, bytes.
    pub flush_written_bytes: u64,
    /// Written by compactions since open, bytes.
    pub compaction_written_bytes: u64,
    /// Read by compactions since open, bytes.
    pub compaction_read_bytes: u64,
    /// Written as files to be ingested since open, bytes.
    pub ingest_written_bytes: u64,
}

/// One family's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyStats {
    /// Which family.
    pub family: Family,
    /// Files that belong to the current state, bytes.
    pub file_bytes: u64,
    /// Memory for what is not flushed or still being read from memory, bytes.
    pub memtable_bytes: u64,
    /// Keys, roughly: overwritten and removed ones may be counted until they are compacted.
    pub estimated_keys: u64,
    /// What compactions have yet to rewrite, roughly, bytes.
    pub pending_compaction_bytes: u64,
}

pub(crate) fn collect(inner: &Inner) -> Stats {
    let ticker = |ticker| inner.db_options.get_ticker_count(ticker);
    Stats {
        families: Family::ALL
            .iter()
            .map(|family| collect_family(inner, *family))
            .collect(),
        cache_bytes: inner.cache.get_usage() as u64,
        cache_pinned_bytes: inner.cache.get_pinned_usage() as u64,
        flush_written_bytes: ticker(Ticker::FlushWriteBytes),
        compaction_written_bytes: ticker(Ticker::CompactWriteBytes),
        compaction_read_bytes: ticker(Ticker::CompactReadBytes),
        ingest_written_bytes: inner.ingest_written_bytes.load(Ordering::Relaxed),
    }
}

fn collect_family(inner: &Inner, family: Family) -> FamilyStats {
    // A property that cannot be read counts as zero: it is a figure for a chart.
    let read = |name| {
        inner
            .column(family)
            .ok()
            .and_then(|column| inner.db.property_int_value_cf(column, name).ok().flatten())
            .unwrap_or(0)
    };
    FamilyStats {
        family,
        file_bytes: read(properties::LIVE_SST_FILES_SIZE),
        memtable_bytes: read(properties::SIZE_ALL_MEM_TABLES),
        estimated_keys: read(properties::ESTIMATE_NUM_KEYS),
        pending_compaction_bytes: read(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
    }
}
