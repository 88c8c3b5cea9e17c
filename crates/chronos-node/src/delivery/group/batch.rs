//! Answers to many deliveries at once, and events that nobody wants any more.

use super::{Ack, AckOutcome, Group};
use chronos_core::mutant;
use chronos_core::types::DueKey;

/// Deliveries of neighbouring events that were processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRun {
    /// The first event.
    pub first: DueKey,
    /// How many, with the same due time and neighbouring offsets.
    pub count: u64,
    /// Which delivery of each.
    pub attempt: u32,
}

impl AckRun {
    fn keys(&self) -> impl Iterator<Item = DueKey> + use<> {
        let DueKey { due_ms, offset } = self.first;
        (0..self.count).map(move |n| DueKey::new(due_ms, offset.saturating_add(n)))
    }
}

impl Group {
    /// Takes the answers to a run of deliveries: as if each was answered alone, with one settled
    /// stretch and one return of credit for those that are as they were handed out.
    pub fn answer_run(&mut self, run: AckRun, horizon: DueKey, now_ms: i64) {
        let mut returned = (None, 0);
        for key in run.keys() {
            let known = self
                .in_flight
                .get(&key.offset)
                .filter(|known| known.due_ms == key.due_ms)
                .copied();
            let Some(in_flight) = known.filter(|_| !mutant!("settle-past-gap")) else {
                let ack = Ack {
                    key,
                    attempt: run.attempt,
                    success: true,
                    reason: String::new(),
                };
                self.answer(ack, horizon, now_ms);
                continue;
            };
            self.in_flight.remove(&key.offset);
            if returned.0 != Some(in_flight.session) {
                self.give_back_many(returned, key.offset);
                returned = (Some(in_flight.session), 0);
            }
            returned.1 += 1;
            match self.redrives.settle(key) {
                true => self.release_lane(key.offset),
                false => self.settle(key, in_flight.before),
            }
        }
        let last = run.first.offset.saturating_add(run.count.saturating_sub(1));
        self.give_back_many(returned, last);
    }

    /// Settles an event that expired before it reached its member. Whether it did: an answer, a
    /// time-out or the member's leave may have come first.
    pub fn expired(&mut self, key: DueKey, attempt: u32, horizon: DueKey, now_ms: i64) -> bool {
        let under_way = self
            .in_flight
            .get(&key.offset)
            .is_some_and(|known| known.due_ms == key.due_ms && known.attempt == attempt);
        let ack = Ack {
            key,
            attempt,
            success: true,
            reason: String::new(),
        };
        under_way && self.answer(ack, horizon, now_ms) == AckOutcome::Settled
    }

    fn give_back_many(&mut self, (session, count): (Option<super::SessionId>, u32), settled: u64) {
        let member = (self.members.iter_mut()).find(|member| Some(member.session) == session);
        if let Some(member) = member {
            member.in_flight = member.in_flight.saturating_sub(count);
            member.credit.give(count);
            member.credit.settled(settled);
        }
    }
}
