//! The first failed write is the last one.

use chronos_core::store::StoreError;
use std::sync::OnceLock;

/// Remembers the first failure of a write. RocksDB may recover by itself from a full disk; by then
/// the partition has stopped and will repeat its log, so the store refuses writes until it is
/// opened again rather than take some and not others.
#[derive(Default)]
pub(crate) struct Failure {
    first: OnceLock<String>,
}

impl Failure {
    /// Refuses when a write has failed before.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.first.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Engine(format!(
                "no writes after an earlier failure: {reason}"
            ))),
        }
    }

    /// Passes the result of a write on and remembers its failure.
    pub(crate) fn note<T>(&self, result: Result<T, String>) -> Result<T, StoreError> {
        result.map_err(|reason| {
            let _ = self.first.set(reason.clone());
            StoreError::Engine(reason)
        })
    }
}
