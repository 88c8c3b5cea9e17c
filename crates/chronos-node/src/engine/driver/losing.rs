//! The end of a lead: another node may already decide, so nothing more is decided here.

use super::super::message::Refused;
use super::{Driver, End};

impl Driver {
    /// Refuses what waits, and says of what is under way that its outcome is not known: the entries
    /// may be in the next leader's log. Streams end, so that subscriptions look for the next leader.
    pub(super) fn lose(mut self) -> End {
        let number = self.handle.number;
        tracing::info!(
            partition = number,
            term = self.term,
            "no longer leading this partition"
        );
        self.sessions.clear();
        for entry in self.in_flight.drain(..) {
            entry.fail(&Refused::Unknown(number), &self.counters);
        }
        self.fail_queued(&Refused::NotLeader(number));
        for reply in self.answered.drain(..) {
            let _ = reply.send(Err(Refused::Unknown(number)));
        }
        match self.stopping.take() {
            Some(stopped) => {
                let _ = stopped.send(());
                End::Stopped
            }
            None => End::Lost,
        }
    }
}
