//! What a log is opened with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;

/// Smallest allowed segment.
pub const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
/// Largest allowed segment: positions within a segment are kept in 32 bits.
pub const MAX_SEGMENT_BYTES: u64 = u32::MAX as u64;
/// Default size at which a segment is sealed and the next one begun.
pub const DEFAULT_SEGMENT_BYTES: u64 = 512 * 1024 * 1024;
/// Default number of records between two entries of the sparse index.
pub const DEFAULT_INDEX_INTERVAL: u32 = 256;
/// Default bound on the recent records kept in memory.
pub const DEFAULT_TAIL_BYTES: usize = 32 * 1024 * 1024;
/// Default time between two syncs in [`FsyncMode::Periodic`].
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Called with the time each fdatasync took.
pub type FsyncObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// How one log is kept. Start from [`Options::new`] and change what differs.
#[derive(Clone)]
pub struct Options {
    /// The folder that holds this log and nothing else. Created when missing.
    pub dir: PathBuf,
    /// Written into every segment, so that the files of another log are not taken for this one's.
    pub log_id: u64,
    /// A segment is sealed before it would grow beyond this many bytes. Between
    /// [`MIN_SEGMENT_BYTES`] and [`MAX_SEGMENT_BYTES`]. A record that is larger gets a segment of
    /// its own.
    pub segment_bytes: u64,
    /// Records between two entries of the sparse index, at most; there is also one at least every
    /// 64 KiB of file.
    pub index_interval: u32,
    /// When appended records are synced and completed.
    pub fsync: FsyncMode,
    /// The longest time completed records stay unsynced in [`FsyncMode::Periodic`], not counting
    /// the sync itself. Unused in the other modes.
    pub flush_interval: Duration,
    /// Bytes of recent records kept in memory for reads. Records that are not yet completed are
    /// always kept, whatever this says.
    pub tail_bytes: usize,
    /// Hook for a histogram of fdatasync times.
    pub fsync_observer: Option<FsyncObserver>,
}

impl Options {
    /// The defaults for the log `log_id` in `dir`.
    pub fn new(dir: impl Into<PathBuf>, log_id: u64) -> Self {
        Self {
            dir: dir.into(),
            log_id,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            index_interval: DEFAULT_INDEX_INTERVAL,
            fsync: FsyncMode::default(),
            flush_interval: DEFAULT_FLUSH_INTERVAL,
            tail_bytes: DEFAULT_TAIL_BYTES,
            fsync_observer: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes) {
            return Err(Error::Options(format!(
                "segment size {} is not between {MIN_SEGMENT_BYTES} and {MAX_SEGMENT_BYTES} bytes",
                self.segment_bytes
            )));
        }
        if self.index_interval == 0 {
            return Err(Error::Options("index interval is 0 records".into()));
        }
        if self.fsync == FsyncMode::Periodic && self.flush_interval.is_zero() {
            return Err(Error::Options("flush interval is 0".into()));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("log_id", &self.log_id)
            .field("segment_bytes", &self.segment_bytes)
            .field("index_interval", &self.index_interval)
            .field("fsync", &self.fsync)
            .field("flush_interval", &self.flush_interval)
            .field("tail_bytes", &self.tail_bytes)
            .finish_non_exhaustive()
    }
}

/// When an append is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FsyncMode {
    /// After an fdatasync of its own for each record.
    EveryEvent,
    /// After an fdatasync shared by everything that was waiting.
    #[default]
    Batch,
    /// Once it is in the operating system's page cache; an fdatasync follows within the flush
    /// interval. A power loss can take what was completed since the last one.
    Periodic,
}

impl fmt::Display for FsyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EveryEvent => "every_event",
            Self::Batch => "batch",
            Self::Periodic => "periodic",
        })
    }
}

impl FromStr for FsyncMode {
    type Err = UnknownFsyncMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "every_event" => Ok(Self::EveryEvent),
            "batch" => Ok(Self::Batch),
            "periodic" => Ok(Self::Periodic),
            _ => Err(UnknownFsyncMode(text.to_owned())),
        }
    }
}

/// The text names no [`FsyncMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fsync mode {0:?}: expected every_event, batch or periodic")]
pub struct UnknownFsyncMode(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_round_trip_as_text() {
        for mode in [FsyncMode::EveryEvent, FsyncMode::Batch, FsyncMode::Periodic] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("never".parse::<FsyncMode>().is_err());
    }

    #[test]
    fn impossible_options_are_refused() {
        let good = Options::new("x", 1);
        assert!(good.validate().is_ok());
        let small = Options {
            segment_bytes: MIN_SEGMENT_BYTES - 1,
            ..good.clone()
        };
        assert!(matches!(small.validate(), Err(Error::Options(_))));
        let sparse = Options {
            index_interval: 0,
            ..good.clone()
        };
        assert!(matches!(sparse.validate(), Err(Error::Options(_))));
        let restless = Options {
            fsync: FsyncMode::Periodic,
            flush_interval: Duration::ZERO,
            ..good
        };
        assert!(matches!(restless.validate(), Err(Error::Options(_))));
    }
}
