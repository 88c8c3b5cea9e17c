//! What a group drives: a deterministic function over committed commands.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;

/// The position of an entry and the term of the leader that wrote it.
///
/// Ordered by term, then index. A term has at most one leader, so no node id is needed to tell
/// two entries apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that proposed the entry, from 1; 0 only for the first membership.
    pub term: u64,
    /// The position in the log, contiguous from 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// What a machine remembers of the log across a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry whose effect the machine holds; `None` for a machine that applied nothing.
    pub log_id: Option<LogId>,
    /// The bytes of the last [`Machine::apply_membership`], unchanged; empty when there was none.
    pub membership: Vec<u8>,
}

/// A state machine that a [`Group`](crate::Group) feeds with committed entries.
///
/// Every index is handed over exactly once per open and in order, by exactly one of the three
/// `apply` calls, starting after [`Machine::applied`]. The calls come from one task, run to their
/// end there, and may block for as long as applying takes.
///
/// Committed does not imply durable on this disk: under `periodic` fsync, and with several
/// voters, an entry can be applied before the local log has it on disk. A machine that persists
/// its own state must therefore sync the log before it persists what it applied, or the group
/// refuses to open after a power loss ([`OpenError::LogBehindMachine`](crate::OpenError)).
pub trait Machine: Send + 'static {
    /// What the proposer of a command is answered.
    type Response: Send + Sync + fmt::Debug + 'static;

    /// Where the machine stands, read once when the group opens.
    fn applied(&self) -> Applied;

    /// Applies one command.
    ///
    /// # Errors
    /// Only when the machine cannot go on (its storage failed, an invariant does not hold): the
    /// group stops on this node. A command that is refused is an `Ok` whose response says so.
    fn apply(&mut self, log_id: LogId, command: Bytes) -> Result<Self::Response, MachineError>;

    /// Takes note of the entry that opens a leader's term; it changes nothing but the position.
    fn apply_blank(&mut self, log_id: LogId);

    /// Keeps `membership`, to be given back by [`Machine::applied`].
    fn apply_membership(&mut self, log_id: LogId, membership: Vec<u8>);
}

/// Why a machine cannot go on. It stops the group, so the text should tell an operator what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MachineError(Box<dyn StdError + Send + Sync>);

impl MachineError {
    /// Wraps an error, or a message.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
