//! Going on without a majority that is lost for good.
//!
//! A group whose majority will never come back decides nothing any more. What its other nodes have can
//! be saved by making one of them the only voter. That breaks the promise that an acknowledged entry
//! survives: those that only the lost nodes had are lost, and the nodes that are left out must never
//! take part again with the logs they have.

use std::path::PathBuf;
use std::sync::Arc;

use chronos_wal::{Files, Wal};

use crate::machine::LogId;
use crate::record::{self, RecordError};
use crate::state_file::{StateFileError, StateFiles};
use crate::types::{LogEntry, Membership, Payload, Vote};

/// Why a node cannot go on alone.
#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    /// A small file of the group cannot be read or written.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] chronos_wal::Error),
    /// The end of the log is not an entry of a group.
    #[error("{0}")]
    Record(String),
    /// The node has no entry of the group: there is nothing to go on with.
    #[error("the log is empty")]
    Empty,
}

impl From<RecordError> for ForceError {
    fn from(error: RecordError) -> Self {
        Self::Record(error.to_string())
    }
}

/// Makes `node` the only voter of a group that is closed, and everything in its log committed. Its small
/// files are in `dir`. Returns the entry that says so, once it is on disk.
///
/// The entry is of a later term than everything the node heard of. Doing it again adds another one.
///
/// # Errors
/// See [`ForceError`].
pub fn force_only_voter(
    files: Arc<dyn Files>,
    dir: PathBuf,
    wal: &Wal,
    node: u64,
) -> Result<LogId, ForceError> {
    let last = match wal.last_index() {
        Some(index) => wal.read(index)?.ok_or(ForceError::Empty)?,
        None => return Err(ForceError::Empty),
    };
    let last = record::decode(last)?.log_id;
    let state = StateFiles::open(files, dir)?;
    let voted = state.vote()?.map_or(0, |vote| vote.leader_id.term);
    let id = LogId {
        term: voted.max(*last.leader_id) + 1,
        index: last.index + 1,
    };
    // First: a log may not have entries of a later term than the vote.
    state.save_vote(&Vote::new(id.term, node))?;
    let entry = LogEntry {
        log_id: id.into(),
        payload: Payload::Membership(Membership::new_with_defaults(vec![[node].into()], [])),
    };
    wal.append(vec![record::encode(entry)], Box::new(|_| {}));
    wal.sync()?;
    Ok(id)
}
