//! A file on a node's disk that outlives a crash: why there may be nothing, or half of something, of
//! the partition. The server has the same.

use super::Disk;
use chronos_wal::Files;
use std::io::{self, ErrorKind, IoSlice};
use std::path::PathBuf;

/// What happened to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is being copied from another node: what is there is to be thrown away.
    Partial,
    /// It was thrown away.
    Gone,
}

fn path() -> PathBuf {
    Disk::group_dir().join("mark")
}

impl Mark {
    /// The mark on a disk, if there is one.
    pub fn read(files: &dyn Files) -> io::Result<Option<Self>> {
        let file = match files.open_read(&path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = [0];
        match (file.pread(&mut text, 0)?, text) {
            (1, [b'p']) => Ok(Some(Mark::Partial)),
            (1, [b'g']) => Ok(Some(Mark::Gone)),
            _ => Err(io::Error::other("the mark is damaged")),
        }
    }

    /// Marks a disk. Durable when it returns.
    pub fn write(self, files: &dyn Files) -> io::Result<()> {
        let text: &[u8] = match self {
            Mark::Partial => b"p",
            Mark::Gone => b"g",
        };
        let new = path().with_extension("new");
        files.create_dir_all(&Disk::group_dir())?;
        let file = files.create(&new)?;
        if file.pwritev(&[IoSlice::new(text)], 0)? != text.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        file.fdatasync()?;
        files.rename(&new, &path())?;
        files.sync_dir(&Disk::group_dir())
    }

    /// Removes the mark. Durable when it returns.
    pub fn remove(files: &dyn Files) -> io::Result<()> {
        match files.remove(&path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => files.sync_dir(&Disk::group_dir()),
        }
    }
}
