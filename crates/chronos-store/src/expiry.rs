//! Drops files of the Dedup family that are older than ids are remembered.
//!
//! RocksDB's FIFO compaction deletes the oldest files of a family when the family exceeds a size
//! limit. The limit is normally absent. When files have outlived their time, it is set to the size
//! of the others, and lifted again before the next file is added. What is over the limit meanwhile
//! is exactly what has expired.

use crate::layout;
use crate::store::Inner;
use chronos_core::store::Family;
use std::fs;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest time between two looks at the ages of the files.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// What is known about the files' ages.
pub(crate) struct Expiry {
    ttl: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checked_at: Option<SystemTime>,
    limited: bool,
}

/// The right to add a file to the family. While it is held no limit is in force.
pub(crate) struct Turn<'a> {
    inner: &'a Inner,
    state: MutexGuard<'a, State>,
}

impl Expiry {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            state: Mutex::default(),
        }
    }

    /// Waits for the other writers of the family and lifts the limit.
    pub(crate) fn turn<'a>(&'a self, inner: &'a Inner) -> Result<Turn<'a>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.limited {
            set_limit(inner, u64::MAX)?;
            state.limited = false;
        }
        Ok(Turn { inner, state })
    }

    fn is_due(&self, state: &State, now: SystemTime) -> bool {
        let interval = (self.ttl / 100).min(MAX_CHECK_INTERVAL);
        // A clock that went back makes a check due.
        state.checked_at.is_none_or(|at| {
            now.duration_since(at)
                .map_or(true, |passed| passed >= interval)
        })
    }
}

impl Turn<'_> {
    /// Ends the turn and, when it is time, lets files older than the limit of age go. They
    /// disappear in the background. Failing to look at them is no reason to stop: they stay a
    /// while longer.
    pub(crate) fn end(mut self, now: SystemTime) {
        if !self.inner.expiry.is_due(&self.state, now) {
            return;
        }
        self.state.checked_at = Some(now);
        match kept_bytes(self.inner, now) {
            Ok(None) => {}
            Ok(Some(kept_bytes)) => {
                // Noted first: should setting it fail half-way, the next turn lifts it.
                self.state.limited = true;
                if let Err(reason) = set_limit(self.inner, kept_bytes.max(1)) {
                    tracing::warn!(reason, "expired message ids cannot be dropped");
                }
            }
            Err(reason) => {
                tracing::warn!(reason, "the age of the files of message ids cannot be read");
            }
        }
    }
}

/// Size of the files that have not expired, bytes; `None` when no file has.
fn kept_bytes(inner: &Inner, now: SystemTime) -> Result<Option<u64>, String> {
    let (mut kept_bytes, mut expired) = (0, false);
    for file in inner.db.live_files()? {
        if file.column_family_name != layout::name(Family::Dedup) {
            continue;
        }
        let path = inner.db.path().join(file.name.trim_start_matches('/'));
        let written_at = match fs::metadata(&path).and_then(|data| data.modified()) {
            Ok(written_at) => written_at,
            // Dropped since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let age = now.duration_since(written_at).unwrap_or_default();
        if age > inner.expiry.ttl {
            expired = true;
        } else {
            kept_bytes += file.size as u64;
        }
    }
    Ok(expired.then_some(kept_bytes))
}

fn set_limit(inner: &Inner, bytes: u64) -> Result<(), String> {
    let column = inner.column(Family::Dedup)?;
    let value = format!("{{max_table_files_size={bytes};}}");
    Ok(inner
        .db
        .set_options_cf(column, &[("compaction_options_fifo", &value)])?)
}
