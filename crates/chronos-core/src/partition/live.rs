//! Which events somebody may still need: what retention keeps, and carries forward when the
//! log's beginning goes.
//!
//! An event is live while it is scheduled, until every group that is waited for has settled it, as
//! long as a dead letter speaks of it, and for the time that events are kept after they fired or
//! were cancelled. Everything else may go.
//!
//! The leader computes this beside the partition, which goes on meanwhile. [`Partition::view`] is
//! taken first, under the lock; then [`View::scan`] reads the index; then [`View::add_changed`]
//! looks at every event that was ever changed, so that one that was moved during the scan, and
//! perhaps past it, is not missed. An event that is not live does not become live again.

use super::change::version_at;
pub use super::places::visit_places;
use super::{Group, Partition, Run, dead_letters, released};
use crate::command::carry::Forgotten;
use crate::keys::batch::{self, Batch};
use crate::keys::change::{State, Version};
use crate::keys::chunk::{self, Bucket};
use crate::keys::run;
use crate::settled::Settled;
use crate::store::{Family, Store, StoreError};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use roaring::RoaringTreemap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Events of a lagging group that are read at a time.
const READ_AT_ONCE: u64 = 64 * 1024;

const DAMAGED: StoreError = StoreError::Damaged {
    family: Family::Batch,
    reason: "the place of a log entry is malformed",
};

/// How long events are kept that are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Events that fired or were cancelled at this time or later are kept, Unix milliseconds. So
    /// is whatever was accepted since.
    pub since_ms: i64,
    /// The same for topics that have a rule of their own.
    pub by_topic: BTreeMap<TopicNumber, i64>,
    /// Below this offset, events that are over are not kept however late they fired: the log is
    /// too large.
    pub not_below: u64,
    /// Events that are not kept either once they are over: their topic is too large.
    pub surplus: RoaringTreemap,
    /// From this offset on, everything is kept.
    pub all_from: u64,
}

impl Keep {
    /// Keeps everything since a time.
    #[must_use]
    pub fn since(since_ms: i64) -> Self {
        Self {
            since_ms,
            by_topic: BTreeMap::new(),
            not_below: 0,
            surplus: RoaringTreemap::new(),
            all_from: u64::MAX,
        }
    }

    fn of(&self, topic: TopicNumber) -> i64 {
        self.by_topic.get(&topic).copied().unwrap_or(self.since_ms)
    }
}

/// A group that is waited for.
#[derive(Debug, Clone)]
struct Waiting {
    topic: Option<TopicNumber>,
    first_offset: u64,
    settled: Settled,
}

/// What of a partition's state decides which events are live, as of one moment.
#[derive(Debug, Clone)]
pub struct View {
    partition: PartitionNumber,
    topics: TopicNumber,
    horizon: DueKey,
    /// Index of the last applied entry.
    pub applied_index: Option<u64>,
    /// Offset that the next event gets: this and what follows is not judged.
    pub next_offset: u64,
    carried_upto: u64,
    /// Deleted with their topics.
    deleted: RoaringTreemap,
    groups: Vec<Waiting>,
}

impl<S: Store> Partition<S> {
    /// What decides which events are live.
    #[must_use]
    pub fn view(&self) -> View {
        let waiting = |group: &Group| Waiting {
            topic: group.topic,
            first_offset: group.first_offset,
            settled: group.settled.clone(),
        };
        View {
            partition: self.number,
            topics: self.topics.len() as TopicNumber,
            horizon: self.horizon,
            applied_index: self.applied.map(|applied| applied.index),
            next_offset: self.next_offset,
            carried_upto: self.carried_upto,
            deleted: self.deleted.clone(),
            groups: (self.groups.iter())
                .filter(|group| group.is_waited_for)
                .map(waiting)
                .collect(),
        }
    }
}

impl View {
    /// What is kept at most: nothing that is not released counts as past.
    fn bounded(&self, since_ms: i64) -> i64 {
        since_ms.min(self.horizon.due_ms)
    }

    /// The live events by offset, but for those that were changed meanwhile.
    pub fn scan(&self, store: &impl Store, keep: &Keep) -> Result<RoaringTreemap, StoreError> {
        let mut live = RoaringTreemap::new();
        live.insert_range(self.kept_from(store, keep)?..self.next_offset);
        for topic in 0..self.topics {
            let since_ms = self.bounded(keep.of(topic));
            let of_node = self.bounded(keep.since_ms);
            if since_ms > of_node {
                let (from, to) = (before_ms(of_node), before_ms(since_ms));
                let remove = &mut |run: Run| {
                    live.remove_range(offsets_of(&run));
                };
                self.read(store, topic, from, to, remove)?;
            } else if since_ms < of_node {
                let (from, to) = (before_ms(since_ms), before_ms(of_node));
                let add = &mut |run: Run| {
                    let offsets = offsets_of(&run);
                    live.insert_range(offsets.start.max(keep.not_below)..offsets.end);
                };
                self.read(store, topic, from, to, add)?;
            }
        }
        live -= &keep.surplus;
        live -= &self.deleted;
        for topic in 0..self.topics {
            let since_ms = self.bounded(keep.of(topic));
            let from = before_ms(since_ms);
            released::visit(
                store,
                self.partition,
                topic,
                from,
                DueKey::MAX,
                &mut |due| {
                    let is_kept =
                        due.offset >= keep.not_below && !keep.surplus.contains(due.offset);
                    if due > self.horizon || is_kept {
                        live.insert(due.offset);
                    }
                },
            )?;
            for group in &self.groups {
                if group.topic.is_none_or(|of| of == topic) {
                    self.add_unsettled(store, group, topic, &mut live)?;
                }
            }
        }
        live |= dead_letters::offsets(store, self.partition)?;
        if keep.all_from < self.next_offset {
            live.insert_range(keep.all_from..self.next_offset);
        }
        Ok(live)
    }

    /// Adds those of the changed events that are live. To be called with what the partition knows as
    /// changed after the scan.
    pub fn add_changed(
        &self,
        store: &impl Store,
        keep: &Keep,
        changed: &RoaringTreemap,
        live: &mut RoaringTreemap,
    ) -> Result<(), StoreError> {
        for offset in changed
            .iter()
            .take_while(|offset| *offset < self.next_offset)
        {
            let Some((version, _)) = version_at(store, self.partition, offset, u64::MAX)? else {
                continue;
            };
            if self.deleted.contains(offset) {
                continue;
            }
            let since_ms = self.bounded(keep.of(version.topic));
            let may_stay = offset >= keep.not_below && !keep.surplus.contains(offset);
            let is_kept = match version.state {
                State::Cancelled => version.changed_ms >= since_ms && may_stay,
                State::Scheduled | State::Fired => {
                    DueKey::new(version.due_ms, offset) > self.horizon
                        || version.due_ms >= since_ms && may_stay
                }
            };
            if is_kept {
                live.insert(offset);
            }
        }
        Ok(())
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> PartitionNumber {
        self.partition
    }

    /// Every event that was ever carried has an offset below this: from here on, events stand in the
    /// log in the order of their offsets.
    #[must_use]
    pub fn carried_upto(&self) -> u64 {
        self.carried_upto
    }

    /// The first offset, of those that are in the order of the log, that stands behind an entry.
    pub fn first_after_entry(&self, store: &impl Store, log_index: u64) -> Result<u64, StoreError> {
        let (mut from, mut to) = (self.carried_upto, self.next_offset);
        while from < to {
            let middle = from + (to - from) / 2;
            let floor = batch::key(self.partition, from);
            let at = batch::key(self.partition, middle);
            match store.last_at_or_before(Family::Batch, &floor, &at)? {
                Some((key, value)) => {
                    let batch = Batch::decode(&key, &value).map_err(|_| DAMAGED)?;
                    match batch.log_index > log_index {
                        true => to = batch.first_offset,
                        false => from = middle + 1,
                    }
                }
                None => from = middle + 1,
            }
        }
        Ok(from)
    }

    /// The first offset that was accepted when events fired that the node's rule keeps: from here
    /// on, everything counts as live. Events that were due on arrival have their due times in the
    /// order of their offsets.
    pub fn kept_from(&self, store: &impl Store, keep: &Keep) -> Result<u64, StoreError> {
        let since_ms = self.bounded(keep.since_ms);
        let mut first = self.next_offset;
        for topic in 0..self.topics {
            let from = run::key(self.partition, topic, since_ms, 0);
            let to = run::key(self.partition, topic, i64::MAX, u64::MAX);
            store.scan(Family::Run, &from, &to, &mut |key, _| {
                if let Ok((_, _, offset)) = run::decode_key(key) {
                    first = first.min(offset);
                }
                ControlFlow::Break(())
            })?;
        }
        Ok(first.max(keep.not_below).min(keep.all_from))
    }

    /// Adds what a group has not settled of what its topic released.
    fn add_unsettled(
        &self,
        store: &impl Store,
        group: &Waiting,
        topic: TopicNumber,
        live: &mut RoaringTreemap,
    ) -> Result<(), StoreError> {
        let cursor = group.settled.cursor();
        self.read(store, topic, cursor, self.horizon, &mut |run| {
            let offsets = offsets_of(&run);
            let offsets = offsets.start.max(group.first_offset)..offsets.end;
            if group.settled.is_empty() {
                live.insert_range(offsets);
                return;
            }
            let is_open = |offset: &u64| !group.settled.contains(DueKey::new(run.due_ms, *offset));
            live.extend(offsets.filter(is_open));
        })
    }

    fn read(
        &self,
        store: &impl Store,
        topic: TopicNumber,
        after: DueKey,
        upto: DueKey,
        visit: &mut dyn FnMut(Run),
    ) -> Result<(), StoreError> {
        let mut after = after;
        while after < upto {
            let runs = released::read(store, self.partition, topic, after, upto, READ_AT_ONCE)?;
            let Some(last) = runs.last() else {
                break;
            };
            after = last.last();
            runs.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }

    /// Whether everything from [`View::kept_from`] on is live: no topic has a shorter rule than the
    /// node, and none was deleted.
    #[must_use]
    pub fn keeps_all_young(&self, keep: &Keep) -> bool {
        let is_longer = |since_ms: &i64| *since_ms <= keep.since_ms;
        self.deleted.is_empty() && keep.surplus.is_empty() && keep.by_topic.values().all(is_longer)
    }

    /// Events of a topic that fired since a time, but for the newest `most`: what is too much of it.
    pub fn surplus(
        &self,
        store: &impl Store,
        topic: TopicNumber,
        since_ms: i64,
        most: u64,
    ) -> Result<RoaringTreemap, StoreError> {
        let mut fired = RoaringTreemap::new();
        let after = before_ms(self.bounded(since_ms));
        self.read(store, topic, after, self.horizon, &mut |run| {
            fired.insert_range(offsets_of(&run));
        })?;
        if let Some(first_kept) = fired
            .len()
            .checked_sub(most)
            .and_then(|over| fired.select(over))
        {
            fired.remove_range(first_kept..);
        } else if fired.len() <= most {
            fired.clear();
        }
        Ok(fired)
    }

    /// Every event of a topic that fired or is to fire.
    pub fn events_of(
        &self,
        store: &impl Store,
        topic: TopicNumber,
    ) -> Result<RoaringTreemap, StoreError> {
        let mut events = RoaringTreemap::new();
        self.read(store, topic, DueKey::MIN, DueKey::MAX, &mut |run| {
            events.insert_range(offsets_of(&run));
        })?;
        Ok(events)
    }

    /// Up to where the due order of each topic may be forgotten.
    pub fn forgotten(&self, store: &impl Store, keep: &Keep) -> Result<Vec<Forgotten>, StoreError> {
        let mut all = Vec::new();
        for topic in 0..self.topics {
            let waiting = (self.groups.iter())
                .filter(|group| group.topic.is_none_or(|of| of == topic))
                .map(|group| group.settled.cursor().due_ms);
            let least = waiting.min().unwrap_or(i64::MAX);
            let before_ms = self.bounded(keep.of(topic)).min(least);
            // A chunk that stays may speak of events due before that.
            let mut overrides_before_ms = before_ms;
            for level in 0..chunk::LEVELS {
                let bucket = Bucket::holding(level, before_ms);
                let from = chunk::key(self.partition, topic, bucket, 0);
                let to = chunk::key(self.partition, topic, bucket, u64::MAX);
                store.scan(Family::Chunk, &from, &to, &mut |_, _| {
                    overrides_before_ms = overrides_before_ms.min(bucket.start_ms());
                    ControlFlow::Break(())
                })?;
            }
            all.push(Forgotten {
                topic,
                before_ms,
                overrides_before_ms,
            });
        }
        Ok(all)
    }

    /// Changed events that are gone and past, at most `most`: their versions may be removed. Asked
    /// for one of them later, the partition says that it has fired.
    pub fn forgotten_versions(
        &self,
        store: &impl Store,
        forgotten: &[Forgotten],
        changed: &RoaringTreemap,
        live: &RoaringTreemap,
        most: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        for offset in (changed - live).iter() {
            if offset >= self.next_offset || found.len() == most {
                break;
            }
            let is_past = |version: &Version| {
                let before_ms = (forgotten.get(version.topic as usize))
                    .map_or(i64::MIN, |forgotten| forgotten.overrides_before_ms);
                version.published_ms < before_ms && version.due_ms < before_ms
            };
            if version_at(store, self.partition, offset, u64::MAX)?
                .is_some_and(|(version, _)| is_past(&version))
            {
                found.push(offset);
            }
        }
        Ok(found)
    }
}

/// The last key before a millisecond.
fn before_ms(due_ms: i64) -> DueKey {
    DueKey::new(due_ms, 0).before()
}

fn offsets_of(run: &Run) -> std::ops::Range<u64> {
    run.first_offset..run.first_offset + run.count
}
