//! Segment files: their names, their headers, and what is kept of each in memory.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::error::Error;
use crate::files::{File, Files, read_exact_at, write_all_at};
use crate::mutant;
use crate::record::{read_u32, read_u64};
use crate::sparse::{Sidecar, SparseIndex};

/// Position of the first record in a segment.
pub(crate) const FIRST_POSITION: u64 = SegmentHeader::BYTES as u64;

/// The newest segment format this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"CHRONWAL";
const DIGITS: usize = 20;

/// The first 64 bytes of a segment file. The file is named by the index of its first record, in 20
/// decimal digits, with the extension `wal`. Numbers are little-endian:
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | magic `CHRONWAL` |
/// | 8..12 | format version, 1 |
/// | 12..16 | CRC32C of the 64 bytes, with this field as zero |
/// | 16..24 | log id |
/// | 24..32 | base: index of the first record |
/// | 32..40 | salt: a random number, part of each record's checksum |
/// | 40..64 | zero |
///
/// Then come [records](crate::Record) without gaps. The first 16 bytes keep their meaning in all
/// versions.
///
/// A segment appears under its name with its header durable, and only after everything in the
/// segment before it is durable. So a bad header, or a bad record in a segment that has a
/// successor, is damage and never the trace of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log the segment belongs to.
    pub log_id: u64,
    /// Index of the segment's first record.
    pub base: u64,
    /// Part of each record's checksum.
    pub salt: u64,
}

impl SegmentHeader {
    /// Size of the header.
    pub const BYTES: usize = 64;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the header of the file `path`, which should begin with record `base`.
    pub(crate) fn read(file: &dyn File, path: &Path, base: u64) -> Result<Self, Error> {
        let mut bytes = [0; Self::BYTES];
        if let Err(error) = read_exact_at(file, &mut bytes, 0) {
            return Err(if error.kind() == io::ErrorKind::UnexpectedEof {
                Error::corrupt(path, 0, base, "the segment header is cut off")
            } else {
                Error::io("read", path, error)
            });
        }
        let crc = read_u32(&bytes, 12);
        let mut unsigned = bytes;
        unsigned[12..16].fill(0);
        if bytes[0..8] != MAGIC || crc != crc32c::crc32c(&unsigned) {
            return Err(Error::corrupt(path, 0, base, "the segment header is bad"));
        }
        let version = read_u32(&bytes, 8);
        if version != FORMAT_VERSION {
            return Err(Error::UnknownVersion {
                file: path.to_owned(),
                version,
                supported: FORMAT_VERSION,
            });
        }
        let header = Self {
            log_id: read_u64(&bytes, 16),
            base: read_u64(&bytes, 24),
            salt: read_u64(&bytes, 32),
        };
        if header.base != base {
            let reason = format!("the segment header names {} as first record", header.base);
            return Err(Error::corrupt(path, 24, base, reason));
        }
        Ok(header)
    }
}

/// What is known of one segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) index: RwLock<SparseIndex>,
    /// Index after the last record; the base when there is none.
    next: AtomicU64,
    /// Position after the last record.
    end: AtomicU64,
    /// Open while the segment is written, or was recently read.
    file: Mutex<Option<Arc<dyn File>>>,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, path: PathBuf, index: SparseIndex) -> Self {
        Self {
            header,
            path,
            index: RwLock::new(index),
            next: AtomicU64::new(header.base),
            end: AtomicU64::new(FIRST_POSITION),
            file: Mutex::new(None),
        }
    }

    /// Creates the segment file; name and header are durable on return.
    pub(crate) fn create(
        files: &dyn Files,
        dir: &Path,
        header: SegmentHeader,
        index: SparseIndex,
    ) -> Result<(Self, Arc<dyn File>), Error> {
        let path = dir.join(file_name(header.base));
        let unnamed = dir.join(temporary_name(&file_name(header.base)));
        let file = files
            .create(&unnamed)
            .map_err(|e| Error::io("create", &unnamed, e))?;
        write_all_at(&*file, &mut [IoSlice::new(&header.encode())], 0)
            .map_err(|e| Error::io("write", &unnamed, e))?;
        file.fdatasync()
            .map_err(|e| Error::io("sync", &unnamed, e))?;
        files
            .rename(&unnamed, &path)
            .map_err(|e| Error::io("rename", &unnamed, e))?;
        if !mutant!("segment-name-not-synced") {
            files.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        let segment = Self::new(header, path, index);
        segment.keep_open(Arc::clone(&file));
        Ok((segment, file))
    }

    pub(crate) fn base(&self) -> u64 {
        self.header.base
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next() == self.base()
    }

    pub(crate) fn last(&self) -> Option<u64> {
        if self.is_empty() {
            None
        } else {
            Some(self.next() - 1)
        }
    }

    /// States what the file holds: records up to before `next`, ending at `end`.
    pub(crate) fn set_content(&self, next: u64, end: u64) {
        self.end.store(end, Ordering::Release);
        self.next.store(next, Ordering::Release);
    }

    pub(crate) fn keep_open(&self, file: Arc<dyn File>) {
        *self.file.lock() = Some(file);
    }

    pub(crate) fn close(&self) {
        *self.file.lock() = None;
    }

    /// The open file, and whether it was opened by this call.
    pub(crate) fn file(&self, files: &dyn Files) -> Result<(Arc<dyn File>, bool), Error> {
        let mut slot = self.file.lock();
        if let Some(file) = &*slot {
            return Ok((Arc::clone(file), false));
        }
        let file = files
            .open_read(&self.path)
            .map_err(|e| Error::io("open", &self.path, e))?;
        *slot = Some(Arc::clone(&file));
        Ok((file, true))
    }

    /// Keeps the index for the next open. No harm is done if that fails.
    pub(crate) fn store_sidecar(&self, files: &dyn Files, dir: &Path) {
        let sidecar = Sidecar {
            next: self.next(),
            end: self.end(),
            index: self.index.read().clone(),
        };
        if let Err(error) = sidecar.store(files, dir, &self.header) {
            tracing::warn!(%error, "cannot store the index of a segment; it is made anew when needed");
        }
    }

    pub(crate) fn file_name(&self) -> String {
        file_name(self.base())
    }
}

/// The segment file whose first record is `base`.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:0DIGITS$}.wal")
}

/// The sidecar file of the same segment.
pub(crate) fn sidecar_name(base: u64) -> String {
    format!("{base:0DIGITS$}.idx")
}

/// A name for a file that is not finished.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

/// A file of a log's folder, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment(u64),
    Sidecar(u64),
    Temporary,
    Foreign,
}

impl FileKind {
    pub(crate) fn of(name: &str) -> Self {
        if let Some(rest) = name.strip_suffix(".tmp") {
            return match Self::of(rest) {
                Self::Segment(_) | Self::Sidecar(_) => Self::Temporary,
                Self::Temporary | Self::Foreign => Self::Foreign,
            };
        }
        let Some((digits, extension)) = name.split_once('.') else {
            return Self::Foreign;
        };
        if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Self::Foreign;
        }
        match (digits.parse(), extension) {
            (Ok(base), "wal") => Self::Segment(base),
            (Ok(base), "idx") => Self::Sidecar(base),
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert_eq!(file_name(17), "00000000000000000017.wal");
        for base in [0, 17, u64::MAX] {
            assert_eq!(FileKind::of(&file_name(base)), FileKind::Segment(base));
            assert_eq!(FileKind::of(&sidecar_name(base)), FileKind::Sidecar(base));
            let temporary = temporary_name(&file_name(base));
            assert_eq!(FileKind::of(&temporary), FileKind::Temporary);
        }
        for foreign in [
            "LOCK",
            "17.wal",
            "+0000000000000000017.wal",
            "99999999999999999999.wal",
            "00000000000000000017.wal.tmp.tmp",
            "x.tmp",
        ] {
            assert_eq!(FileKind::of(foreign), FileKind::Foreign, "{foreign}");
        }
    }
}
