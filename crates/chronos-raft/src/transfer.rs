//! Handing the lead over.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;

use crate::error::TransferError;
use crate::group::{Group, plain, stop_reason};
use crate::machine::Machine;
use crate::types::Types;

/// How many entries the other may lack. They are sent while nothing new is accepted.
const MAX_LAG: u64 = 1000;

impl<M: Machine> Group<M> {
    /// Hands the lead over to a voter, and waits until it leads.
    ///
    /// From the call on nothing new is accepted here and the lease is given up. What was accepted
    /// before is still committed and answered, or ends with
    /// [`ProposeError::Unknown`](crate::ProposeError). Should the other not take over, this node
    /// does not lead on either: it says nothing more, so that an election takes place.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn transfer_lead(&self, to: u64) -> Result<(), TransferError> {
        let inner = &*self.0;
        let lead = self.leadership().get();
        if !lead.leads {
            return Err(TransferError::NotLeader {
                leader: lead.leader,
            });
        }
        if to == inner.node_id {
            return Ok(());
        }
        self.check_target(to)?;
        let stopped = |fatal: Fatal<Types<M::Response>>| TransferError::Stopped(plain(&fatal));
        tracing::info!(
            group = inner.name,
            to,
            term = lead.term,
            "hands the lead over"
        );
        // A task of its own: who asked may not wait for the end, and the lease would stay given up in
        // every later term.
        let giving_up = tokio::spawn(self.clone().give_up(to));
        let term = match giving_up.await {
            Ok(term) => term.map_err(stopped)?,
            Err(error) => return Err(TransferError::Stopped(error.to_string())),
        };

        let mut leadership = self.leadership();
        let taken = leadership.reach(|lead| lead.leader == Some(to) && lead.term >= term);
        match tokio::time::timeout(inner.transfer_bound, taken).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(TransferError::Stopped(stop_reason(
                &inner.metrics.borrow_watched(),
            ))),
            Err(_) => Err(TransferError::TimedOut(to)),
        }
    }

    /// Gives the lease up and has the other one told. The term that was given up, or a later one.
    async fn give_up(self, to: u64) -> Result<u64, Fatal<Types<M::Response>>> {
        let inner = &*self.0;
        inner.lease.give_up();
        let triggered = inner.raft.trigger().transfer_leader(to).await;
        let term = inner
            .raft
            .with_raft_state(|state| state.vote_ref().leader_id.term)
            .await;
        if let Ok(term) = term {
            inner.lease.give_up_to(term);
        }
        triggered?;
        term
    }

    fn check_target(&self, to: u64) -> Result<(), TransferError> {
        let inner = &*self.0;
        if !self.members().voters.contains(&to) {
            return Err(TransferError::NotAVoter(to));
        }
        let last = inner.metrics.borrow_watched().last_log_index.unwrap_or(0);
        let peer = self.replication().and_then(|peers| peers.get(&to).copied());
        let is_ready = peer.is_some_and(|peer| {
            let lag = last.saturating_sub(peer.matched_index.unwrap_or(0));
            lag <= MAX_LAG && peer.heard_ago.unwrap_or(Duration::MAX) <= inner.transfer_bound
        });
        if is_ready {
            Ok(())
        } else {
            Err(TransferError::Behind(to))
        }
    }
}
