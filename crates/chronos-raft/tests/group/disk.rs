//! A folder with the files of one group, and whoever writes them.

use std::sync::Arc;

use chronos_raft::{First, Group, GroupOptions, Machine, OpenError};
use chronos_wal::{Files, Flusher, FsyncMode, Options, RealFiles, Wal};

/// The node of these tests.
pub(crate) const NODE: u64 = 7;

/// The files of one group, to be opened again and again.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    files: Arc<dyn Files>,
    flusher: Arc<Flusher>,
    pub(crate) fsync: FsyncMode,
    pub(crate) segment_bytes: u64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(RealFiles))
    }

    /// A folder of `files`, which need not be the operating system's.
    pub(crate) fn with(files: Arc<dyn Files>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            files,
            flusher: Arc::new(Flusher::start(2)),
            fsync: FsyncMode::Batch,
            segment_bytes: 512 << 20,
        }
    }

    /// The files of another group, written by the same flusher.
    pub(crate) fn another(&self) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            files: Arc::clone(&self.files),
            flusher: Arc::clone(&self.flusher),
            fsync: self.fsync,
            segment_bytes: self.segment_bytes,
        }
    }

    pub(crate) fn options(&self) -> GroupOptions {
        let mut options = GroupOptions::new(NODE, "test", self.folder.path().join("group"));
        options.files = Arc::clone(&self.files);
        options
    }

    /// Opens the log.
    pub(crate) fn wal(&self) -> Wal {
        self.try_wal().unwrap()
    }

    pub(crate) fn try_wal(&self) -> Result<Wal, chronos_wal::Error> {
        let mut options = Options::new(self.folder.path().join("log"), 1);
        options.fsync = self.fsync;
        options.segment_bytes = self.segment_bytes;
        let (wal, _) = Wal::open(Arc::clone(&self.files), options, &self.flusher)?;
        Ok(wal)
    }

    /// Opens the log and the group.
    pub(crate) async fn open<M: Machine>(&self, machine: M) -> Result<Group<M>, OpenError> {
        Group::open(self.options(), self.wal(), machine, First::only(NODE)).await
    }
}
