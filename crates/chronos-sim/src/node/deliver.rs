//! A consumer group on the node that leads: a small stand-in for the server's delivery. It hands
//! out what is released in due order, remembers what is in flight, and says progress as stretches.
//!
//! What is due goes by the wall clock; timeouts and waits between attempts go by time that passes,
//! so that a clock that is set has no part in them.

use super::message::Reply;
use super::read::{PARTITION, ReadError};
use super::stream::Handed;
use crate::time::WallClock;
use chronos_core::command::settle::{Death, Failure, Settle};
use chronos_core::mutant;
use chronos_core::partition::{Partition, released};
use chronos_core::settled::Settled;
use chronos_core::store::MemoryStore;
use chronos_core::types::{DueKey, GroupNumber, TopicNumber};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events taken from the index at a time.
const FETCH: u64 = 64;
/// How long a consumer may take to answer.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a failed event waits for its next delivery.
const BACKOFF: Duration = Duration::from_millis(200);

/// A consumer.
#[derive(Debug)]
pub struct Member {
    /// Its number.
    pub number: u64,
    /// Deliveries it may hold unanswered.
    pub credit: usize,
    /// Its stream.
    pub stream: mpsc::UnboundedSender<Handed>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    before: DueKey,
    /// The wall clock from which on it may be sent, Unix milliseconds.
    ready_ms: i64,
    /// It waits for its next attempt until then.
    not_before: Instant,
    deliveries: u32,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    waiting: Waiting,
    member: u64,
    deadline: Instant,
}

/// A group's deliveries.
#[derive(Debug)]
pub struct Deliveries {
    number: GroupNumber,
    topic: TopicNumber,
    first_offset: u64,
    settled: Settled,
    most_failures: u32,
    failures: BTreeMap<DueKey, u32>,
    /// Everything up to here was taken from the index.
    read: DueKey,
    /// The last key that was taken.
    last: DueKey,
    waiting: BTreeMap<DueKey, Waiting>,
    in_flight: BTreeMap<DueKey, Flight>,
    /// Its consumers.
    pub members: Vec<Member>,
    unsaved: Settle,
    answered: Vec<Reply<bool>>,
}

/// An event to hand to a member.
#[derive(Debug, Clone, Copy)]
pub struct Dispatch {
    /// The event.
    pub key: DueKey,
    /// Which delivery of it.
    pub attempt: u32,
    /// To whom.
    pub member: u64,
}

impl Deliveries {
    /// A group as the partition has it.
    #[must_use]
    pub fn new(
        number: GroupNumber,
        partition: &Partition<MemoryStore>,
        most_failures: u32,
    ) -> Self {
        let group = &partition.groups()[number as usize];
        Self {
            number,
            topic: group.topic.unwrap_or_default(),
            first_offset: group.first_offset,
            settled: group.settled.clone(),
            most_failures,
            failures: group.failures.clone(),
            read: group.settled.cursor(),
            last: group.settled.cursor(),
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            members: Vec::new(),
            unsaved: Settle {
                group: number,
                ..Settle::default()
            },
            answered: Vec::new(),
        }
    }

    /// Takes what is released and not taken yet.
    /// `ready_ms` says when an event may be sent.
    pub fn fetch(
        &mut self,
        store: &MemoryStore,
        horizon: DueKey,
        ready_ms: &dyn Fn(DueKey) -> Result<i64, ReadError>,
    ) -> Result<(), ReadError> {
        while self.waiting.len() < FETCH as usize && self.read < horizon {
            let runs = released::read(store, PARTITION, self.topic, self.read, horizon, FETCH)?;
            let Some(last) = runs.last().map(|run| run.last()) else {
                self.read = horizon;
                return Ok(());
            };
            for run in runs {
                for offset in run.first_offset..run.first_offset + run.count {
                    self.take(DueKey::new(run.due_ms, offset), ready_ms)?;
                }
            }
            self.read = last;
        }
        Ok(())
    }

    fn take(
        &mut self,
        key: DueKey,
        ready_ms: &dyn Fn(DueKey) -> Result<i64, ReadError>,
    ) -> Result<(), ReadError> {
        let before = std::mem::replace(&mut self.last, key);
        if self.settled.contains(key) {
            return Ok(());
        }
        if key.offset < self.first_offset {
            self.settle(before, key);
            return Ok(());
        }
        let failures = self.failures.get(&key).copied().unwrap_or(0);
        self.waiting.insert(
            key,
            Waiting {
                before,
                ready_ms: ready_ms(key)?.min(key.due_ms),
                not_before: Instant::now(),
                deliveries: failures,
                failures,
            },
        );
        Ok(())
    }

    fn settle(&mut self, before: DueKey, key: DueKey) {
        let from = if mutant!("settle-past-gap") {
            DueKey::MIN
        } else {
            before
        };
        self.settled.settle(from, key);
        match self.unsaved.stretches.last_mut() {
            Some(last) if last.1 == from => last.1 = key,
            _ => self.unsaved.stretches.push((from, key)),
        }
    }

    /// The next events that may be handed out by a clock that shows `now_ms`.
    pub fn dispatch(&mut self, now_ms: i64) -> Vec<Dispatch> {
        let now = Instant::now();
        self.expire(now);
        if mutant!("drop-no-subscriber") && self.members.is_empty() {
            for (key, waiting) in std::mem::take(&mut self.waiting) {
                self.settle(waiting.before, key);
            }
        }
        let early_ms = if mutant!("fire-early") { 2 } else { 0 };
        let due =
            |waiting: &Waiting| waiting.ready_ms <= now_ms + early_ms && waiting.not_before <= now;
        let ready: Vec<DueKey> = (self.waiting.iter())
            .filter(|(_, waiting)| due(waiting))
            .map(|(key, _)| *key)
            .collect();
        let mut dispatches = Vec::new();
        for key in ready {
            let Some(member) = self.free_member() else {
                break;
            };
            if let Some(mut waiting) = self.waiting.remove(&key) {
                waiting.deliveries += 1;
                let attempt = waiting.deliveries;
                self.in_flight.insert(
                    key,
                    Flight {
                        waiting,
                        member,
                        deadline: now + ACK_TIMEOUT,
                    },
                );
                dispatches.push(Dispatch {
                    key,
                    attempt,
                    member,
                });
            }
        }
        dispatches
    }

    fn free_member(&self) -> Option<u64> {
        self.members
            .iter()
            .map(|member| {
                let held = self.in_flight.values();
                let held = held.filter(|flight| flight.member == member.number).count();
                (held, member)
            })
            .filter(|(held, member)| *held < member.credit)
            .min_by_key(|(held, member)| (*held, member.number))
            .map(|(_, member)| member.number)
    }

    fn expire(&mut self, now: Instant) {
        let late = |flight: &Flight| flight.deadline <= now;
        let late: Vec<DueKey> = (self.in_flight.iter())
            .filter(|(_, flight)| late(flight))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(flight) = self.in_flight.remove(&key) {
                self.fail(key, flight.waiting);
            }
        }
    }

    fn fail(&mut self, key: DueKey, mut waiting: Waiting) {
        waiting.failures += 1;
        if waiting.failures >= self.most_failures {
            self.unsaved.deaths.push(Death {
                key,
                attempts: waiting.failures,
                reason: "failed".into(),
            });
            self.settle(waiting.before, key);
            return;
        }
        self.unsaved.failures.push(Failure {
            key,
            failures: waiting.failures,
        });
        waiting.not_before = Instant::now() + BACKOFF;
        self.waiting.insert(key, waiting);
    }

    /// Takes a consumer's answer. It is told whether it counts once that is in the log.
    pub fn answer(&mut self, key: DueKey, attempt: u32, success: bool, reply: Reply<bool>) {
        let current = self.in_flight.get(&key).copied();
        let Some(flight) = current.filter(|flight| flight.waiting.deliveries == attempt) else {
            drop(reply.send(Ok(false)));
            return;
        };
        self.in_flight.remove(&key);
        if success || mutant!("commit-on-nack") {
            self.settle(flight.waiting.before, key);
        } else {
            self.fail(key, flight.waiting);
        }
        if mutant!("settle-not-logged") {
            drop(reply.send(Ok(true)));
            self.unsaved.stretches.clear();
            return;
        }
        self.answered.push(reply);
    }

    /// A member is gone: what it holds goes to others.
    pub fn leave(&mut self, number: u64) {
        self.members.retain(|member| member.number != number);
        let held: Vec<DueKey> = (self.in_flight.iter())
            .filter(|(_, flight)| flight.member == number)
            .map(|(key, _)| *key)
            .collect();
        for key in held {
            if let Some(flight) = self.in_flight.remove(&key) {
                if mutant!("drop-inflight-on-disconnect") {
                    self.settle(flight.waiting.before, key);
                } else {
                    self.waiting.insert(key, flight.waiting);
                }
            }
        }
    }

    /// Progress to put into the log, and who waits for it.
    pub fn take_settle(&mut self) -> Option<(Settle, Vec<Reply<bool>>)> {
        if self.unsaved.is_empty() {
            return None;
        }
        let empty = Settle {
            group: self.number,
            ..Settle::default()
        };
        let settle = std::mem::replace(&mut self.unsaved, empty);
        Some((settle, std::mem::take(&mut self.answered)))
    }

    /// How long until something happens if nobody calls.
    #[must_use]
    pub fn next_wake(&self, clock: &WallClock) -> Option<Duration> {
        let now = Instant::now();
        let deadlines = self.in_flight.values().map(|flight| flight.deadline - now);
        let has_room = self.free_member().is_some();
        let waiting = self.waiting.values().filter(|_| has_room);
        let ready = waiting.map(|waiting| {
            let ready = match waiting.ready_ms <= clock.now_ms() {
                true => Duration::ZERO,
                false => clock.until(waiting.ready_ms),
            };
            ready.max(waiting.not_before.saturating_duration_since(now))
        });
        deadlines.chain(ready).min()
    }
}
