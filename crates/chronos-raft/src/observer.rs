//! The task of a group that looks after it: it tells who leads, and does what the clock says.

use std::sync::{Arc, Weak};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::{InstantOf, WatchReceiverOf};
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::clock::{Act, Clock, Role, Silence};
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
    pub(crate) clock: Clock,
    /// When the last message was sent that a majority answered.
    pub(crate) answered: Option<InstantOf<Types<M::Response>>>,
    pub(crate) silence: Arc<Silence>,
    pub(crate) _presence: Presence,
}

/// What there is to do for a node as its group stands.
struct Duty {
    lead: Lead,
    /// It leads, and may have entries of earlier terms to apply.
    catching_up: bool,
    role: Role,
}

impl<M: Machine> Observer<M> {
    pub(crate) async fn run(mut self) {
        loop {
            let duty = self.duty();
            self.publish(duty.lead);
            self.clock.set_role(duty.role, &self.silence);
            if !self.act().await {
                break;
            }
            let due = self.clock.due(&self.silence);
            let time = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                biased;
                changed = self.server.changed() => changed.is_ok(),
                changed = self.metrics.changed(), if duty.catching_up => changed.is_ok(),
                () = time => true,
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
        let role = match (has_peers, is_leader, votes) {
            (true, true, _) => Role::Leads,
            (true, false, true) => Role::Votes,
            _ => Role::Idle,
        };
        Duty {
            lead: Lead {
                term,
                leader: server.current_leader,
                leads,
            },
            catching_up: is_leader && !leads,
            role,
        }
    }

    /// Does what is due. `false` when the group is gone.
    async fn act(&mut self) -> bool {
        let Some(act) = self.clock.take_due(&self.silence) else {
            return true;
        };
        if act == Act::Beat && !self.is_to_be_heard() {
            return true;
        }
        let Some(group) = self.group.upgrade() else {
            return false;
        };
        let trigger = group.raft.trigger();
        match act {
            Act::Beat => trigger.heartbeat().await.is_ok(),
            // Asks first whether it would get votes, so that it disturbs nobody in vain.
            Act::Campaign => trigger.elect(true).await.is_ok(),
        }
    }

    fn is_to_be_heard(&mut self) -> bool {
        let (answered, votes_alone) = {
            // Not marked as seen: they may say what a leader that catches up waits for.
            let metrics = self.metrics.borrow_watched();
            let mut voters = metrics.membership_config.membership().voter_ids();
            let answered = metrics.last_quorum_acked.as_ref().map(|sent| **sent);
            (answered, voters.all(|voter| voter == self.node_id))
        };
        let is_answered = votes_alone || answered > self.answered;
        self.answered = answered;
        self.clock.is_to_be_heard(is_answered)
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
