//! A log on faulty files, and records to put into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Error, Flusher, Options, Record, Recovery, Wal};
use parking_lot::Mutex;

/// The folder of the log under test.
pub(crate) const DIR: &str = "/data/wal";

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

/// Small segments and a sparse index, so that little data shows much.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 64 * 1024,
        index_interval: 4,
        tail_bytes: 0,
        ..Options::new(DIR, 7)
    }
}

/// A log whose flusher is driven by the test.
pub(crate) struct Rig {
    pub(crate) wal: Wal,
    pub(crate) recovery: Recovery,
    pub(crate) flusher: Flusher,
}

impl Rig {
    pub(crate) fn open(files: &FaultyFiles) -> Self {
        Self::with(files, options())
    }

    pub(crate) fn with(files: &FaultyFiles, options: Options) -> Self {
        match Self::try_with(files, options) {
            Ok(rig) => rig,
            Err(error) => panic!("the log does not open: {error}"),
        }
    }

    pub(crate) fn try_open(files: &FaultyFiles) -> Result<Self, Error> {
        Self::try_with(files, options())
    }

    pub(crate) fn try_with(files: &FaultyFiles, options: Options) -> Result<Self, Error> {
        let flusher = Flusher::manual();
        let (wal, recovery) = Wal::open(Arc::new(files.clone()), options, &flusher)?;
        Ok(Self {
            wal,
            recovery,
            flusher,
        })
    }

    pub(crate) fn run(&self) {
        while self.flusher.run_one() {}
    }

    /// Enqueues without running anything; the result comes later.
    pub(crate) fn enqueue(&self, records: Vec<Record>) -> Outcome {
        let outcome = Outcome::default();
        let slot = outcome.clone();
        self.wal.append(
            records,
            Box::new(move |result| *slot.0.lock() = Some(result)),
        );
        outcome
    }

    /// Appends and waits.
    pub(crate) fn append(&self, records: Vec<Record>) -> Result<(), Error> {
        let outcome = self.enqueue(records);
        self.run();
        outcome.take().expect("the append has ended")
    }

    /// All records, read one by one.
    pub(crate) fn records(&self) -> Vec<Record> {
        let Some(first) = self.wal.first_index() else {
            assert_eq!(self.wal.last_index(), None);
            return Vec::new();
        };
        let last = self.wal.last_index().expect("a first has a last");
        (first..=last)
            .map(|index| {
                let record = self.wal.read(index).expect("readable");
                record.unwrap_or_else(|| panic!("record {index} is missing"))
            })
            .collect()
    }
}

/// The result of an append, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Outcome(Arc<Mutex<Option<Result<(), Error>>>>);

impl Outcome {
    pub(crate) fn take(&self) -> Option<Result<(), Error>> {
        self.0.lock().clone()
    }

    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.take(), Some(Ok(())))
    }
}

/// A record whose content follows from its index, its size and a version.
pub(crate) fn record_of(index: u64, len: usize, version: u8) -> Record {
    let mut meta = [version; 16];
    meta[..8].copy_from_slice(&index.to_be_bytes());
    let body: Vec<u8> = (0..len)
        .map(|at| (at as u64 ^ index.wrapping_mul(31)) as u8 ^ version)
        .collect();
    Record {
        index,
        meta,
        body: Bytes::from(body),
    }
}

pub(crate) fn record(index: u64, len: usize) -> Record {
    record_of(index, len, 0)
}

pub(crate) fn records(range: std::ops::RangeInclusive<u64>, len: usize) -> Vec<Record> {
    range.map(|index| record(index, len)).collect()
}

/// The log's segment files, oldest first.
pub(crate) fn segments(files: &FaultyFiles) -> Vec<PathBuf> {
    let mut paths = files.paths(dir());
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "wal"));
    paths
}

pub(crate) fn last_segment(files: &FaultyFiles) -> PathBuf {
    segments(files).pop().expect("a segment")
}

/// Bytes before the first record of a segment, and before the body of a record.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const HEADER_BYTES: usize = 48;
