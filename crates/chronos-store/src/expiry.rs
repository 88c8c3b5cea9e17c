//! Drops files of the Dedup family whose ids are all forgotten.
//!
//! What is forgotten is said by the log, not by a clock: a replica that was down for long applies the
//! entries of that time when it comes back, and needs the ids of that time to decide as others did.
//! Each file begins with a stamp that says by when its ids have begun to age, and belongs to one
//! partition.
//!
//! RocksDB's FIFO compaction deletes the oldest files of a family when the family exceeds a size
//! limit. The limit is normally absent. When the oldest files are forgotten, it is set to the size of
//! the others, and lifted again before the next file is added. An older file is never kept longer
//! than a newer one: what the newer one says of an id would no longer hide what the older one does.

use crate::layout;
use crate::store::{Inner, RocksStore};
use chronos_core::keys::dedup::stamp_of;
use chronos_core::store::{Family, StoreError};
use chronos_core::types::PartitionNumber;
use rocksdb::LiveFile;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether a limit is in force.
#[derive(Default)]
pub(crate) struct Expiry {
    limited: Mutex<bool>,
}

/// The right to change the family's files. While it is held no limit is in force.
pub(crate) struct Turn<'a> {
    inner: &'a Inner,
    limited: MutexGuard<'a, bool>,
}

impl Expiry {
    /// Waits for the other writers of the family and lifts the limit.
    pub(crate) fn turn<'a>(&'a self, inner: &'a Inner) -> Result<Turn<'a>, String> {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if *limited {
            set_limit(inner, u64::MAX)?;
            *limited = false;
        }
        Ok(Turn { inner, limited })
    }
}

impl RocksStore {
    /// Lets the files go whose ids are all forgotten. They disappear in the background.
    ///
    /// `forgotten` says for each partition up to which time ids that began to age are forgotten, Unix
    /// milliseconds, so that not even a restart needs them. `None` keeps them all.
    pub fn drop_forgotten_ids(
        &self,
        forgotten: impl Fn(PartitionNumber) -> Option<i64>,
    ) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let turn = inner.expiry.turn(inner).map_err(StoreError::Engine)?;
        turn.drop_forgotten(forgotten).map_err(StoreError::Engine)
    }
}

impl Turn<'_> {
    fn drop_forgotten(
        mut self,
        forgotten: impl Fn(PartitionNumber) -> Option<i64>,
    ) -> Result<(), String> {
        let mut files: Vec<LiveFile> = self.inner.db.live_files()?;
        files.retain(|file| file.column_family_name == layout::name(Family::Dedup));
        // Files are numbered in the order in which they came.
        files.sort_by_key(|file| number(&file.name));
        let is_over = |file: &LiveFile| is_forgotten(file, &forgotten);
        let over = files.iter().take_while(|file| is_over(file)).count();
        if over == 0 {
            return Ok(());
        }
        let kept_bytes: usize = files[over..].iter().map(|file| file.size).sum();
        // Noted first: should setting it fail half-way, the next turn lifts it.
        *self.limited = true;
        set_limit(self.inner, (kept_bytes as u64).max(1))
    }
}

fn number(name: &str) -> Option<u64> {
    let digits = name.trim_start_matches('/').split('.').next()?;
    digits.parse().ok()
}

/// Whether nothing in a file counts any more. A file without a stamp is kept, but for one that only
/// removes what was in files before it, and has nothing to do once those are gone: it begins with the
/// partition that it removes, and not with an id.
fn is_forgotten(file: &LiveFile, forgotten: impl Fn(PartitionNumber) -> Option<i64>) -> bool {
    let (Some(first), Some(last)) = (&file.start_key, &file.end_key) else {
        return false;
    };
    if first.len() == size_of::<PartitionNumber>() {
        return true;
    }
    stamp_of(first).is_some_and(|(partition, newest_ms)| {
        last.starts_with(&partition.to_be_bytes())
            && forgotten(partition).is_some_and(|forgotten_ms| newest_ms <= forgotten_ms)
    })
}

fn set_limit(inner: &Inner, bytes: u64) -> Result<(), String> {
    let column = inner.column(Family::Dedup)?;
    let value = format!("{{max_table_files_size={bytes};}}");
    Ok(inner
        .db
        .set_options_cf(column, &[("compaction_options_fifo", &value)])?)
}
