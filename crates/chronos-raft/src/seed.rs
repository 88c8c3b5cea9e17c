//! A copy of a group instead of a snapshot.
//!
//! When a leader's log no longer has what a peer needs next, Raft's own way is to send a snapshot.
//! Here the copy is not Raft's to make: the log's segments and the index go over from node to node
//! as files, with the group closed on the node that gets them. What Raft has to know is in the
//! small files, and [`prepare_seed`] writes it.

use std::path::PathBuf;
use std::sync::Arc;

use chronos_wal::Files;

use crate::machine::LogId;
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
