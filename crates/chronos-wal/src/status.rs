//! What a log says about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A snapshot of a log's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The segments, oldest first. The last one is being written.
    pub segments: Vec<SegmentStatus>,
    /// Bytes of all segments, without the space reserved beyond their ends.
    pub total_bytes: u64,
    /// Entries of the sparse index in memory.
    pub index_entries: usize,
    /// Bytes of appended records that are not completed yet.
    pub queued_bytes: u64,
    /// Bytes that can still be written to the file system; `None` when it does not say.
    pub available_bytes: Option<u64>,
    /// Why the log takes no more writes, if so.
    pub poisoned: Option<String>,
}

/// One segment in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Name of the file in the log's folder.
    pub file: String,
    /// Index of the first record the segment holds or will hold.
    pub first_index: u64,
    /// Index of the last record; `None` when there is none yet.
    pub last_index: Option<u64>,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a log has done since it was opened. The numbers only grow.
#[derive(Debug, Default)]
pub struct Counters {
    records: AtomicU64,
    bytes_written: AtomicU64,
    writes: AtomicU64,
    fsyncs: AtomicU64,
    fsync_nanos: AtomicU64,
}

impl Counters {
    /// Records written.
    pub fn appends(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes of records written, headers included.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Vectored writes of records.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Calls of fdatasync on segments that held records.
    pub fn fsyncs(&self) -> u64 {
        self.fsyncs.load(Ordering::Relaxed)
    }

    /// Time spent in them, in nanoseconds.
    pub fn fsync_nanos(&self) -> u64 {
        self.fsync_nanos.load(Ordering::Relaxed)
    }

    pub(crate) fn wrote(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.fsync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
