//! Who belongs to a group, and changing that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, Instant as _, ServerState};

use crate::error::ChangeError;
use crate::group::{Group, plain};
use crate::machine::Machine;
use crate::types::{Membership, Types};

/// The members of a group by the last entry that says so, which may not be committed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those whose majority commits.
    pub voters: BTreeSet<u64>,
    /// Those that get every entry and have no vote.
    pub learners: BTreeSet<u64>,
    /// While the voters change: those of before, a majority of whom has to agree as well. If a
    /// leader was lost in the middle it stays so, until [`Group::set_voters`] is called again.
    pub old_voters: Option<BTreeSet<u64>>,
}

/// How a peer keeps up with the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// The last entry that is surely on the peer's disk.
    pub matched_index: Option<u64>,
    /// How long ago the last request that the peer answered was sent; `None` if it never answered.
    pub heard_ago: Option<Duration>,
}

impl Members {
    pub(crate) fn of(membership: &Membership) -> Self {
        let configs = membership.get_joint_config();
        Self {
            voters: configs.last().cloned().unwrap_or_default(),
            learners: membership.learner_ids().collect(),
            old_voters: (configs.len() > 1).then(|| configs[0].clone()),
        }
    }
}

impl<M: Machine> Group<M> {
    /// The members, as this node knows them.
    pub fn members(&self) -> Members {
        Members::of(
            self.0
                .metrics
                .borrow_watched()
                .membership_config
                .membership(),
        )
    }

    /// How the peers keep up; `None` if this node does not lead.
    pub fn replication(&self) -> Option<BTreeMap<u64, Replication>> {
        let metrics = self.0.metrics.borrow_watched();
        let matched = metrics.replication.as_ref()?;
        let heard = metrics.heartbeat.as_ref()?;
        let peers = matched.iter().filter(|(id, _)| **id != self.0.node_id);
        let replication = peers.map(|(id, matched)| {
            let sent = heard.get(id).copied().flatten();
            let peer = Replication {
                matched_index: matched.as_ref().map(|id| id.index),
                heard_ago: sent.map(|sent| sent.elapsed()),
            };
            (*id, peer)
        });
        Some(replication.collect())
    }

    /// Lets a node get every entry, without a vote. Returns once that is committed, which is
    /// before the node has caught up: [`Group::replication`] shows how far it is. Nothing happens
    /// to a node that is a member already.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn add_learner(&self, id: u64) -> Result<(), ChangeError> {
        changed(self.0.raft.add_learner(id, (), false).await)
    }

    /// Removes a learner or a voter. Nothing happens to a node that is no member.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn remove(&self, id: u64) -> Result<(), ChangeError> {
        let members = self.members();
        let ids = BTreeSet::from([id]);
        let change = if members.voters.contains(&id) {
            self.check_voters(members.voters.iter().filter(|voter| **voter != id))?;
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        changed(self.0.raft.change_membership(change, false).await)
    }

    /// Makes these the voters, in two steps: for a time majorities of the old and of the new ones
    /// are both needed, so that no moment has two. New voters have to be learners that have caught
    /// up. Those that are voters no more stay as learners until [`Group::remove`]. Also completes
    /// a change that was left in the middle.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), ChangeError> {
        self.check_voters(voters.iter())?;
        changed(self.0.raft.change_membership(voters, true).await)
    }

    /// A leader that is no voter would go on for a while without a lease.
    fn check_voters<'a>(&self, voters: impl Iterator<Item = &'a u64>) -> Result<(), ChangeError> {
        let voters: BTreeSet<&u64> = voters.collect();
        if voters.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        let leads = self.0.metrics.borrow_watched().state == ServerState::Leader;
        if leads && !voters.contains(&self.0.node_id) {
            return Err(ChangeError::LeaderLeaves);
        }
        Ok(())
    }
}

type Changed<R> =
    Result<ClientWriteResponse<Types<R>>, RaftError<Types<R>, ClientWriteError<Types<R>>>>;

fn changed<R: Send + Sync + 'static>(result: Changed<R>) -> Result<(), ChangeError> {
    let error = match result {
        Ok(_) => return Ok(()),
        Err(RaftError::Fatal(fatal)) => return Err(ChangeError::Stopped(plain(&fatal))),
        Err(RaftError::APIError(error)) => error,
    };
    Err(match error {
        ClientWriteError::ForwardToLeader(forward) => ChangeError::NotLeader {
            leader: forward.leader_id,
        },
        ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_) => {
            ChangeError::Unknown
        }
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => ChangeError::InProgress,
            ChangeMembershipError::EmptyMembership(_) => ChangeError::NoVoters,
            ChangeMembershipError::LearnerNotFound(missing) => {
                ChangeError::NotALearner(missing.node_id)
            }
            ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_) => ChangeError::Unknown,
        },
    })
}
