//! What becomes of deliveries: answered, answered late, failed or timed out.

use super::{Ack, AckOutcome, Group, InFlight, SessionId, Stretch, stretch_of_one};
use chronos_core::command::settle::{Death, Failure};
use chronos_core::mutant;
use chronos_core::types::DueKey;
use std::cmp::Reverse;

/// Deadlines of answered deliveries are swept out when they outnumber the others by this much.
const LEAST_DEADLINES: usize = 64 * 1024;

impl Group {
    /// Takes a consumer's answer.
    pub fn answer(&mut self, ack: Ack, horizon: DueKey, now_ms: i64) -> AckOutcome {
        let known = self
            .in_flight
            .get(&ack.key.offset)
            .filter(|known| known.due_ms == ack.key.due_ms);
        match (known.copied(), ack.success || mutant!("commit-on-nack")) {
            (Some(in_flight), true) => {
                self.in_flight.remove(&ack.key.offset);
                self.give_back(in_flight.session, Some(ack.key.offset));
                if self.redrives.settle(ack.key) {
                    self.release_lane(ack.key.offset);
                    return AckOutcome::Settled;
                }
                let before = if mutant!("settle-past-gap") {
                    DueKey::MIN
                } else {
                    in_flight.before
                };
                self.settle(ack.key, before);
                AckOutcome::Settled
            }
            (Some(in_flight), false) if in_flight.attempt == ack.attempt => {
                self.in_flight.remove(&ack.key.offset);
                self.give_back(in_flight.session, None);
                self.fail(ack.key, in_flight, ack.reason, now_ms)
            }
            (None, true) if self.redrives.holds(ack.key) => self.answer_redriven_late(&ack),
            (None, true) => self.answer_late(ack.key, horizon, now_ms),
            (_, false) => AckOutcome::Stale,
        }
    }

    /// An answer to a delivery of before a restart or a time-out: the event was processed, so it is
    /// settled wherever it is now.
    fn answer_late(&mut self, key: DueKey, horizon: DueKey, now_ms: i64) -> AckOutcome {
        if key > horizon || self.settled.contains(key) {
            return AckOutcome::Stale;
        }
        if key <= self.read {
            // Waiting here, or settled by this leader: then the answer changes nothing.
            self.wake(now_ms);
            let holds = |stretch: &Stretch| stretch.first() <= key && key <= stretch.last();
            let waits = self.past.contains_key(&key.offset)
                || self.ready.iter().any(holds)
                || self.paused.holds(key)
                // Ready, or behind another one of its key.
                || self.lanes.as_ref().is_some_and(|lanes| lanes.knows(key.offset))
                // What is not failed and still delayed waits for its time.
                || key.due_ms > now_ms
                    && self.delayed.iter().any(|Reverse((_, stretch))| holds(stretch));
            if !waits {
                return AckOutcome::Stale;
            }
            self.skip.insert(key.offset);
        }
        self.settled_upto = self.settled_upto.max(key);
        self.settled.settle_one(key);
        self.settle(key, key.before());
        AckOutcome::Settled
    }

    pub(super) fn settle(&mut self, key: DueKey, before: DueKey) {
        if !self.past.is_empty() {
            self.past.remove(&key.offset);
        }
        self.release_lane(key.offset);
        if mutant!("settle-not-logged") {
            return;
        }
        match self.unsaved.stretches.last_mut() {
            Some((_, to)) if *to == before => *to = key,
            _ => self.unsaved.stretches.push((before, key)),
        }
    }

    /// An event is done with: the next of its key may go.
    pub(super) fn release_lane(&mut self, offset: u64) {
        if mutant!("key-never-freed") {
            return;
        }
        if let Some(lanes) = &mut self.lanes
            && let Some(next) = lanes.release(offset)
        {
            self.ready.push_front(next);
        }
    }

    /// A delivery failed: try again later, or give up.
    fn fail(
        &mut self,
        key: DueKey,
        in_flight: InFlight,
        reason: String,
        now_ms: i64,
    ) -> AckOutcome {
        if self.redrives.holds(key) {
            return self.fail_redriven(key, in_flight, reason, now_ms);
        }
        let past = self.past.entry(key.offset).or_default();
        past.deliveries = in_flight.attempt;
        past.failures += 1;
        let failures = past.failures;
        if failures >= self.policy.most_attempts {
            if !mutant!("skip-dead-letter") {
                self.counts.dead += 1;
                self.unsaved.deaths.push(Death {
                    key,
                    attempts: in_flight.attempt,
                    reason,
                });
            }
            self.settle(key, in_flight.before);
            return AckOutcome::Dead;
        }
        if mutant!("retry-lost") {
            return AckOutcome::Retry;
        }
        if mutant!("key-freed-by-failure") {
            self.release_lane(key.offset);
        }
        self.unsaved.failures.push(Failure { key, failures });
        let wait_ms = self.policy.backoff.wait_ms(failures, key.offset);
        let stretch = Stretch {
            topic: in_flight.topic,
            ..stretch_of_one(key.due_ms, key.offset, in_flight.before)
        };
        self.delay(stretch, now_ms.saturating_add(wait_ms));
        AckOutcome::Retry
    }

    /// Fails the deliveries that were not answered in time.
    pub fn expire(&mut self, now_ms: i64) {
        if self.deadlines.len() > 4 * self.in_flight.len() + LEAST_DEADLINES {
            let in_flight = &self.in_flight;
            self.deadlines.retain(|(_, offset, attempt)| {
                in_flight
                    .get(offset)
                    .is_some_and(|known| known.attempt == *attempt)
            });
        }
        while let Some((at_ms, offset, attempt)) = self.deadlines.front().copied() {
            let current = self
                .in_flight
                .get(&offset)
                .copied()
                .filter(|known| known.attempt == attempt);
            if current.is_some() && at_ms > now_ms {
                return;
            }
            self.deadlines.pop_front();
            if let Some(in_flight) = current {
                self.in_flight.remove(&offset);
                self.give_back(in_flight.session, None);
                self.counts.timed_out += 1;
                let reason = format!("no answer within {:?}", self.policy.ack_timeout);
                self.fail(
                    DueKey::new(in_flight.due_ms, offset),
                    in_flight,
                    reason,
                    now_ms,
                );
            }
        }
    }

    fn give_back(&mut self, session: SessionId, settled: Option<u64>) {
        if let Some(member) = self
            .members
            .iter_mut()
            .find(|member| member.session == session)
        {
            member.in_flight = member.in_flight.saturating_sub(1);
            member.credit.give(1);
            if let Some(offset) = settled {
                member.credit.settled(offset);
            }
        }
    }
}
