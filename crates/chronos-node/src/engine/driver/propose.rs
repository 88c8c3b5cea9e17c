//! Commands on their way into the log: queued, put into entries, proposed, and answered when their
//! entry is applied.

use super::super::clock;
use super::super::message::{Changes, Publish, Refused, Replace};
use super::Driver;
use crate::delivery;
use crate::metrics::PartitionMetrics;
use bytes::Bytes;
use chronos_core::command::change::Change;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::command::{Builder, Kind};
use chronos_core::mutant;
use chronos_core::partition::{Changed, Effects, Outcome, Published, Verdict};
use chronos_core::types::GroupNumber;
use chronos_raft::ProposeError;
use futures::future::FutureExt;
use std::collections::VecDeque;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Entries on their way through the log at once. More than one, so that the disk does not wait for
/// the next entry to be put together.
const MOST_IN_FLIGHT: usize = 4;
/// An entry is closed when its commands have this size, bytes.
const ENTRY_BYTES: usize = 4 << 20;

/// Somebody who waits for a command to take effect.
pub(super) enum Waiter {
    Publish {
        reply: oneshot::Sender<Result<Published, Refused>>,
        events: u32,
        _permit: OwnedSemaphorePermit,
    },
    Change(oneshot::Sender<Result<Vec<Changed>, Refused>>),
    Replace {
        reply: oneshot::Sender<Result<(Changed, Published), Refused>>,
        _permit: OwnedSemaphorePermit,
    },
    CreateGroup(oneshot::Sender<Result<GroupNumber, Refused>>),
    DeleteTopic {
        /// Pending events when it was asked for.
        pending: u64,
        reply: oneshot::Sender<Result<Result<u64, u64>, Refused>>,
    },
    DeadLetters(GroupNumber, oneshot::Sender<Result<Vec<u64>, Refused>>),
    Retain(oneshot::Sender<Result<Outcome, Refused>>),
    Settle,
}

impl Waiter {
    fn fail(self, refused: &Refused, counters: &PartitionMetrics) {
        match self {
            Waiter::Publish { reply, events, .. } => {
                counters.failed.inc_by(u64::from(events));
                let _ = reply.send(Err(refused.clone()));
            }
            Waiter::Change(reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::Replace { reply, .. } => drop(reply.send(Err(refused.clone()))),
            Waiter::CreateGroup(reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::DeleteTopic { reply, .. } => drop(reply.send(Err(refused.clone()))),
            Waiter::DeadLetters(_, reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::Retain(reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::Settle => {}
        }
    }
}

/// Commands that wait for a place in an entry, and who waits for them.
#[derive(Default)]
pub(super) struct Queue {
    commands: VecDeque<(Kind, Bytes, Waiter)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn push(&mut self, kind: Kind, payload: Bytes, waiter: Waiter) {
        self.bytes += payload.len();
        self.commands.push_back((kind, payload, waiter));
    }
}

/// An entry on its way through the log.
pub(super) struct Entry {
    waiters: Vec<Waiter>,
    answered: Vec<oneshot::Sender<Result<(), Refused>>>,
    proposed: Instant,
}

impl Entry {
    pub(super) fn fail(self, refused: &Refused, counters: &PartitionMetrics) {
        for waiter in self.waiters {
            waiter.fail(refused, counters);
        }
        self.answered
            .into_iter()
            .for_each(|reply| drop(reply.send(Err(refused.clone()))));
    }
}

impl Driver {
    /// Refuses what is not in an entry yet.
    pub(super) fn fail_queued(&mut self, refused: &Refused) {
        for (_, _, waiter) in std::mem::take(&mut self.queue).commands {
            waiter.fail(refused, &self.counters);
        }
    }

    pub(super) fn on_publish(&mut self, publish: Publish) {
        let Publish {
            section,
            events,
            permit,
            reply,
        } = publish;
        if mutant!("ack-before-append") {
            let published = Published {
                first_offset: self.next_offset,
                accepted: events,
                ..Published::default()
            };
            self.next_offset += u64::from(events);
            let _ = reply.send(Ok(published));
            return;
        }
        let waiter = Waiter::Publish {
            reply,
            events,
            _permit: permit,
        };
        self.queue.push(Kind::Publish, section, waiter);
    }

    pub(super) fn on_change(&mut self, changes: Changes) {
        let Changes { items, reply } = changes;
        let payload = Change { items }.encode();
        self.queue
            .push(Kind::Change, payload.into(), Waiter::Change(reply));
    }

    pub(super) fn on_replace(&mut self, replace: Replace) {
        let Replace {
            section,
            permit,
            reply,
        } = replace;
        let waiter = Waiter::Replace {
            reply,
            _permit: permit,
        };
        self.queue.push(Kind::Replace, section, waiter);
    }

    pub(super) fn on_create_group(
        &mut self,
        create: &CreateGroup,
        reply: oneshot::Sender<Result<GroupNumber, Refused>>,
    ) {
        let known = self
            .handle
            .state
            .lock()
            .group_number(&create.name, create.topic.as_deref());
        match known.filter(|number| self.groups.contains_key(number)) {
            Some(number) => drop(reply.send(Ok(number))),
            None => self.queue.push(
                Kind::CreateGroup,
                create.encode().into(),
                Waiter::CreateGroup(reply),
            ),
        }
    }

    /// Puts what is queued into entries, as long as there is room in the log's pipeline.
    pub(super) fn propose(&mut self) {
        let ahead_ms = self.options.fire_ahead.as_millis() as u32;
        loop {
            if self.in_flight.len() >= MOST_IN_FLIGHT {
                return;
            }
            let now_ms = clock::now_ms();
            let target_ms = now_ms.saturating_add(i64::from(ahead_ms));
            self.ask_for_page(now_ms);
            if self.paging.is_some() && !self.schedule.is_loaded_upto(target_ms) {
                // The horizon would pass events that are still being read.
                return;
            }
            self.queue_settles();
            let due = self
                .schedule
                .next_due_ms()
                .is_some_and(|due| due <= target_ms && due > self.proposed_ms);
            if self.queue.is_empty() && !due {
                self.answer_settled();
                return;
            }
            self.propose_entry(now_ms, if due { ahead_ms } else { 0 });
        }
    }

    fn queue_settles(&mut self) {
        for number in std::mem::take(&mut self.unsaved) {
            if let Some(settle) = self
                .groups
                .get_mut(&number)
                .and_then(delivery::Group::take_settle)
            {
                self.queue
                    .push(Kind::Settle, settle.encode().into(), Waiter::Settle);
            }
            self.queue_redriven(number);
        }
    }

    /// Answers that changed nothing are told so at once, or after what is in flight: that may be the
    /// very settles they repeat.
    fn answer_settled(&mut self) {
        match self.in_flight.back_mut() {
            Some(last) => last.answered.append(&mut self.answered),
            None => self
                .answered
                .drain(..)
                .for_each(|reply| drop(reply.send(Ok(())))),
        }
    }

    fn propose_entry(&mut self, now_ms: i64, ahead_ms: u32) {
        let mut builder = Builder::new(self.queue.bytes.min(ENTRY_BYTES + (1 << 16)));
        let mut waiters = Vec::new();
        while let Some((kind, payload, waiter)) = self.queue.commands.pop_front() {
            self.queue.bytes -= payload.len();
            builder.push(kind, &payload);
            waiters.push(waiter);
            if builder.len() >= ENTRY_BYTES || waiters.len() == usize::from(u16::MAX) {
                break;
            }
        }
        // Settles are queued behind publishes: the answers may go with the entry that takes the last.
        let answered = match self.queue.is_empty() {
            true => std::mem::take(&mut self.answered),
            false => Vec::new(),
        };
        let body = builder.finish(now_ms, ahead_ms, self.term);
        self.counters.wal_append_batches.inc();
        self.counters.wal_append_bytes.inc_by(body.len() as u64);
        self.proposed_ms = self
            .proposed_ms
            .max(now_ms.saturating_add(i64::from(ahead_ms)));
        self.results
            .push_back(self.handle.raft.propose(body).boxed());
        self.in_flight.push_back(Entry {
            waiters,
            answered,
            proposed: Instant::now(),
        });
    }

    pub(super) fn on_applied(
        &mut self,
        result: Result<Effects, ProposeError>,
    ) -> anyhow::Result<()> {
        let Some(entry) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let mut effects = match result {
            Ok(effects) => effects,
            Err(error) => {
                let number = self.handle.number;
                let refused = match error {
                    ProposeError::NotLeader { .. } => Refused::NotLeader(number),
                    ProposeError::Unknown => Refused::Unknown(number),
                    ProposeError::Stopped(_) => Refused::Failed(number),
                };
                entry.fail(&refused, &self.counters);
                match error {
                    ProposeError::NotLeader { .. } | ProposeError::Unknown => {
                        self.has_lost = true;
                        return Ok(());
                    }
                    ProposeError::Stopped(why) => {
                        anyhow::bail!("partition {number} lost its log: {why}")
                    }
                }
            }
        };
        self.metrics
            .commit_seconds
            .observe(entry.proposed.elapsed().as_secs_f64());
        if let Some(batch) = effects.batch.take() {
            self.next_offset = batch.first_offset + batch.count();
            self.handle.events.remember(batch);
        }
        if effects.carried_upto > 0 {
            self.handle.events.carried(effects.carried_upto);
        }
        self.forget_deleted(&effects);
        if !mutant!("moves-not-told") {
            self.handle.events.moved(&effects.moves);
        }
        self.handle
            .events
            .prioritize(effects.prioritized.iter().copied());
        self.release(&effects);
        for (waiter, outcome) in entry.waiters.into_iter().zip(effects.outcomes) {
            self.answer(waiter, outcome);
        }
        entry
            .answered
            .into_iter()
            .for_each(|reply| drop(reply.send(Ok(()))));
        Ok(())
    }

    fn answer(&mut self, waiter: Waiter, outcome: Outcome) {
        match (waiter, outcome) {
            (Waiter::Publish { reply, .. }, Outcome::Published(mut published)) => {
                if mutant!("reuse-offset") {
                    published.first_offset = published.first_offset.saturating_sub(1);
                }
                self.counters.accepted.inc_by(u64::from(published.accepted));
                self.counters
                    .duplicate
                    .inc_by(published.duplicates.len() as u64);
                let _ = reply.send(Ok(published));
            }
            (Waiter::Change(reply), Outcome::Changed(changed)) => {
                changed
                    .iter()
                    .for_each(|changed| self.count_change(changed));
                let _ = reply.send(Ok(changed));
            }
            (Waiter::Replace { reply, .. }, Outcome::Replaced(changed, published)) => {
                self.count_change(&changed);
                self.counters.accepted.inc_by(u64::from(published.accepted));
                self.counters
                    .duplicate
                    .inc_by(published.duplicates.len() as u64);
                let _ = reply.send(Ok((changed, published)));
            }
            (Waiter::CreateGroup(reply), Outcome::GroupCreated { group, .. }) => {
                if !self.groups.contains_key(&group) {
                    let state = self
                        .handle
                        .state
                        .lock()
                        .groups()
                        .get(group as usize)
                        .cloned();
                    if let Some(state) = state {
                        self.add_group(group, &state);
                    }
                }
                let _ = reply.send(Ok(group));
            }
            (Waiter::DeadLetters(group, reply), outcome) => {
                self.answer_dead_letters(group, reply, outcome);
            }
            (Waiter::Retain(reply), outcome) => drop(reply.send(Ok(outcome))),
            (Waiter::DeleteTopic { pending, reply }, Outcome::TopicDeleted(done)) => {
                // Refused by the log: something was accepted for later meanwhile.
                drop(reply.send(Ok(if done {
                    Ok(pending)
                } else {
                    Err(pending.max(1))
                })));
            }
            (Waiter::Settle, Outcome::Settled) => {}
            (_, outcome) => unreachable!("apply answered a command of another kind: {outcome:?}"),
        }
    }

    fn count_change(&self, changed: &Changed) {
        match changed.verdict {
            Verdict::Cancelled => self.counters.cancelled.inc(),
            Verdict::Rescheduled => self.counters.rescheduled.inc(),
            Verdict::Fired => self.counters.fired_by_hand.inc(),
            Verdict::Found
            | Verdict::AlreadyFired
            | Verdict::AlreadyCancelled
            | Verdict::VersionMismatch
            | Verdict::NotFound => {}
        }
    }
}
