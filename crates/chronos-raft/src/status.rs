//! Where a group stands.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, ServerState};

use crate::group::Group;
use crate::machine::{LogId, Machine};
use crate::members::Members;

/// Where a group stands. May be a few entries behind what was already answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The term this node is in; 0 before the first election.
    pub term: u64,
    /// Who leads in that term, if that is known.
    pub leader: Option<u64>,
    /// The last entry of this node's log; `None` for an empty log.
    pub last_index: Option<u64>,
    /// The last entry this node knows to be committed.
    pub committed_index: Option<u64>,
    /// The last entry the machine on this node applied.
    pub applied_index: Option<u64>,
    /// The last entry given up by [`Group::purge`].
    pub purged_index: Option<u64>,
    /// Those whose majority commits.
    pub voters: BTreeSet<u64>,
    /// Those that get every entry and have no vote.
    pub learners: BTreeSet<u64>,
    /// On the leader: how long ago it sent what a majority answered last. `None` elsewhere, and
    /// before the first answers.
    pub quorum_heard_ago: Option<Duration>,
}

impl<M: Machine> Group<M> {
    /// Where the group stands.
    pub fn status(&self) -> Status {
        let metrics = self.0.metrics.borrow_watched();
        let Members {
            voters, learners, ..
        } = Members::of(metrics.membership_config.membership());
        let heard = metrics.last_quorum_acked;
        Status {
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index,
            committed_index: metrics.local_committed.as_ref().map(|id| id.index),
            applied_index: metrics.last_applied.as_ref().map(|id| id.index),
            purged_index: metrics.purged.as_ref().map(|id| id.index),
            voters,
            learners,
            quorum_heard_ago: heard
                .filter(|_| metrics.state == ServerState::Leader)
                .map(|sent| sent.elapsed()),
        }
    }

    /// The last entry given up by [`Group::purge`]: a copy of the log begins after it.
    pub fn floor(&self) -> Option<LogId> {
        let metrics = self.0.metrics.borrow_watched();
        metrics.purged.as_ref().map(LogId::from)
    }

    /// The last entry that the machine on this node applied.
    pub fn applied(&self) -> Option<LogId> {
        let metrics = self.0.metrics.borrow_watched();
        metrics.last_applied.as_ref().map(LogId::from)
    }
}
