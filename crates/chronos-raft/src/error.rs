//! What can go wrong with a group, one type per operation.

use std::error::Error as StdError;

use crate::log_store::LogError;
use crate::machine::LogId;
use crate::membership::MembershipError;
use crate::state_file::StateFileError;

/// Why a group does not open. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("the options of the group: {0}")]
    Options(String),
    /// A small file of the group cannot be read or written, or is damaged.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The log does not hold together.
    #[error("the log of the group: {0}")]
    Log(#[source] Box<dyn StdError + Send + Sync>),
    /// The membership that the machine kept cannot be read.
    #[error("the membership kept by the state machine: {0}")]
    Membership(#[from] MembershipError),
    /// The log has an entry of a later term than the vote: the file with the vote is old or was
    /// removed, and the node may have forgotten a vote it gave.
    #[error("the last log entry is {last}, but the vote is of term {vote_term}: the vote was lost")]
    VoteBehindLog {
        /// The term of the vote, 0 if there is no file.
        vote_term: u64,
        /// The last entry of the log.
        last: LogId,
    },
    /// A vote was given, but the log is empty: the log was removed or is not this group's. A node
    /// that waits to be added may have heard of a leader before it got its first entry, and opens.
    #[error("a vote of term {vote_term} is there, but the log is empty: the log was lost")]
    LogLost {
        /// The term of the vote.
        vote_term: u64,
    },
    /// The machine applied more than the log holds: the log lost its end, or it is not this
    /// machine's.
    #[error(
        "the state machine applied {applied}, but the last log entry is {last:?}: the end of the log was lost"
    )]
    LogBehindMachine {
        /// The last entry the machine applied.
        applied: LogId,
        /// The last entry of the log.
        last: Option<LogId>,
    },
    /// The machine lacks entries that were purged from the log: its state was lost or is older than
    /// the log.
    #[error(
        "the state machine applied {applied:?}, but the log begins after {floor}: what was applied in between was lost, restore both from one backup"
    )]
    MachineBehindLog {
        /// The last entry the machine applied.
        applied: Option<LogId>,
        /// The last entry that is no longer in the log.
        floor: LogId,
    },
    /// The group stopped while it was opening; the text says why.
    #[error("the group stopped while opening: {0}")]
    Stopped(String),
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::StateFile(error) => Self::StateFile(error),
            error => Self::Log(Box::new(error)),
        }
    }
}

/// Why a proposal has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Surely not applied, now or later: this node does not lead.
    #[error("this node does not lead the group; node {leader:?} does")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
    /// The outcome is not known: the entry may be in the log and may be applied later, or after
    /// a restart. Only a command that can be told from its repetition may be proposed again.
    #[error("it is not known whether the command was or will be applied")]
    Unknown,
    /// Surely not applied, now or later: the group had stopped. The text says why.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why the members of a group are not as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nothing changed: this node does not lead, or heard of no majority lately.
    #[error("this node does not lead the group; node {leader:?} does")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
    /// Nothing changed: an earlier change is not committed yet.
    #[error("another change of the group's members is under way")]
    InProgress,
    /// Nothing changed: a node has to be a learner before it becomes a voter.
    #[error("node {0} is not a learner of the group")]
    NotALearner(u64),
    /// Nothing changed: a group has at least one voter.
    #[error("the group would be left without a voter")]
    NoVoters,
    /// Nothing changed: this node leads, and would be no voter any more. Another has to lead first.
    #[error("this node leads the group and cannot stop being a voter; let another lead first")]
    LeaderLeaves,
    /// The outcome is not known: this node lost the lead or stopped meanwhile. The change may be in
    /// effect, or half of it, which [`Members::old_voters`](crate::Members) shows and a repetition
    /// completes.
    #[error("it is not known whether the group's members changed")]
    Unknown,
    /// Nothing changed: the group had stopped. The text says why.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why another node does not lead after it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("this node does not lead the group; node {leader:?} does")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
    /// Only a voter can lead.
    #[error("node {0} is not a voter of the group")]
    NotAVoter(u64),
    /// This node goes on leading: the other was not heard from lately or lacks many entries.
    #[error("node {0} is not up to date enough to take over at once")]
    Behind(u64),
    /// The other did not take over in time. This node has stopped leading all the same, and another
    /// election takes place.
    #[error("node {0} did not take over in time")]
    TimedOut(u64),
    /// The group stopped. The text says why.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// The group stopped, and the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group has stopped: {0}")]
pub struct Stopped(pub String);
