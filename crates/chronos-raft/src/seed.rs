//! A copy of a group instead of a snapshot.
//!
//! When a leader's log no longer has what a peer needs next, Raft's own way is to send a snapshot.
//! Here the copy is not Raft's to make: the log's segments and the index go over from node to node
//! as files, with the group closed on the node that gets them. What Raft has to know is in the
//! small files, and [`prepare_seed`] writes it.

use std::path::PathBuf;
use std::sync::Arc;

use chronos_wal::{Files, Wal};

use crate::machine::LogId;
use crate::record;
use crate::state_file::{StateFileError, StateFiles};
use crate::types::Vote;

/// A leader says that this node needs a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedWanted {
    /// The group.
    pub group: u32,
    /// The node that leads it, whose log and state may be copied.
    pub leader: u64,
    /// The term in which it leads.
    pub term: u64,
    /// The last entry that the leader's log no longer has. A copy has to reach at least here, and
    /// its log begins after it or earlier.
    pub floor: LogId,
}

/// Whether a closed group, whose log is `wal`, still needs the copy that a leader said it needs. It does
/// not if it has got the entries after all, or has given its vote in a later term than the leader's: there
/// may be another leader then, and entries that the copy lacks.
///
/// # Errors
/// The log or a small file cannot be read.
pub fn is_still_wanted(
    files: Arc<dyn Files>,
    dir: PathBuf,
    wal: &Wal,
    wanted: &SeedWanted,
) -> Result<bool, SeedError> {
    let files = StateFiles::open(files, dir)?;
    let vote = files.vote()?;
    if vote.is_some_and(|vote| vote.leader_id.term > wanted.term) {
        return Ok(false);
    }
    let floor = files.floor()?;
    if floor.is_some_and(|floor| floor.index >= wanted.floor.index) {
        return Ok(false);
    }
    Ok(entry_at(wal, wanted.floor.index)? != Some(wanted.floor))
}

/// Notes where the log of a closed group ends; to be called before the log is removed. Returns once it is
/// on disk.
///
/// From then on this node votes only for candidates whose log reaches at least there, as it would with its
/// log (Ongaro, "Consensus: Bridging Theory and Practice", 3.6.1). Without the note, somebody who never had
/// what this node had confirmed could win with its vote.
///
/// # Errors
/// The log or a small file cannot be read or written.
pub fn give_up_log(files: Arc<dyn Files>, dir: PathBuf, wal: &Wal) -> Result<(), SeedError> {
    let files = StateFiles::open(files, dir)?;
    let before = files.end()?;
    let last = match wal.last_index() {
        Some(index) => entry_at(wal, index)?,
        None => None,
    };
    let end = before.max(files.floor()?).max(last);
    match end {
        Some(end) if before != Some(end) => Ok(files.save_end(end)?),
        _ => Ok(()),
    }
}

/// Has the small files in `dir` say that the log begins with entry 0, once the log of a closed group was
/// removed. The vote that was given stays, and so does the note of [`give_up_log`].
///
/// # Errors
/// A small file cannot be removed.
pub fn forget_positions(files: Arc<dyn Files>, dir: PathBuf) -> Result<(), SeedError> {
    let files = StateFiles::open(files, dir)?;
    files.remove_floor()?;
    Ok(files.remove_committed()?)
}

fn entry_at(wal: &Wal, index: u64) -> Result<Option<LogId>, SeedError> {
    let unreadable = |error: &dyn std::fmt::Display| SeedError::Log(error.to_string());
    let record = wal.read(index).map_err(|error| unreadable(&error))?;
    let id = record.map(|record| record::log_id(&record)).transpose();
    id.map_err(|error| unreadable(&error))
}

/// What was copied, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// The leader that the copy is from, or that said where it is to be had.
    pub leader: u64,
    /// The term in which it leads; the copy has no entry of a later one.
    pub term: u64,
    /// The last entry that is not in the copied log but is in the copied state: the log's records
    /// begin at or below the entry after it. `None` for a log that begins with entry 0.
    pub floor: Option<LogId>,
    /// The last entry of the copied log.
    pub last: LogId,
    /// An entry of the copied log that is surely committed, if one is known.
    pub committed: Option<LogId>,
}

/// Why the small files cannot go with a copy.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A small file cannot be read or written.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(String),
    /// The copy has entries of a later term than that of the leader it is said to be from: another
    /// leads meanwhile. Ask who, and begin again.
    #[error("the copied log ends with entry {last}, which is later than the leader of term {term}")]
    LaterTerm {
        /// The last entry of the copied log.
        last: LogId,
        /// The term of the leader.
        term: u64,
    },
    /// The positions contradict one another.
    #[error(
        "the copied log begins after {floor:?}, ends with {last} and is committed up to {committed:?}, which cannot be"
    )]
    Order {
        /// The last entry before the copied log.
        floor: Option<LogId>,
        /// Its last entry.
        last: LogId,
        /// The committed entry.
        committed: Option<LogId>,
    },
}

/// Makes the small files in `dir` go with a log and a state that were copied from another node.
/// The group has to be closed. Returns once they are on disk.
///
/// A vote that this node gave stays, unless it is of an earlier term than the leader's: then the
/// node follows that leader from now on, as if it had heard of it. Call this after the copy is in
/// place and before anything opens it; until it returns the group must not be opened, which the
/// caller has to remember across a crash. Calling it again with the same copy changes nothing.
///
/// # Errors
/// See [`SeedError`].
pub fn prepare_seed(files: Arc<dyn Files>, dir: PathBuf, seed: &Seed) -> Result<(), SeedError> {
    let &Seed {
        leader,
        term,
        floor,
        last,
        committed,
    } = seed;
    if last.term > term {
        return Err(SeedError::LaterTerm { last, term });
    }
    let follows = |before: Option<LogId>, after: LogId| {
        before.is_none_or(|before| before.term <= after.term && before.index <= after.index)
    };
    if !follows(floor, last) || !follows(committed, last) {
        return Err(SeedError::Order {
            floor,
            last,
            committed,
        });
    }
    let files = StateFiles::open(files, dir)?;
    // First, because a log may not have entries of a later term than the vote.
    let known = files.vote()?.map_or(0, |vote| vote.leader_id.term);
    if known < term {
        files.save_vote(&Vote::new(term, leader))?;
    }
    match floor {
        Some(floor) => files.save_floor(floor)?,
        None => files.remove_floor()?,
    }
    match committed.or(floor) {
        Some(committed) => files.save_committed(committed)?,
        None => files.remove_committed()?,
    }
    Ok(())
}
