//! Why a data directory cannot be used. Every message says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the lock.
    #[error(
        "the data directory {} is in use by {}; stop it, or choose another -data-dir",
        path.display(), holder(*pid)
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where the lock file says so.
        pid: Option<u32>,
    },
    /// The directory belongs to another node.
    #[error(
        "the data directory {} belongs to node {stored:?}, not to {wanted:?}; start with -node-id={stored}, or choose another -data-dir",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node it belongs to.
        stored: String,
        /// The node that asked.
        wanted: String,
    },
    /// The directory was made with another number of partitions.
    #[error(
        "the data directory {} has {stored} partitions, not {wanted}; their number cannot change: start with -partition-count={stored}, or choose another -data-dir",
        path.display()
    )]
    OtherPartitionCount {
        /// The directory.
        path: PathBuf,
        /// Its number of partitions.
        stored: u32,
        /// The number that was asked for.
        wanted: u32,
    },
    /// A newer version wrote the directory, or something that is no version of ChronosDB.
    #[error(
        "the data directory {} has format {found}, but this version knows only {known}; use the version that wrote it, or choose another -data-dir",
        path.display()
    )]
    UnknownFormat {
        /// The directory.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The format of this version.
        known: u32,
    },
    /// The directory holds something, but no identity.
    #[error(
        "the data directory {} is not empty ({found}) and has no identity.toml, so it is not a node's; choose an empty -data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The first unknown entry.
        found: String,
    },
    /// The identity file cannot be understood.
    #[error("{} cannot be understood ({reason}); restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, on one line.
        reason: String,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
