//! How far the machine is, as the log store needs to know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of entries applied, which is the index of the next one. Shared.
#[derive(Clone, Default)]
pub(crate) struct AppliedMark(Arc<AtomicU64>);

impl AppliedMark {
    pub(crate) fn set(&self, index: u64) {
        self.0.store(index + 1, Ordering::Release);
    }

    /// Whether the entry at `index` is applied.
    pub(crate) fn covers(&self, index: u64) -> bool {
        index < self.0.load(Ordering::Acquire)
    }
}
