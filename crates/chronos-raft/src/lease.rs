//! For how long a leader may rely on nobody else leading.
//!
//! A voter that heard of a leader gives its vote to nobody else for a while, the *hold*. So from
//! the moment at which a leader sent what a majority then acknowledged, no other can win an
//! election for that long. The leader relies on a tenth less, for clocks that run at different
//! speeds. It needs no common time, only monotonic clocks, and a process that was stopped finds
//! its lease over when it goes on.
//!
//! Two things would break this, and are taken care of. A leader that hands the lead over allows
//! an election at once; it gives its lease up before it says so. And a voter that restarts has
//! forgotten its hold; it is [`Quiet`] for as long as the hold may have lasted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chronos_wal::mutant;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::time::Instant;

use crate::types::Types;

/// The lease of the leader on this node.
#[derive(Debug)]
pub(crate) struct Lease {
    node_id: u64,
    duration: Duration,
    /// In this term and earlier ones the node allowed others to be elected.
    given_up: AtomicU64,
}

impl Lease {
    pub(crate) fn new(node_id: u64, duration: Duration) -> Self {
        Self {
            node_id,
            duration,
            given_up: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_held<R: Send + Sync + 'static>(
        &self,
        metrics: &RaftMetrics<Types<R>>,
    ) -> bool {
        if metrics.running_state.is_err() || metrics.state != ServerState::Leader {
            return false;
        }
        let membership = metrics.membership_config.membership();
        if !membership.voter_ids().any(|voter| voter == self.node_id) {
            return false;
        }
        if membership.voter_ids().all(|voter| voter == self.node_id) {
            return true;
        }
        let acked = metrics.last_quorum_acked;
        metrics.current_term > self.given_up.load(Ordering::Acquire)
            && acked.is_some_and(|sent| {
                let times = if mutant!("lease-too-long") { 4 } else { 1 };
                sent.elapsed() < self.duration * times
            })
    }

    /// No lease in any term, until [`Lease::give_up_to`] says which ones are meant.
    pub(crate) fn give_up(&self) {
        if mutant!("lease-kept-on-transfer") {
            return;
        }
        self.given_up.store(u64::MAX, Ordering::Release);
    }

    /// No lease up to this term.
    pub(crate) fn give_up_to(&self, term: u64) {
        if mutant!("lease-kept-on-transfer") {
            return;
        }
        self.given_up.store(term, Ordering::Release);
    }
}

/// The time after a start in which a voter gives no vote, because it may have acknowledged a leader
/// just before it stopped. It does not campaign in that time either, see
/// [`Silence`](crate::clock::Silence).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet {
    votes_from: Option<Instant>,
}

impl Quiet {
    pub(crate) fn new(hold: Duration, restarts: bool) -> Self {
        Self {
            votes_from: restarts.then(|| Instant::now() + hold),
        }
    }

    pub(crate) fn may_vote(&self) -> bool {
        mutant!("votes-right-after-restart")
            || self.votes_from.is_none_or(|time| Instant::now() >= time)
    }
}
