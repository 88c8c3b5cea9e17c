//! The other side of a copy: what the node has goes, and what comes is complete or nothing.

use super::give::Part;
use super::mark::Mark;
use super::process::log_options;
use super::read::PARTITION;
use super::{Disk, disk::Writing};
use crate::world::World;
use chronos_core::mutant;
use chronos_core::store::copy::{Import, ImportError, clear};
use chronos_core::store::{MemoryStore, Store, StoreError};
use chronos_raft::{LogId, Seed, SeedError, forget_positions, give_up_log, prepare_seed};
use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Files, Record, Wal};
use std::io;
use std::sync::Arc;
use std::time::Duration;

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
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// A part does not come when it should.
    #[error("the parts of a copy do not come in order")]
    OutOfOrder,
}

/// Throws away what a disk and an index have of the partition, but for the vote that was given. Leaves
/// the disk marked: that is durable before anything goes.
pub fn throw_away(files: &FaultyFiles, store: &MemoryStore) -> Result<(), TakeError> {
    if !mutant!("copy-not-marked") {
        Mark::Partial.write(files)?;
    }
    clear(store, PARTITION)?;
    store.flush()?;
    let dir = Disk::log_dir();
    for path in files.paths(&dir) {
        files.remove(&path)?;
    }
    files.create_dir_all(&dir)?;
    files.sync_dir(&dir)?;
    Ok(forget_positions(
        Arc::new(files.clone()),
        Disk::group_dir(),
    )?)
}

/// An empty log in the place of the one that is there, of whose end a note stays.
fn emptied(
    world: &World,
    files: &FaultyFiles,
    store: &MemoryStore,
    writing: &Writing,
) -> Result<Wal, TakeError> {
    let open = || {
        let files = Arc::new(files.clone());
        Wal::open(files, log_options(world), &writing.flusher).map(|(wal, _)| wal)
    };
    // What is left of a log that is partly gone ends nowhere.
    if Mark::read(files)? != Some(Mark::Partial) {
        give_up_log(Arc::new(files.clone()), Disk::group_dir(), &open()?)?;
    }
    throw_away(files, store)?;
    Ok(open()?)
}

/// A copy that is being taken. The node has no process.
pub struct Taking {
    files: FaultyFiles,
    import: Option<Import<MemoryStore>>,
    wal: Wal,
    writing: Writing,
    leader: u64,
    begun: Option<(u64, Option<LogId>)>,
    next: u64,
}

impl Taking {
    /// Begins a copy from `leader`.
    pub fn begin(
        world: &World,
        disk: &Arc<Disk>,
        store: MemoryStore,
        leader: u64,
    ) -> Result<Self, TakeError> {
        let files = disk.files.clone();
        let writing = disk.start_writing(Duration::from_millis(world.plan.flush_ms));
        let wal = match emptied(world, &files, &store, &writing) {
            Ok(wal) => wal,
            Err(error) => {
                writing.stop();
                return Err(error);
            }
        };
        Ok(Self {
            import: Some(Import::begin(store, PARTITION)?),
            files,
            wal,
            writing,
            leader,
            begun: None,
            next: 0,
        })
    }

    /// Takes the next part. Says whether it was the last one, with which everything is durable.
    pub fn add(&mut self, part: Part) -> Result<bool, TakeError> {
        match part {
            Part::Begin { term, floor, first } if self.begun.is_none() => {
                self.begun = Some((term, floor));
                self.next = first;
            }
            Part::Pairs(pairs) if self.begun.is_some() => {
                let import = self.import.as_mut().ok_or(TakeError::OutOfOrder)?;
                for (family, key, value) in pairs {
                    import.add(family, &key, &value)?;
                }
            }
            Part::Records(records) if self.begun.is_some() => {
                self.finish_index()?;
                self.append(records)?;
            }
            Part::End(last) if self.next == last.index + 1 => {
                self.finish_index()?;
                self.finish(last)?;
                return Ok(true);
            }
            _ => return Err(TakeError::OutOfOrder),
        }
        Ok(false)
    }

    fn finish_index(&mut self) -> Result<(), TakeError> {
        match self.import.take() {
            Some(import) => Ok(import.finish()?),
            None => Ok(()),
        }
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), TakeError> {
        for record in &records {
            if self.next != record.index {
                return Err(TakeError::OutOfOrder);
            }
            self.next += 1;
        }
        self.wal.append(records, Box::new(|_| {}));
        // A failed append shows here.
        Ok(self.wal.sync()?)
    }

    fn finish(&self, last: LogId) -> Result<(), TakeError> {
        let (term, floor) = self.begun.ok_or(TakeError::OutOfOrder)?;
        let seed = Seed {
            leader: self.leader,
            term,
            floor,
            last,
            committed: Some(last),
        };
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        prepare_seed(files, Disk::group_dir(), &seed)?;
        Ok(Mark::remove(&self.files)?)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.writing.stop();
    }
}
