//! The small files of a group beside its log.
//!
//! | file             | holds                                              | written |
//! |------------------|----------------------------------------------------|---------|
//! | `raft-vote`      | term (u64), node (u64), 1 if granted by a quorum   | durably, before any reply that rests on it |
//! | `raft-floor`     | term (u64), index (u64) of the last purged entry   | durably, before anything is removed |
//! | `raft-committed` | term (u64), index (u64) of a committed entry       | lazily, a hint |
//! | `raft-end`       | term (u64), index (u64) of the last entry of a log that was given up | durably, before the log is removed |
//!
//! Each file is a magic of 8 bytes, the fields (little-endian) and the CRC32C of all before it.
//! A durable write goes to a temporary file that is synced and then renamed over the old one,
//! after which the folder is synced, so that a crash leaves the old or the new content.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronos_wal::{File, Files, mutant};
use openraft::vote::RaftLeaderId;

use crate::machine::LogId;
use crate::types::Vote;

const VOTE: Kind<17> = Kind {
    name: "raft-vote",
    magic: *b"cdbVote1",
};
const FLOOR: Kind<16> = Kind {
    name: "raft-floor",
    magic: *b"cdbFlor1",
};
const COMMITTED: Kind<16> = Kind {
    name: "raft-committed",
    magic: *b"cdbComm1",
};

const END: Kind<16> = Kind {
    name: "raft-end",
    magic: *b"cdbEnd_1",
};

/// A small file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file system failed.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        cause: io::Error,
    },
    /// The content is not what was written. The group must not run on: it may have forgotten a
    /// vote it gave.
    #[error("{}: damaged (wrong length, magic, checksum or value); restore it from a backup, or remove this replica and let it join again under a new node id", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The folder with a group's small files.
pub(crate) struct StateFiles {
    files: Arc<dyn Files>,
    dir: PathBuf,
}

struct Kind<const N: usize> {
    name: &'static str,
    magic: [u8; 8],
}

impl StateFiles {
    /// Uses `dir`, and makes it if it is missing. What is read from it is on disk.
    pub(crate) fn open(files: Arc<dyn Files>, dir: PathBuf) -> Result<Self, StateFileError> {
        files.create_dir_all(&dir).map_err(at(&dir))?;
        // The process before may have died when this failed. Then the system has the new name of a file
        // in memory, and a power loss would bring the old one back.
        files.sync_dir(&dir).map_err(at(&dir))?;
        Ok(Self { files, dir })
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, StateFileError> {
        let Some(fields) = self.read(&VOTE)? else {
            return Ok(None);
        };
        let committed = match fields[16] {
            0 => false,
            1 => true,
            _ => return Err(self.damaged(&VOTE)),
        };
        Ok(Some(Vote {
            leader_id: RaftLeaderId::new(u64_at(&fields, 0), u64_at(&fields, 8)),
            committed,
        }))
    }

    /// Returns once the vote is on disk.
    pub(crate) fn save_vote(&self, vote: &Vote) -> Result<(), StateFileError> {
        let mut fields = [0; 17];
        fields[..8].copy_from_slice(&vote.leader_id.term.to_le_bytes());
        fields[8..16].copy_from_slice(&vote.leader_id.voted_for.to_le_bytes());
        fields[16] = u8::from(vote.committed);
        self.replace(&VOTE, fields)
    }

    pub(crate) fn floor(&self) -> Result<Option<LogId>, StateFileError> {
        Ok(self.read(&FLOOR)?.map(|fields| log_id(&fields)))
    }

    /// Returns once the floor is on disk.
    pub(crate) fn save_floor(&self, floor: LogId) -> Result<(), StateFileError> {
        self.replace(&FLOOR, log_id_fields(floor))
    }

    /// The last entry that this node ever had and gave up.
    pub(crate) fn end(&self) -> Result<Option<LogId>, StateFileError> {
        Ok(self.read(&END)?.map(|fields| log_id(&fields)))
    }

    /// Returns once the end is on disk.
    pub(crate) fn save_end(&self, end: LogId) -> Result<(), StateFileError> {
        self.replace(&END, log_id_fields(end))
    }

    /// The hint last saved. A damaged one is as good as none: the write is not atomic.
    pub(crate) fn committed(&self) -> Result<Option<LogId>, StateFileError> {
        match self.read(&COMMITTED) {
            Ok(fields) => Ok(fields.map(|fields| log_id(&fields))),
            Err(StateFileError::Damaged { path }) => {
                tracing::warn!(path = %path.display(), "the note of the last committed entry is damaged and is not used");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the hint to the page cache.
    pub(crate) fn save_committed(&self, committed: LogId) -> Result<(), StateFileError> {
        let path = self.dir.join(COMMITTED.name);
        let write = || {
            let file = match self.files.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.files.create(&path),
                opened => opened,
            }?;
            write_all(&*file, &COMMITTED.seal(&log_id_fields(committed)))
        };
        write().map_err(at(&path))
    }

    /// Returns once no floor is on disk.
    pub(crate) fn remove_floor(&self) -> Result<(), StateFileError> {
        self.remove(&FLOOR)
    }

    /// Returns once no hint is on disk.
    pub(crate) fn remove_committed(&self) -> Result<(), StateFileError> {
        self.remove(&COMMITTED)
    }

    fn remove<const N: usize>(&self, kind: &Kind<N>) -> Result<(), StateFileError> {
        let path = self.dir.join(kind.name);
        match self.files.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(at(&path))?,
        }
        self.files.sync_dir(&self.dir).map_err(at(&self.dir))
    }

    fn read<const N: usize>(&self, kind: &Kind<N>) -> Result<Option<[u8; N]>, StateFileError> {
        let path = self.dir.join(kind.name);
        let file = match self.files.open_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(at(&path))?,
        };
        // One byte more than there should be, to find a file that is too long.
        let mut bytes = vec![0; 8 + N + 4 + 1];
        let len = read_up_to(&*file, &mut bytes).map_err(at(&path))?;
        match kind.unseal(&bytes[..len]) {
            Some(fields) => Ok(Some(fields)),
            None => Err(StateFileError::Damaged { path }),
        }
    }

    fn replace<const N: usize>(
        &self,
        kind: &Kind<N>,
        fields: [u8; N],
    ) -> Result<(), StateFileError> {
        let temporary = self.dir.join(format!("{}.tmp", kind.name));
        let write = || {
            let file = self.files.create(&temporary)?;
            write_all(&*file, &kind.seal(&fields))?;
            if !mutant!("vote-not-synced") {
                file.fdatasync()?;
            }
            self.files.rename(&temporary, &self.dir.join(kind.name))
        };
        write().map_err(at(&temporary))?;
        if mutant!("vote-not-synced") {
            return Ok(());
        }
        self.files.sync_dir(&self.dir).map_err(at(&self.dir))
    }

    fn damaged<const N: usize>(&self, kind: &Kind<N>) -> StateFileError {
        StateFileError::Damaged {
            path: self.dir.join(kind.name),
        }
    }
}

impl<const N: usize> Kind<N> {
    fn seal(&self, fields: &[u8; N]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + N + 4);
        bytes.extend(self.magic);
        bytes.extend(fields);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn unseal(&self, bytes: &[u8]) -> Option<[u8; N]> {
        let (content, crc) = bytes.split_last_chunk()?;
        let (magic, fields) = content.split_first_chunk()?;
        (*magic == self.magic && u32::from_le_bytes(*crc) == crc32c::crc32c(content))
            .then(|| fields.try_into().ok())?
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StateFileError {
    let path = path.to_owned();
    move |cause| StateFileError::Io { path, cause }
}

fn write_all(file: &dyn File, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.pwritev(&[IoSlice::new(&bytes[done..])], done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `bytes` from the start of the file as far as that goes, and returns how far.
fn read_up_to(file: &dyn File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.pread(&mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn log_id_fields(id: LogId) -> [u8; 16] {
    let mut fields = [0; 16];
    fields[..8].copy_from_slice(&id.term.to_le_bytes());
    fields[8..].copy_from_slice(&id.index.to_le_bytes());
    fields
}

fn log_id(fields: &[u8; 16]) -> LogId {
    LogId {
        term: u64_at(fields, 0),
        index: u64_at(fields, 8),
    }
}

/// The integer at `at`, which the fields are long enough for.
fn u64_at(fields: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&fields[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chronos_wal::RealFiles;
    use chronos_wal::faulty::{Fault, FaultyFiles, Operation};

    use super::*;

    fn open(dir: &Path) -> StateFiles {
        StateFiles::open(Arc::new(RealFiles), dir.to_owned()).unwrap()
    }

    const ID: LogId = LogId { term: 4, index: 99 };

    #[test]
    fn what_is_saved_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(&dir.path().join("group"));
        assert!(files.vote().unwrap().is_none());
        assert!(files.floor().unwrap().is_none());
        assert!(files.committed().unwrap().is_none());
        for vote in [Vote::new(5, 2), Vote::new_committed(5, 2)] {
            files.save_vote(&vote).unwrap();
            assert_eq!(files.vote().unwrap(), Some(vote));
        }
        files.save_floor(ID).unwrap();
        files.save_committed(ID).unwrap();
        assert_eq!(files.floor().unwrap(), Some(ID));
        assert_eq!(files.committed().unwrap(), Some(ID));
    }

    #[test]
    fn a_vote_that_was_read_is_not_lost() {
        let disk = FaultyFiles::new(1);
        let open = |disk: &FaultyFiles| {
            let files: Arc<dyn Files> = Arc::new(disk.clone());
            StateFiles::open(files, "/group".into()).unwrap()
        };
        let files = open(&disk);
        files.save_vote(&Vote::new(5, 2)).unwrap();
        disk.fail(Operation::SyncDir, 1, Fault::Eio);
        assert!(files.save_vote(&Vote::new(6, 3)).is_err());
        // The next process finds it, and relies on it.
        let found = open(&disk).vote().unwrap();
        for seed in 0..20 {
            let disk = disk.fork();
            disk.power_loss(seed);
            assert_eq!(open(&disk).vote().unwrap(), found, "{seed}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_vote_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path());
        files.save_vote(&Vote::new(5, 2)).unwrap();
        let path = dir.path().join(VOTE.name);
        let good = fs::read(&path).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            matches!(files.vote(), Err(StateFileError::Damaged { .. }))
        };
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(damaged(&bad), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(damaged(&good[..len]), "{len} bytes");
        }
    }

    #[test]
    fn a_file_does_not_pass_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path());
        files.save_committed(ID).unwrap();
        fs::rename(dir.path().join(COMMITTED.name), dir.path().join(FLOOR.name)).unwrap();
        assert!(matches!(files.floor(), Err(StateFileError::Damaged { .. })));
    }

    #[test]
    fn a_damaged_hint_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path());
        files.save_committed(ID).unwrap();
        fs::write(dir.path().join(COMMITTED.name), b"torn").unwrap();
        assert_eq!(files.committed().unwrap(), None);
    }
}
