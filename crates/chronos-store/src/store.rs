//! The operations of [`Store`] on RocksDB.

use crate::expiry::Expiry;
use crate::failure::Failure;
use crate::open::{self, OpenError};
use crate::options::Options;
use crate::stats::Stats;
use crate::{ingest, layout, stats};
use chronos_core::store::{Family, FamilyVisitor, Store, StoreError, Visitor, Write, WriteBatch};
use rocksdb::{ColumnFamily, DB, DBRawIterator, FlushOptions, ReadOptions, properties};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A store on disk. Clones are handles to the same store; it closes, after flushing, when the last
/// one is dropped.
#[derive(Clone)]
pub struct RocksStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: DB,
    /// Kept for the counters that hang on it.
    pub(crate) db_options: rocksdb::Options,
    /// In the order of [`Family::ALL`]; files to be ingested are written with them.
    pub(crate) family_options: [rocksdb::Options; Family::ALL.len()],
    pub(crate) cache: rocksdb::Cache,
    pub(crate) write_options: rocksdb::WriteOptions,
    pub(crate) read_options: ReadOptions,
    pub(crate) ingest_folder: PathBuf,
    pub(crate) ingest_number: AtomicU64,
    pub(crate) ingest_written_bytes: AtomicU64,
    pub(crate) expiry: Expiry,
    pub(crate) failure: Failure,
}

impl RocksStore {
    /// Opens the store in a folder, and makes it when there is none.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is changed when the format or a family is unknown.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        open::open(path.as_ref(), options)
    }

    /// Sizes and counters as of now. Takes microseconds and no disk access.
    #[must_use]
    pub fn stats(&self) -> Stats {
        stats::collect(&self.inner)
    }
}

impl Store for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = &*self.inner;
        let column = inner.column(family).map_err(StoreError::Engine)?;
        inner
            .db
            .get_cf_opt(column, key, &inner.read_options)
            .map_err(engine)
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let inner = &*self.inner;
        let column = inner.column(family).map_err(StoreError::Engine)?;
        let sorted = keys.is_sorted();
        inner
            .db
            .batched_multi_get_cf_opt(column, keys.iter().copied(), sorted, &inner.read_options)
            .into_iter()
            .map(|value| Ok(value.map_err(engine)?.map(|value| value.to_vec())))
            .collect()
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // The bounds let the scan skip files and stop before tombstones outside of it. RocksDB
        // reads ahead by itself, more the longer a scan goes on, and never past the upper bound.
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        // A chunk is read once, shortly before it falls due.
        options.fill_cache(family != Family::Chunk);
        let mut pairs = self.inner.iterator(family, options)?;
        pairs.seek(from);
        while let Some((key, value)) = pairs.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            pairs.next();
        }
        pairs.status().map_err(engine)
    }

    fn scan_together(
        &self,
        families: &[Family],
        from: &[u8],
        to: &[u8],
        visit: &mut FamilyVisitor<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // Held by all the scans: what they see is the store as it is now. Files that were ingested
        // or compacted away meanwhile make no difference to it.
        let snapshot = self.inner.db.snapshot();
        for family in families {
            let column = self.inner.column(*family).map_err(StoreError::Engine)?;
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(from);
            options.set_iterate_upper_bound(to);
            options.fill_cache(false);
            let mut pairs = snapshot.raw_iterator_cf_opt(column, options);
            pairs.seek(from);
            while let Some((key, value)) = pairs.item() {
                if visit(*family, key, value).is_break() {
                    return Ok(());
                }
                pairs.next();
            }
            pairs.status().map_err(engine)?;
        }
        Ok(())
    }

    fn last_at_or_before(
        &self,
        family: Family,
        floor: &[u8],
        at: &[u8],
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        if floor > at {
            return Ok(None);
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(floor);
        let mut pairs = self.inner.iterator(family, options)?;
        pairs.seek_for_prev(at);
        match pairs.item() {
            Some((key, value)) => Ok(Some((key.to_vec(), value.to_vec()))),
            None => pairs.status().map_err(engine).map(|()| None),
        }
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let inner = &*self.inner;
        inner.failure.check()?;
        let result = inner
            .encode(batch)
            .and_then(|batch| Ok(inner.db.write_opt(batch, &inner.write_options)?));
        inner.failure.note(result)
    }

    fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        family: Family,
        pairs: &[(K, V)],
    ) -> Result<(), StoreError> {
        ingest::ingest(&self.inner, family, pairs)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let inner = &*self.inner;
        inner.failure.check()?;
        inner.failure.note(inner.flush())
    }
}

impl Inner {
    pub(crate) fn column(&self, family: Family) -> Result<&ColumnFamily, String> {
        let name = layout::name(family);
        self.db
            .cf_handle(name)
            .ok_or_else(|| format!("the family `{name}` is not open"))
    }

    fn columns(&self) -> Result<Vec<&ColumnFamily>, String> {
        Family::ALL
            .iter()
            .map(|family| self.column(*family))
            .collect()
    }

    fn iterator(
        &self,
        family: Family,
        options: ReadOptions,
    ) -> Result<DBRawIterator<'_>, StoreError> {
        let column = self.column(family).map_err(StoreError::Engine)?;
        Ok(self.db.raw_iterator_cf_opt(column, options))
    }

    /// Flushes all families at one point and waits.
    ///
    /// RocksDB's atomic flush may return before it is done when an automatic flush was already
    /// running: it waits for each family's memtable by number, but pairs the numbers with the
    /// wrong families (`DBImpl::AtomicFlushMemTables` in 11.8 walks a hash map for the one and a
    /// vector for the other). So it is repeated until no memtable is left waiting; every call waits
    /// for at least one of them.
    pub(crate) fn flush(&self) -> Result<(), String> {
        let columns = self.columns()?;
        let handles: Vec<_> = columns.iter().collect();
        loop {
            self.db.flush_cfs_opt(&handles, &FlushOptions::default())?;
            let mut waiting = 0;
            for column in &columns {
                waiting += self.number(column, properties::NUM_IMMUTABLE_MEM_TABLE)?;
            }
            if waiting == 0 {
                return Ok(());
            }
        }
    }

    /// Whether a family has anything in memory that is not in a file.
    pub(crate) fn has_unflushed(&self, family: Family) -> Result<bool, String> {
        let column = self.column(family)?;
        let active = self.number(column, properties::NUM_ENTRIES_ACTIVE_MEM_TABLE)?;
        let waiting = self.number(column, properties::NUM_IMMUTABLE_MEM_TABLE)?;
        Ok(active + waiting > 0)
    }

    fn number(&self, column: &ColumnFamily, name: &properties::PropName) -> Result<u64, String> {
        let value = self.db.property_int_value_cf(column, name)?;
        value.ok_or_else(|| format!("the property {name:?} is missing"))
    }

    fn encode(&self, batch: &WriteBatch) -> Result<rocksdb::WriteBatch, String> {
        let columns = self.columns()?;
        let column = |family: Family| columns[family as usize];
        let mut out = rocksdb::WriteBatch::with_capacity_bytes(encoded_bytes(batch));
        for write in &batch.writes {
            match write {
                Write::Put(family, key, value) => out.put_cf(column(*family), key, value),
                Write::Delete(family, key) => out.delete_cf(column(*family), key),
                // RocksDB refuses a range that ends before it starts; here it is an empty one.
                Write::DeleteRange(family, from, to) if from < to => {
                    out.delete_range_cf(column(*family), from, to);
                }
                Write::DeleteRange(..) => {}
            }
        }
        Ok(out)
    }
}

impl Drop for Inner {
    /// RocksDB flushes when it closes, but see [`Inner::flush`].
    fn drop(&mut self) {
        if self.failure.check().is_err() {
            return;
        }
        if let Err(reason) = self.flush() {
            tracing::warn!(reason, "the index was closed without its last writes");
        }
    }
}

/// At least the size of the batch in RocksDB's encoding: a header, then for each write a tag, the
/// family, and two strings with their lengths.
fn encoded_bytes(batch: &WriteBatch) -> usize {
    let body = |write: &Write| match write {
        Write::Put(_, key, value) => key.len() + value.len(),
        Write::Delete(_, key) => key.len(),
        Write::DeleteRange(_, from, to) => from.len() + to.len(),
    };
    12 + batch
        .writes
        .iter()
        .map(|write| 12 + body(write))
        .sum::<usize>()
}

fn engine(error: rocksdb::Error) -> StoreError {
    StoreError::Engine(error.into())
}
