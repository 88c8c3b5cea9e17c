//! The side of a copy that was behind.

use super::Part;
use chronos_core::store::StoreError;
use chronos_core::store::copy::{Import, ImportError};
use chronos_core::types::PartitionNumber;
use chronos_raft::{LogId, Seed, SeedError, prepare_seed};
use chronos_store::RocksStore;
use chronos_wal::{Record, Wal, system_files};
use std::path::PathBuf;

/// Why a copy cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The index refuses it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// The log refuses it.
    #[error(transparent)]
    Log(#[from] chronos_wal::Error),
    /// Raft's files refuse it.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A part does not come when it should.
    #[error("the parts of a copy do not come in order")]
    OutOfOrder,
    /// It ended before its end.
    #[error("the copy ended early")]
    Short,
}

/// A copy that is being taken. The replica is closed, and its log is empty.
pub struct Taking {
    /// Where its parts go; the index until the first record comes.
    import: Option<Import<RocksStore>>,
    wal: Wal,
    dir: PathBuf,
    leader: u64,
    begun: Option<(u64, Option<LogId>)>,
    next: Option<u64>,
    last: Option<LogId>,
}

impl Taking {
    /// Begins a copy of a partition from `leader` into an empty log, and removes what the index has of
    /// it. Raft's files are in `dir`. Blocks on the disk, as everything here.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn begin(
        store: RocksStore,
        partition: PartitionNumber,
        wal: Wal,
        dir: PathBuf,
        leader: u64,
    ) -> Result<Self, TakeError> {
        Ok(Self {
            import: Some(Import::begin(store, partition)?),
            wal,
            dir,
            leader,
            begun: None,
            next: None,
            last: None,
        })
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// See [`TakeError`]; the copy is to be thrown away then.
    pub fn add(&mut self, part: Part) -> Result<(), TakeError> {
        match part {
            Part::Begin { term, floor } if self.begun.is_none() => {
                self.begun = Some((term, floor));
                self.next = Some(floor.map_or(0, |floor| floor.index + 1));
            }
            Part::Pairs(pairs) if self.begun.is_some() => {
                let import = self.import.as_mut().ok_or(TakeError::OutOfOrder)?;
                for (family, key, value) in pairs {
                    import.add(family, &key, &value)?;
                }
            }
            Part::Records(records) if self.begun.is_some() => {
                if let Some(import) = self.import.take() {
                    import.finish()?;
                }
                self.append(records)?;
            }
            Part::End { last } if self.import.is_none() && self.last.is_none() => {
                if self.next != Some(last.index + 1) {
                    return Err(TakeError::Short);
                }
                self.last = Some(last);
            }
            _ => return Err(TakeError::OutOfOrder),
        }
        Ok(())
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), TakeError> {
        if self.last.is_some() {
            return Err(TakeError::OutOfOrder);
        }
        for record in &records {
            if self.next != Some(record.index) {
                return Err(TakeError::OutOfOrder);
            }
            self.next = record.index.checked_add(1);
        }
        self.wal.append(records, Box::new(|_| {}));
        // So that no more than one part waits. A failed append shows here.
        Ok(self.wal.sync()?)
    }

    /// Ends the copy: everything is durable when it returns, and the group can be opened.
    ///
    /// # Errors
    /// When the end did not come, or Raft's files cannot be written.
    pub fn finish(self) -> Result<(), TakeError> {
        let (Some((term, floor)), Some(last)) = (self.begun, self.last) else {
            return Err(TakeError::Short);
        };
        let seed = Seed {
            leader: self.leader,
            term,
            floor,
            last,
            committed: Some(last),
        };
        Ok(prepare_seed(system_files(), self.dir, &seed)?)
    }
}
