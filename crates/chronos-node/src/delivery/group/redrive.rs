//! Dead letters on their way to the group once more.
//!
//! A redriven letter takes part like any event that waits for another attempt: it is ready, gets a
//! member, is in flight, fails or is processed. Two things differ. Its event was settled when it died,
//! so what becomes of it is not a stretch but progress of the letter. And its attempts count on from
//! those it had, while its failures begin anew.

use super::paused::UNKNOWN_TOPIC;
use super::{Ack, AckOutcome, Group, InFlight, Stretch, stretch_of_one};
use chronos_core::command::dead_letters::{Death, Failure, Progress};
use chronos_core::mutant;
use chronos_core::partition::dead_letters::Redriven;
use chronos_core::types::DueKey;
use hashbrown::HashMap;

/// A letter that is not processed yet.
#[derive(Debug, Clone, Copy)]
struct Letter {
    number: u64,
    due_ms: i64,
    /// Deliveries it ever had, failed or lost with their member.
    deliveries: u32,
    /// Failed deliveries since it was redriven.
    failures: u32,
}

/// The letters under way in a group.
#[derive(Debug, Default)]
pub struct Redrives {
    /// By the offset of their event.
    letters: HashMap<u64, Letter>,
    unsaved: Progress,
}

impl Redrives {
    /// Whether an event is a letter under way.
    pub fn holds(&self, key: DueKey) -> bool {
        !self.letters.is_empty()
            && self
                .letters
                .get(&key.offset)
                .is_some_and(|letter| letter.due_ms == key.due_ms)
    }

    /// The letter's number and its deliveries so far, when the event is one.
    pub fn deliveries(&self, key: DueKey) -> Option<(u64, u32)> {
        match self.holds(key) {
            true => {
                (self.letters.get(&key.offset)).map(|letter| (letter.number, letter.deliveries))
            }
            false => None,
        }
    }

    /// A delivery of the letter was lost with its member.
    pub fn lost(&mut self, key: DueKey, attempt: u32) {
        if let Some(letter) = self.letters.get_mut(&key.offset) {
            letter.deliveries = attempt;
        }
    }

    /// The letter's event was processed. False when the event is no letter.
    pub fn settle(&mut self, key: DueKey) -> bool {
        if !self.holds(key) {
            return false;
        }
        if let Some(letter) = self.letters.remove(&key.offset)
            && !mutant!("redrive-not-logged")
        {
            self.unsaved.settled.push(letter.number);
        }
        true
    }
}

impl Group {
    /// Delivers letters again that the log says are to be redriven.
    pub fn redrive(&mut self, letters: impl IntoIterator<Item = (u64, Redriven)>) {
        for (number, redriven) in letters {
            let Redriven {
                key,
                attempts,
                failures,
                ..
            } = redriven;
            let letter = Letter {
                number,
                due_ms: key.due_ms,
                deliveries: attempts,
                failures,
            };
            self.redrives.letters.insert(key.offset, letter);
            let stretch = Stretch {
                topic: self.topic.unwrap_or(UNKNOWN_TOPIC),
                ..stretch_of_one(key.due_ms, key.offset, key.before())
            };
            if !mutant!("redrive-lost") {
                self.ready.push_back(stretch);
            }
        }
    }

    /// A delivery of a redriven letter failed: try again later, or give up.
    pub(super) fn fail_redriven(
        &mut self,
        key: DueKey,
        in_flight: InFlight,
        reason: String,
        now_ms: i64,
    ) -> AckOutcome {
        let Some(letter) = self.redrives.letters.get_mut(&key.offset) else {
            return AckOutcome::Stale;
        };
        letter.deliveries = in_flight.attempt;
        letter.failures += 1;
        let (letter, failures) = (letter.number, letter.failures);
        let unsaved = &mut self.redrives.unsaved;
        if failures >= self.policy.most_attempts {
            self.counts.dead += 1;
            unsaved.deaths.push(Death {
                letter,
                attempts: in_flight.attempt,
                reason,
            });
            self.redrives.letters.remove(&key.offset);
            self.release_lane(key.offset);
            return AckOutcome::Dead;
        }
        unsaved.failures.push(Failure {
            letter,
            failures,
            attempts: in_flight.attempt,
        });
        let wait_ms = self.policy.backoff.wait_ms(failures, key.offset);
        let stretch = Stretch {
            topic: in_flight.topic,
            ..stretch_of_one(key.due_ms, key.offset, key.before())
        };
        self.delay(stretch, now_ms.saturating_add(wait_ms));
        AckOutcome::Retry
    }

    /// A late success for a letter that waits for another attempt.
    pub(super) fn answer_redriven_late(&mut self, ack: &Ack) -> AckOutcome {
        self.skip.insert(ack.key.offset);
        self.redrives.settle(ack.key);
        AckOutcome::Settled
    }

    /// Progress with redriven letters to put into the log, if any.
    pub fn take_redriven(&mut self) -> Option<Progress> {
        let unsaved = &mut self.redrives.unsaved;
        (!unsaved.is_empty()).then(|| std::mem::take(unsaved))
    }
}
