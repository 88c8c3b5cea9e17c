//! What a partition looks up: sorted byte keys in a few families, written in atomic batches.
//!
//! The log is the truth and the store is derived from it. Nothing written here is durable before
//! [`Store::flush`], and nothing needs to be: after a crash the log is applied again from the
//! position saved with the last flush, and every write repeats itself with the same result.

pub mod copy;
mod memory;

pub use memory::MemoryStore;

use std::ops::ControlFlow;

/// A family of keys. Each has its own tuning in a store on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// One small record per partition, topic and group: state as of the last checkpoint.
    Meta = 0,
    /// First offset of a log entry's events → where they stand in the log.
    Batch = 1,
    /// Events that were scheduled ahead, in chunks by topic and time bucket.
    Chunk = 2,
    /// Events that were due when they arrived, as runs of offsets.
    Run = 3,
    /// Hash of a message id → offset. Written only through [`Store::ingest`].
    Dedup = 4,
    /// Dead letters by group.
    Dead = 5,
    /// Offset of a changed event → its versions.
    Change = 6,
    /// Where the due order differs from the chunks.
    Override = 7,
    /// As [`Family::Dedup`], for ids of events that were due far ahead: their records are removed one
    /// by one, not by age.
    FarId = 8,
}

impl Family {
    /// Every family, in the order of its number.
    pub const ALL: [Family; 9] = [
        Family::Meta,
        Family::Batch,
        Family::Chunk,
        Family::Run,
        Family::Dedup,
        Family::Dead,
        Family::Change,
        Family::Override,
        Family::FarId,
    ];
}

/// Why a store could not answer. Fatal for the partition: the index can no longer be trusted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage engine failed.
    #[error("the index failed: {0}")]
    Engine(String),
    /// A key or value does not have the form its family prescribes.
    #[error("the index holds a damaged {family:?} record: {reason}")]
    Damaged {
        /// Where it was read.
        family: Family,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Writes that happen together or not at all.
#[derive(Default, Debug, Clone)]
pub struct WriteBatch {
    /// The writes, in the order they take effect.
    pub writes: Vec<Write>,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(Family, Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Family, Vec<u8>),
    /// Removes every key in `[from, to)`.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

impl WriteBatch {
    /// Sets a key.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes
            .push(Write::Put(family, key.into(), value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.writes.push(Write::Delete(family, key.into()));
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Receives the pairs of a scan in key order; `Break` ends the scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Receives the pairs of several families; `Break` ends the scan.
pub type FamilyVisitor<'a> = dyn FnMut(Family, &[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Sorted keys in families. Handles are cheap to clone and share one store; reads may come from
/// any thread while one thread writes.
pub trait Store: Clone + Send + Sync + 'static {
    /// The value of one key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The values of several keys, in the order of the keys.
    fn multi_get(&self, family: Family, keys: &[&[u8]])
    -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Visits the pairs with `from <= key < to` in ascending order.
    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError>;

    /// Visits the pairs with `from <= key < to` of these families, one family after the other in
    /// ascending order, all as they were after some one write before the end of the call.
    fn scan_together(
        &self,
        families: &[Family],
        from: &[u8],
        to: &[u8],
        visit: &mut FamilyVisitor<'_>,
    ) -> Result<(), StoreError>;

    /// The greatest pair with `floor <= key <= at`.
    fn last_at_or_before(
        &self,
        family: Family,
        floor: &[u8],
        at: &[u8],
    ) -> Result<Option<Pair>, StoreError>;

    /// Applies a batch atomically.
    fn write(&self, batch: &WriteBatch) -> Result<(), StoreError>;

    /// Adds pairs in bulk. `pairs` are sorted by key without repeats; a pair replaces an older one
    /// with its key. Durable when it returns.
    fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        family: Family,
        pairs: &[(K, V)],
    ) -> Result<(), StoreError>;

    /// Makes every earlier write durable, all families at one common point.
    fn flush(&self) -> Result<(), StoreError>;
}
