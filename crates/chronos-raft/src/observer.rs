//! The task of a group that looks after it: it tells who leads, and has openraft's clock run only
//! where it is needed.
//!
//! A group without other members needs no clock, and neither does a node that has no vote. So
//! they are silent when idle.
//!
//! A voter that comes back does not remember until when it owes its vote to a leader it had
//! acknowledged. So for as long as that may be it neither campaigns nor votes; see
//! [`Quiet`](crate::lease::Quiet).

use std::sync::Weak;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::group::Inner;
use crate::leadership::Lead;
use crate::machine::Machine;
use crate::presence::Presence;
use crate::types::Types;

pub(crate) type Metrics<R> = WatchReceiverOf<Types<R>, RaftMetrics<Types<R>>>;
pub(crate) type ServerMetrics<R> = WatchReceiverOf<Types<R>, RaftServerMetrics<Types<R>>>;

pub(crate) struct Observer<M: Machine> {
    pub(crate) group: Weak<Inner<M>>,
    pub(crate) node_id: u64,
    /// Changes with every entry.
    pub(crate) metrics: Metrics<M::Response>,
    /// Changes with the leader and the members only.
    pub(crate) server: ServerMetrics<M::Response>,
    pub(crate) lead: watch::Sender<Lead>,
    /// Before this the node does not campaign.
    pub(crate) quiet_until: Option<Instant>,
    pub(crate) _presence: Presence,
}

/// What there is to do for a node as its group stands.
struct Duty {
    lead: Lead,
    /// It leads, and may have entries of earlier terms to apply.
    catching_up: bool,
    clock: Clock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Off,
    On,
    /// On once the time has come.
    Later(Instant),
}

impl<M: Machine> Observer<M> {
    pub(crate) async fn run(mut self) {
        loop {
            let duty = self.duty();
            if !self.set_clock(duty.clock) {
                break;
            }
            self.publish(duty.lead);
            let later = async {
                match duty.clock {
                    Clock::Later(time) => tokio::time::sleep_until(time).await,
                    Clock::Off | Clock::On => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                biased;
                changed = self.server.changed() => changed.is_ok(),
                changed = self.metrics.changed(), if duty.catching_up => changed.is_ok(),
                () = later => true,
            };
            if !goes_on {
                break;
            }
        }
        let last = *self.lead.borrow();
        self.publish(Lead {
            leader: None,
            leads: false,
            ..last
        });
    }

    fn duty(&mut self) -> Duty {
        let applied_term = leading_term(&self.metrics.borrow_and_update());
        let server = self.server.borrow_and_update();
        let term = server.vote.leader_id.term;
        let is_leader = server.state == ServerState::Leader;
        let leads = is_leader && applied_term == Some(term);

        let id = self.node_id;
        let effective = server.membership_config.membership();
        let committed = server.committed_membership_config.membership();
        let has_peers = effective.nodes().any(|(member, ())| *member != id);
        let votes = effective
            .voter_ids()
            .chain(committed.voter_ids())
            .any(|voter| voter == id);
        let clock = match self.quiet_until {
            _ if !has_peers => Clock::Off,
            _ if is_leader => Clock::On,
            _ if !votes => Clock::Off,
            Some(time) if Instant::now() < time => Clock::Later(time),
            _ => Clock::On,
        };
        Duty {
            lead: Lead {
                term,
                leader: server.current_leader,
                leads,
            },
            catching_up: is_leader && !leads,
            clock,
        }
    }

    /// `false` when the group is gone.
    fn set_clock(&self, clock: Clock) -> bool {
        match self.group.upgrade() {
            Some(group) => {
                group.raft.runtime_config().tick(clock == Clock::On);
                true
            }
            None => false,
        }
    }

    fn publish(&self, lead: Lead) {
        self.lead.send_if_modified(|known| {
            let changes = *known != lead;
            *known = lead;
            changes
        });
    }
}

/// The term this node leads in, once an entry of that very term is applied: the leader's first
/// one comes after everything of earlier terms.
fn leading_term<R: Send + Sync + 'static>(metrics: &RaftMetrics<Types<R>>) -> Option<u64> {
    let applied = metrics.last_applied.as_ref()?;
    (metrics.state == ServerState::Leader && *applied.leader_id == metrics.current_term)
        .then_some(metrics.current_term)
}
