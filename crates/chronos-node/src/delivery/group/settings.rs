//! What happens to a group's topic while the group is served: it changes, or it is deleted.

use super::{Backoff, Group, Lanes, redrive};
use chronos_core::types::DueKey;
use std::time::Duration;

/// How deliveries are repeated.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// A delivery that is not answered in this time has failed.
    pub ack_timeout: Duration,
    /// Deliveries that may fail before the event is a dead letter; at least one.
    pub most_attempts: u32,
    /// Waits between them.
    pub backoff: Backoff,
}

impl Group {
    /// Repeats deliveries like this from now on. What is under way keeps its time.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Notes until when a delivery is to be answered. In order of time, also when the time to answer
    /// became shorter.
    pub(super) fn push_deadline(&mut self, deadline: (i64, u64, u32)) {
        match self.deadlines.back() {
            Some(last) if last.0 > deadline.0 => {
                let at = self
                    .deadlines
                    .partition_point(|other| other.0 <= deadline.0);
                self.deadlines.insert(at, deadline);
            }
            _ => self.deadlines.push_back(deadline),
        }
    }

    /// Forgets every event up to the horizon: the topic was deleted, and the log has settled them.
    /// Members stay, and have their credit back.
    pub fn topic_deleted(&mut self, horizon: DueKey) {
        for member in &mut self.members {
            member.credit.give(std::mem::take(&mut member.in_flight));
        }
        self.settled.settle(DueKey::MIN, horizon);
        self.settled_upto = self.settled_upto.max(horizon);
        self.read = self.read.max(horizon);
        self.last = self.last.max(horizon);
        self.ready.clear();
        self.delayed.clear();
        self.delayed_events = 0;
        self.in_flight.clear();
        self.deadlines.clear();
        self.past.clear();
        self.skip.clear();
        self.redrives = redrive::Redrives::default();
        if self.lanes.is_some() {
            self.lanes = Some(Lanes::default());
        }
        self.unsaved.stretches.clear();
        self.unsaved.failures.clear();
        self.unsaved.deaths.clear();
    }
}
