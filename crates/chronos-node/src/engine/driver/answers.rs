//! Answers to many deliveries at once, and deliveries that ended before they reached their member.

use super::super::clock;
use super::super::message::Expired;
use super::Driver;
use crate::delivery::AckRun;
use chronos_core::types::GroupNumber;

impl Driver {
    /// Takes in runs of processed deliveries.
    pub(super) fn on_runs(&mut self, runs: Vec<(GroupNumber, AckRun)>) {
        let (horizon, now_ms) = (self.feed.horizon(), clock::now_ms());
        for (number, run) in runs {
            if let Some(group) = self.groups.get_mut(&number) {
                group.answer_run(run, horizon, now_ms);
                self.counters.acked.inc_by(run.count);
                self.unsaved.insert(number);
                self.active.insert(number);
            }
        }
    }

    /// Settles events that expired before they reached their member.
    pub(super) fn on_expired(&mut self, expired: &Expired) {
        let (horizon, now_ms) = (self.feed.horizon(), clock::now_ms());
        let Some(group) = self.groups.get_mut(&expired.group) else {
            return;
        };
        for dispatch in &expired.events {
            if group.expired(dispatch.key, dispatch.attempt, horizon, now_ms) {
                self.counters.expired.inc();
            }
        }
        self.unsaved.insert(expired.group);
        self.active.insert(expired.group);
    }
}
