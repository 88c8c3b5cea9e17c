//! What can go wrong with a log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why an operation on a log failed. Cheap to clone: one failed write fails many appends.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused. At open and in reads this says nothing about the records
    /// themselves; in the write path it is followed by [`Error::Poisoned`].
    #[error("cannot {operation} {}: {source}", file.display())]
    Io {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed. What the disk holds is no longer known, so this log takes
    /// no more writes until it is opened anew. Records of failed appends may or may not be there
    /// then.
    #[error("the log stopped after a failed write: {reason}")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// Bytes that were once stored safely are not what was written.
    #[error(
        "{} is damaged at byte {position} (record {index}): {reason}; \
         to see what is affected run `chronosdb inspect-wal {}`",
        file.display(), folder(file).display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Position of the damaged header or record in the file, in bytes.
        position: u64,
        /// Index of the record that is, or should be, at the position.
        index: u64,
        /// What does not fit.
        reason: String,
    },
    /// The file was written by a newer version of this software.
    #[error("{} has format version {version}; this build knows up to {supported}", file.display())]
    UnknownVersion {
        /// The segment file.
        file: PathBuf,
        /// The version it states.
        version: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The segment belongs to another log.
    #[error("{} belongs to log {found}, not to log {expected}", file.display())]
    WrongLog {
        /// The segment file.
        file: PathBuf,
        /// The log that was opened.
        expected: u64,
        /// The log the file names.
        found: u64,
    },
    /// Whole segments are gone from the middle of the log.
    #[error(
        "records {first_missing} to {last_missing} are missing in {}: a segment file is gone; \
         to see what is there run `chronosdb inspect-wal {}`",
        dir.display(), dir.display()
    )]
    MissingSegment {
        /// The log's folder.
        dir: PathBuf,
        /// First index that no segment holds.
        first_missing: u64,
        /// Last index that no segment holds.
        last_missing: u64,
    },
    /// Appended records must continue the log without a gap.
    #[error("record {found} cannot follow: the next index is {expected}")]
    OutOfOrder {
        /// The index the log continues with.
        expected: u64,
        /// The index that was given.
        found: u64,
    },
    /// The body is larger than [`crate::MAX_BODY_BYTES`].
    #[error(
        "a record of {bytes} bytes is larger than the limit of {} bytes",
        crate::MAX_BODY_BYTES
    )]
    TooLarge {
        /// Size of the body.
        bytes: u64,
    },
    /// The log holds no record with this index.
    #[error("the log holds no record {index}")]
    NotFound {
        /// The index asked for.
        index: u64,
    },
    /// The asked-for part lies outside of the record's body.
    #[error("bytes {position}+{len} are outside of record {index}, which has {body_bytes}")]
    OutsideBody {
        /// The record.
        index: u64,
        /// First byte asked for.
        position: u32,
        /// Number of bytes asked for.
        len: u32,
        /// Size of the record's body.
        body_bytes: u32,
    },
    /// The options do not make sense.
    #[error("impossible log options: {0}")]
    Options(String),
}

impl Error {
    pub(crate) fn io(operation: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            file: file.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(
        file: &Path,
        position: u64,
        index: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            position,
            index,
            reason: reason.into(),
        }
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corruption_names_file_position_and_the_command() {
        let text =
            Error::corrupt(Path::new("data/p0/wal/7.wal"), 64, 7, "bad checksum").to_string();
        assert_eq!(
            text,
            "data/p0/wal/7.wal is damaged at byte 64 (record 7): bad checksum; \
             to see what is affected run `chronosdb inspect-wal data/p0/wal`"
        );
    }
}
