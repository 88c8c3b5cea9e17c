//! One consumer group in one partition: members, credit, what is ready, what is in flight.

mod answers;
mod backoff;
mod batch;
mod lanes;
mod order;
mod paused;

pub use batch::AckRun;
pub use order::{Lookup, Wish};
mod redrive;
mod settings;

pub use backoff::Backoff;
pub use settings::Policy;

use super::{Dispatch, Feed, SessionId, Stretch};
use crate::engine::Credit;
use chronos_core::command::settle::Settle;
use chronos_core::mutant;
use chronos_core::partition;
use chronos_core::settled::Settled;
use chronos_core::store::{Store, StoreError};
use chronos_core::types::{DueKey, GroupNumber, TopicNumber};
use hashbrown::{HashMap, HashSet};
use lanes::Lanes;
use paused::Paused;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Events fetched from the feed at a time.
const FETCH_EVENTS: u64 = 16 * 1024;
/// Most events that wait for their time or for another attempt before the group fetches no more.
const MOST_DELAYED: u64 = 256 * 1024;

/// A consumer's answer to a delivery.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The event.
    pub key: DueKey,
    /// Which delivery of it.
    pub attempt: u32,
    /// Processed, or failed.
    pub success: bool,
    /// What the consumer says of a failure.
    pub reason: String,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The event is settled.
    Settled,
    /// It will be delivered again.
    Retry,
    /// It is a dead letter.
    Dead,
    /// Nothing: it was settled before, or the answer is to an older delivery.
    Stale,
}

/// What a group did since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries after the first of an event.
    pub retried: u64,
    /// Deliveries that were not answered in time.
    pub timed_out: u64,
    /// Events given up.
    pub dead: u64,
    /// Events settled undelivered because of a pause.
    pub dropped: u64,
}

#[derive(Debug)]
struct Member {
    session: SessionId,
    credit: Arc<Credit>,
    in_flight: u32,
    wish: Wish,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    due_ms: i64,
    before: DueKey,
    session: SessionId,
    attempt: u32,
    topic: TopicNumber,
}

/// What happened to an event that was delivered before and is not settled.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// Deliveries so far, failed or lost with their member.
    deliveries: u32,
    /// Deliveries that failed: these count towards the limit.
    failures: u32,
}

/// A consumer group's deliveries in one partition, as its leader knows them.
#[derive(Debug)]
pub struct Group {
    number: GroupNumber,
    topic: Option<TopicNumber>,
    first_offset: u64,
    policy: Policy,
    /// Settled before this leader began, and by late answers: not to be delivered.
    settled: Settled,
    /// Nothing above is in `settled`, so it need not be asked.
    settled_upto: DueKey,
    /// Everything up to here was taken from the feed.
    read: DueKey,
    /// The last key that was taken and is for this group: what is settled next begins there, however
    /// far `read` went on without finding anything.
    last: DueKey,
    ready: VecDeque<Stretch>,
    delayed: BinaryHeap<Reverse<(i64, Stretch)>>,
    delayed_events: u64,
    in_flight: HashMap<u64, InFlight>,
    /// Deadlines in the order in which they pass: (Unix ms, offset, attempt).
    deadlines: VecDeque<(i64, u64, u32)>,
    past: HashMap<u64, Past>,
    /// Settled by a late answer while waiting in `ready` or `delayed`.
    skip: HashSet<u64>,
    redrives: redrive::Redrives,
    members: Vec<Member>,
    next_member: usize,
    /// Events that this member took in its turn.
    taken: u32,
    /// While a member asks for key order.
    lanes: Option<Lanes>,
    paused: Paused,
    unsaved: Settle,
    counts: Counts,
}

impl Group {
    /// A group as the state machine has it.
    pub fn new(number: GroupNumber, state: &partition::Group, policy: Policy) -> Self {
        let past = state
            .failures
            .iter()
            .map(|(key, failures)| {
                (
                    key.offset,
                    Past {
                        deliveries: *failures,
                        failures: *failures,
                    },
                )
            })
            .collect();
        let mut group = Self {
            number,
            topic: state.topic,
            first_offset: state.first_offset,
            policy,
            settled: state.settled.clone(),
            settled_upto: state
                .settled
                .ranges()
                .map(|(_, to)| to)
                .max()
                .unwrap_or(state.settled.cursor()),
            read: state.settled.cursor(),
            last: state.settled.cursor(),
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            delayed_events: 0,
            in_flight: HashMap::new(),
            deadlines: VecDeque::new(),
            past,
            skip: HashSet::new(),
            redrives: redrive::Redrives::default(),
            members: Vec::new(),
            next_member: 0,
            taken: 0,
            lanes: None,
            paused: Paused::default(),
            unsaved: Settle {
                group: number,
                ..Settle::default()
            },
            counts: Counts::default(),
        };
        let letters = &state.letters.redriven;
        group.redrive(letters.iter().map(|(number, letter)| (*number, *letter)));
        group
    }

    /// Adds a member that may hold as many unanswered deliveries as `credit` has places.
    pub fn join(&mut self, session: SessionId, credit: Arc<Credit>) {
        self.members.push(Member {
            session,
            credit,
            in_flight: 0,
            wish: Wish::default(),
        });
    }

    /// Removes a member. What it had in flight goes to the others, with the next attempt number.
    pub fn leave(&mut self, session: SessionId) {
        if let Some(at) = self
            .members
            .iter()
            .position(|member| member.session == session)
        {
            let member = self.members.remove(at);
            member.credit.give(member.in_flight);
        }
        self.end_key_order();
        let mut returned: Vec<_> = self
            .in_flight
            .extract_if(|_, in_flight| in_flight.session == session)
            .collect();
        if mutant!("drop-inflight-on-disconnect") {
            for (offset, in_flight) in returned {
                self.settle(DueKey::new(in_flight.due_ms, offset), in_flight.before);
            }
            return;
        }
        self.paused.unswept = true;
        returned.sort_unstable_by_key(|(offset, in_flight)| (in_flight.due_ms, *offset));
        for (offset, in_flight) in returned.into_iter().rev() {
            let key = DueKey::new(in_flight.due_ms, offset);
            match self.redrives.holds(key) {
                true => self.redrives.lost(key, in_flight.attempt),
                false => self.past.entry(offset).or_default().deliveries = in_flight.attempt,
            }
            self.ready.push_front(Stretch {
                topic: in_flight.topic,
                ..stretch_of_one(in_flight.due_ms, offset, in_flight.before)
            });
        }
    }

    /// Unanswered deliveries.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Events taken from the feed that wait for a member, for their time or for another attempt.
    pub fn waiting(&self) -> u64 {
        let in_lanes = self.lanes.as_ref().map_or(0, Lanes::waiting);
        let ready: u64 = self.ready.iter().map(|stretch| stretch.count).sum();
        ready + self.delayed_events + in_lanes + self.paused.events()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Whether some member may be sent an event.
    fn has_credit(&self) -> bool {
        self.members.iter().any(|member| member.credit.is_left())
    }

    /// Hands out what is ready at `now_ms` to members with credit, one event to one member, in
    /// turn. `topics` is how many topics the partition has.
    pub fn dispatch<S: Store>(
        &mut self,
        now_ms: i64,
        feed: &Feed<S>,
        topics: usize,
        lookup: &impl Lookup,
        send: &mut dyn FnMut(SessionId, Dispatch),
    ) -> Result<(), StoreError> {
        self.begin_key_order(lookup);
        if !self.paused.is_idle() && !self.heed_pause(now_ms, feed, topics, lookup)? {
            return Ok(());
        }
        while self.has_credit() {
            self.wake(now_ms);
            if self.ready.is_empty() && !self.fetch(now_ms, feed, topics, lookup)? {
                break;
            }
            self.hand_out(now_ms, lookup, send);
        }
        if self.paused.is_partial() {
            self.drop_ahead(now_ms, feed, lookup)?;
        }
        if self.has_credit() {
            return Ok(());
        }
        let drops = if self.members.is_empty() {
            mutant!("drop-no-subscriber")
        } else {
            mutant!("drop-no-credit")
        };
        if drops && self.fetch(now_ms, feed, topics, lookup)? {
            for stretch in std::mem::take(&mut self.ready) {
                self.settle(stretch.last(), stretch.before);
            }
        }
        Ok(())
    }

    /// Moves what has waited long enough to the ready queue.
    fn wake(&mut self, now_ms: i64) {
        while let Some(Reverse((at_ms, _))) = self.delayed.peek() {
            if *at_ms > now_ms {
                return;
            }
            if let Some(Reverse((_, stretch))) = self.delayed.pop() {
                self.delayed_events -= stretch.count;
                self.ready.push_back(stretch);
                self.paused.unswept = true;
            }
        }
    }

    /// Takes the next events from the feed. False when there are none or too many wait already.
    fn fetch<S: Store>(
        &mut self,
        now_ms: i64,
        feed: &Feed<S>,
        topics: usize,
        lookup: &impl Lookup,
    ) -> Result<bool, StoreError> {
        if self.is_full() || self.read >= feed.horizon() {
            return Ok(false);
        }
        let runs = match self.topic {
            Some(topic) => feed.next(topic, self.read, FETCH_EVENTS)?,
            None => feed.next_of_all(topics, self.read, FETCH_EVENTS)?,
        };
        if runs.is_empty() {
            self.read = feed.horizon();
            return Ok(false);
        }
        let mut ranked = false;
        for run in &runs {
            ranked |= self.take(run, now_ms, lookup);
        }
        if ranked {
            // All of it was fetched just now, in due order.
            self.ready.make_contiguous().sort_unstable();
        }
        Ok(true)
    }

    /// Takes a run, without what is settled or not for this group. Whether it may hold events with
    /// priorities.
    fn take(&mut self, run: &partition::Run, now_ms: i64, lookup: &impl Lookup) -> bool {
        self.read = run.last();
        let skipped = self
            .first_offset
            .saturating_sub(run.first_offset)
            .min(run.count);
        if skipped == run.count {
            return false;
        }
        let whole = Stretch {
            due_ms: run.due_ms,
            rank: Stretch::rank_of(0),
            first_offset: run.first_offset + skipped,
            count: run.count - skipped,
            before: std::mem::replace(&mut self.last, run.last()),
            topic: run.topic,
        };
        let ranked = lookup.has_priorities(run.topic) && !mutant!("priority-ignored");
        if ranked {
            for part in order::by_priority(whole, lookup) {
                self.take_part(part, run.ready_ms, now_ms);
            }
        } else {
            self.take_part(whole, run.ready_ms, now_ms);
        }
        ranked
    }

    fn take_part(&mut self, part: Stretch, ready_ms: i64, now_ms: i64) {
        if self.settled_upto < part.first() {
            self.wait(part, ready_ms, now_ms);
            return;
        }
        let mut rest = Some(part);
        while let Some(stretch) = rest {
            let ((key, before), tail) = stretch.split_first();
            if self.settled.contains(key) {
                // A late answer may have settled the key alone: this closes the gap before it.
                self.settle(key, before);
            } else {
                let one = Stretch {
                    rank: part.rank,
                    topic: part.topic,
                    ..stretch_of_one(key.due_ms, key.offset, before)
                };
                self.wait(one, ready_ms, now_ms);
            }
            rest = tail;
        }
    }

    fn wait(&mut self, stretch: Stretch, ready_ms: i64, now_ms: i64) {
        if ready_ms > now_ms {
            self.delay(stretch, ready_ms);
        } else if let Some(counter) = self.paused.drops(stretch.topic) {
            self.drop_stretch(stretch, &counter);
        } else {
            self.ready.push_back(stretch);
        }
    }

    fn delay(&mut self, stretch: Stretch, until_ms: i64) {
        self.delayed_events += stretch.count;
        self.delayed.push(Reverse((until_ms, stretch)));
    }

    fn hand_out(
        &mut self,
        now_ms: i64,
        lookup: &impl Lookup,
        send: &mut dyn FnMut(SessionId, Dispatch),
    ) {
        let deadline_ms = now_ms.saturating_add(millis(self.policy.ack_timeout));
        while let Some(mut stretch) = self.ready.pop_front() {
            if self.paused.is_partial() {
                match self.detain(stretch, lookup) {
                    Some(free) => stretch = free,
                    None => continue,
                }
            }
            if self.lanes.is_some() && !mutant!("key-order-ignored") {
                match self.hand_out_by_key(stretch, deadline_ms, lookup, send) {
                    true => continue,
                    false => return,
                }
            }
            let mut rest = Some(stretch);
            while let Some(stretch) = rest {
                let ((key, before), tail) = stretch.split_first();
                if !self.skip.is_empty() && self.skip.remove(&key.offset) {
                    self.settle(key, before);
                    rest = tail;
                    continue;
                }
                let Some(session) = self.next_with_credit() else {
                    self.ready.push_front(stretch);
                    return;
                };
                self.send_one(session, stretch, deadline_ms, send);
                rest = tail;
            }
        }
    }

    /// Sends the first of a stretch.
    fn send_one(
        &mut self,
        session: SessionId,
        stretch: Stretch,
        deadline_ms: i64,
        send: &mut dyn FnMut(SessionId, Dispatch),
    ) {
        let ((key, before), _) = stretch.split_first();
        let deliveries = match self.past.is_empty() {
            true => 0,
            false => self.past.get(&key.offset).map_or(0, |past| past.deliveries),
        };
        let redriven = self.redrives.deliveries(key);
        let attempt = redriven.map_or(deliveries, |(_, deliveries)| deliveries) + 1;
        let dispatch = Dispatch {
            key,
            attempt,
            letter: redriven.map(|(number, _)| number),
        };
        self.counts.retried += u64::from(attempt > 1);
        self.in_flight.insert(
            key.offset,
            InFlight {
                due_ms: key.due_ms,
                before,
                session,
                attempt,
                topic: stretch.topic,
            },
        );
        self.push_deadline((deadline_ms, key.offset, attempt));
        send(session, dispatch);
        if mutant!("deliver-twice") {
            send(session, dispatch);
        }
    }

    /// The next member in turn that has credit left; its credit is taken. A turn lasts for as many
    /// events as the member takes at a time.
    fn next_with_credit(&mut self) -> Option<SessionId> {
        let count = self.members.len();
        for step in 0..count {
            let at = (self.next_member + step) % count;
            let member = &mut self.members[at];
            if member.credit.take() {
                member.in_flight += 1;
                self.taken = if step == 0 { self.taken + 1 } else { 1 };
                self.next_member = at;
                if self.taken >= member.wish.stride {
                    (self.next_member, self.taken) = ((at + 1) % count, 0);
                }
                return Some(member.session);
            }
        }
        None
    }

    /// When the group next needs attention though nothing happens, Unix milliseconds.
    pub fn next_wake_ms(&self) -> Option<i64> {
        let delayed = match self.paused.moves(self.has_credit()) {
            true => self.delayed.peek().map(|Reverse((at_ms, _))| *at_ms),
            false => None,
        };
        let deadline = self.deadlines.front().map(|(at_ms, ..)| *at_ms);
        let to_drop = self.paused.wake_ms();
        [delayed, deadline, to_drop].into_iter().flatten().min()
    }

    /// Progress to put into the log, if any.
    pub fn take_settle(&mut self) -> Option<Settle> {
        if self.unsaved.is_empty() {
            return None;
        }
        let mut settle = std::mem::replace(
            &mut self.unsaved,
            Settle {
                group: self.number,
                ..Settle::default()
            },
        );
        merge(&mut settle.stretches);
        Some(settle)
    }
}

fn stretch_of_one(due_ms: i64, offset: u64, before: DueKey) -> Stretch {
    Stretch {
        due_ms,
        rank: Stretch::rank_of(0),
        first_offset: offset,
        count: 1,
        before,
        topic: 0,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Joins stretches that touch.
fn merge(stretches: &mut Vec<(DueKey, DueKey)>) {
    stretches.sort_unstable();
    stretches.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1;
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

#[cfg(test)]
mod known;
#[cfg(test)]
mod model;
#[cfg(test)]
mod ordered;
#[cfg(test)]
mod paused_tests;
#[cfg(test)]
mod redrive_tests;
#[cfg(test)]
mod tests;
