//! Who goes first where due order alone does not say: by priority, and by key.
//!
//! Both need something that is in the event and not in its due key. Only groups that use them pay for
//! reading it: a topic without priorities is never looked into, nor is one without key order.

use super::lanes::Lanes;
use super::{Dispatch, Group, SessionId, Stretch, stretch_of_one};
use chronos_core::types::TopicNumber;
use std::sync::Arc;

use crate::engine::Credit;

/// Events whose keys are read at a time.
const KEYS_AT_ONCE: u64 = 1024;

/// What the order asks of the events themselves.
pub trait Lookup {
    /// Whether a topic ever had an event with a priority.
    fn has_priorities(&self, topic: TopicNumber) -> bool;
    /// The priorities of `count` events from `first` on, in order; 0 for one that cannot be read.
    fn priorities(&self, first: u64, count: u64) -> Vec<u8>;
    /// Hashes of the keys of these events, in order; for one that cannot be read, of its offset.
    fn keys(&self, offsets: &[u64]) -> Vec<u64>;
    /// The name of an event's topic; `None` when it cannot be read.
    fn topic(&self, offset: u64) -> Option<Vec<u8>>;
}

/// How a member wants its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// One delivery under way for each key, in the whole group.
    pub key_order: bool,
    /// Events it takes before it is another member's turn, at least one.
    pub stride: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            key_order: false,
            stride: 1,
        }
    }
}

/// A stretch in parts of equal priority.
pub(super) fn by_priority(whole: Stretch, lookup: &impl Lookup) -> Vec<Stretch> {
    let priorities = lookup.priorities(whole.first_offset, whole.count);
    let mut parts: Vec<Stretch> = Vec::new();
    let mut rest = Some(whole);
    let mut priorities = priorities.into_iter();
    while let Some(stretch) = rest {
        let ((key, before), tail) = stretch.split_first();
        let rank = Stretch::rank_of(priorities.next().unwrap_or(0));
        match parts.last_mut() {
            Some(last) if last.rank == rank => last.count += 1,
            _ => parts.push(Stretch {
                rank,
                topic: whole.topic,
                ..stretch_of_one(key.due_ms, key.offset, before)
            }),
        }
        rest = tail;
    }
    parts
}

impl Group {
    /// Adds a member with wishes. Key order holds for the whole group while a member is there that
    /// asked for it.
    pub fn join_with(&mut self, session: SessionId, credit: Arc<Credit>, wish: Wish) {
        self.join(session, credit);
        if let Some(member) = self.members.last_mut() {
            member.wish = Wish {
                stride: wish.stride.max(1),
                ..wish
            };
        }
        if wish.key_order && self.lanes.is_none() {
            self.lanes = Some(Lanes::default());
        }
    }

    /// Ends key order when nobody is left who asked for it.
    pub(super) fn end_key_order(&mut self) {
        if self.members.iter().any(|member| member.wish.key_order) {
            return;
        }
        if let Some(lanes) = self.lanes.take() {
            // Among what is ready are events whose turn had come in their lanes, and events that
            // were never in one: those of a lane go between them.
            self.ready.extend(lanes.dissolve());
            self.ready.make_contiguous().sort_unstable();
        }
    }

    /// What was under way when key order began holds the lanes of its keys.
    pub(super) fn begin_key_order(&mut self, lookup: &impl Lookup) {
        let Some(lanes) = self.lanes.as_mut().filter(|lanes| !lanes.begun) else {
            return;
        };
        lanes.begun = true;
        let offsets: Vec<u64> = self.in_flight.keys().copied().collect();
        for (offset, key) in offsets.iter().zip(lookup.keys(&offsets)) {
            lanes.learn(*offset, key);
            lanes.hold(*offset);
        }
    }

    /// Hands out the next of the ready events in key order, or puts it into its lane. False when no
    /// member has credit.
    pub(super) fn hand_out_by_key(
        &mut self,
        stretch: Stretch,
        deadline_ms: i64,
        lookup: &impl Lookup,
        send: &mut dyn FnMut(SessionId, Dispatch),
    ) -> bool {
        let ((key, before), rest) = stretch.split_first();
        let Some(lanes) = &mut self.lanes else {
            return true;
        };
        if rest.is_none() && self.skip.remove(&key.offset) {
            self.settle(key, before);
            if let Some(lanes) = &mut self.lanes {
                lanes.forget(key.offset);
            }
            return true;
        }
        if rest.is_some() || !lanes.knows(key.offset) {
            let (some, rest) = stretch.split_at(KEYS_AT_ONCE);
            if let Some(rest) = rest {
                self.ready.push_front(rest);
            }
            let last = some.first_offset + some.count;
            let offsets: Vec<u64> = (some.first_offset..last).collect();
            for (offset, key) in offsets.iter().zip(lookup.keys(&offsets)) {
                lanes.learn(*offset, key);
            }
            let mut singles = Vec::with_capacity(offsets.len());
            let mut rest = Some(some);
            while let Some(stretch) = rest {
                let ((key, before), tail) = stretch.split_first();
                singles.push(Stretch {
                    rank: stretch.rank,
                    topic: stretch.topic,
                    ..stretch_of_one(key.due_ms, key.offset, before)
                });
                rest = tail;
            }
            for single in singles.into_iter().rev() {
                self.ready.push_front(single);
            }
            return true;
        }
        if !lanes.admit(stretch) {
            return true;
        }
        let Some(session) = self.next_with_credit() else {
            self.ready.push_front(stretch);
            return false;
        };
        if let Some(lanes) = &mut self.lanes {
            lanes.hold(key.offset);
        }
        self.send_one(session, stretch, deadline_ms, send);
        true
    }
}
