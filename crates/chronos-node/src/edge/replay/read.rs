//! Reading what a plan asks for, a stretch at a time, while retention and compaction run.
//!
//! An event may move to another place in the log, or go, between the look-up of its place and the
//! read. So a read that fails looks the place up again; what is gone then is skipped and counted.

use super::plan::{Axis, Plan};
use crate::edge::view::View;
use crate::engine::{Handle, ReadError, StoredEvent};
use chronos_core::keys::batch::{self, Batch};
use chronos_core::partition::released;
use chronos_core::store::{Family, Store, StoreError};
use chronos_core::types::{DueKey, PartitionNumber, TopicNumber};
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Events read at a time.
const READ_EVENTS: u64 = 256;
/// Keys that an ordered replay by schedule_ts holds at a time.
const WINDOW: usize = 64 * 1024;
/// How often a place is looked up before an event counts as unreadable.
const LOOK_UPS: usize = 4;

/// An event and its place on the axis.
#[derive(Debug)]
pub struct Read {
    /// The event.
    pub event: StoredEvent,
    /// Its time on the axis, Unix milliseconds; 0 by offset.
    pub axis_ms: i64,
    /// Events between the one before and this one that are no longer stored.
    pub skipped: u64,
}

/// Where a replay has got to.
pub struct Reader {
    engine: View,
    handle: Handle,
    /// The term in which this node led the partition when the replay began.
    led_in: Option<u64>,
    plan: Plan,
    /// By offset: the next one.
    at: u64,
    /// On an axis of time: the last place that was read.
    after: DueKey,
    /// On the axis of firing: what had fired when the replay began.
    horizon: DueKey,
    /// By schedule_ts: the next places, in order, latest first.
    window: Vec<DueKey>,
    done: bool,
    /// Skipped since the last event.
    skipped: u64,
    /// Skipped since the beginning.
    skipped_total: u64,
}

impl Reader {
    /// A reader at the beginning of a plan.
    pub fn new(engine: &View, handle: Handle, plan: Plan) -> Self {
        let horizon = handle.state.lock().horizon();
        let start_ms = plan.times.map_or(i64::MIN, |(start, _)| start);
        let start = DueKey::new(start_ms, 0).before();
        let after = plan
            .after
            .map_or(start, |(ms, offset)| DueKey::new(ms, offset));
        Self {
            engine: engine.clone(),
            led_in: handle.led_in(),
            at: plan.from,
            after: after.max(start),
            horizon,
            window: Vec::new(),
            done: false,
            skipped: 0,
            skipped_total: 0,
            handle,
            plan,
        }
    }

    /// The partition that is read.
    pub fn partition(&self) -> PartitionNumber {
        self.handle.number
    }

    /// Whether this node has led the partition ever since the replay began. If not, the replica may be
    /// gone, and what it held looks as if it were no longer stored.
    pub fn is_led(&self) -> bool {
        let now = self.engine.partition(self.handle.number);
        let led_in = now.and_then(|handle| handle.led_in());
        led_in.is_some() && led_in == self.led_in
    }

    /// The offset from which on events are stored, at or after the plan's first.
    pub fn available_from(&self) -> Result<u64, ReadError> {
        let first = self.batch_from(self.plan.from)?;
        Ok(first.map_or(self.plan.upto, |batch| {
            batch.first_offset.max(self.plan.from)
        }))
    }

    /// Events that were no longer stored, so far.
    pub fn skipped_so_far(&self) -> u64 {
        self.skipped_total
    }

    /// The next events; none at all when the plan is done. May block.
    pub fn next(&mut self) -> Result<Vec<Read>, ReadError> {
        loop {
            if self.done {
                return Ok(Vec::new());
            }
            let read = match self.plan.axis {
                Axis::Offset => self.next_by_offset()?,
                Axis::Schedule => self.next_by_schedule()?,
                Axis::Fire => self.next_by_fire()?,
            };
            if !read.is_empty() {
                return Ok(read);
            }
        }
    }

    fn next_by_offset(&mut self) -> Result<Vec<Read>, ReadError> {
        let from = self.at;
        if from >= self.plan.upto {
            self.done = true;
            return Ok(Vec::new());
        }
        let Some(batch) = self.batch_from(from)? else {
            self.skip(self.plan.upto - from);
            self.done = true;
            return Ok(Vec::new());
        };
        let start = batch.first_offset.max(from);
        self.skip(start.min(self.plan.upto) - from);
        let end = (batch.first_offset + batch.count()).min(self.plan.upto);
        if !self.may_hold(&batch) {
            self.at = end.max(from + 1);
            return Ok(Vec::new());
        }
        let end = end.min(start + READ_EVENTS);
        self.at = end.max(from + 1);
        let places: Vec<DueKey> = (start..end).map(|offset| DueKey::new(0, offset)).collect();
        self.read(&places)
    }

    /// Whether some event of a batch may have a time that the plan asks for.
    fn may_hold(&self, batch: &Batch) -> bool {
        let Some((start, end)) = self.plan.times else {
            return true;
        };
        (batch.schedule_ms.0 <= end && batch.schedule_ms.1 >= start)
            // What was moved has another time than the one it was published with.
            || self.handle.events.changes_in(batch.first_offset, batch.count())
    }

    fn next_by_fire(&mut self) -> Result<Vec<Read>, ReadError> {
        let end_ms = self.plan.times.map_or(i64::MAX, |(_, end)| end);
        let upto = self.horizon.min(DueKey::new(end_ms, u64::MAX));
        let (store, topics) = {
            let state = self.handle.state.lock();
            let topics: Vec<TopicNumber> = match self.plan.topic() {
                Some(name) => state.topics().get(name.as_bytes()).into_iter().collect(),
                None => (0..state.topics().len() as TopicNumber).collect(),
            };
            (state.store().clone(), topics)
        };
        let mut places = Vec::new();
        // Up to here the places of every topic are known.
        let mut complete = upto;
        for topic in topics {
            let number = self.handle.number;
            let runs = released::read(&store, number, topic, self.after, complete, READ_EVENTS)?;
            let keys = runs.iter().flat_map(|run| {
                let offsets = run.first_offset..run.first_offset + run.count;
                offsets.map(|offset| DueKey::new(run.due_ms, offset))
            });
            let found: Vec<DueKey> = keys.take(READ_EVENTS as usize).collect();
            if found.len() as u64 == READ_EVENTS
                && let Some(last) = found.last()
            {
                complete = complete.min(*last);
            }
            places.extend(found);
        }
        places.retain(|place| *place <= complete);
        places.sort_unstable();
        self.after = complete;
        self.done = complete >= upto;
        self.read_in_parts(&places)
    }

    fn next_by_schedule(&mut self) -> Result<Vec<Read>, ReadError> {
        if self.window.is_empty() {
            self.window = self.find_window()?;
            self.window.reverse();
            if self.window.is_empty() {
                self.done = true;
                return Ok(Vec::new());
            }
        }
        let rest = self.window.len().saturating_sub(READ_EVENTS as usize);
        let mut places = self.window.split_off(rest);
        places.reverse();
        if let Some(last) = places.last() {
            self.after = *last;
        }
        self.read(&places)
    }

    /// The first places after the last one read, in order. Every batch whose times reach into the
    /// window is read for it.
    fn find_window(&self) -> Result<Vec<DueKey>, ReadError> {
        let end_ms = self.plan.times.map_or(i64::MAX, |(_, end)| end);
        let mut first: BinaryHeap<DueKey> = BinaryHeap::new();
        let mut from = 0;
        while from < self.plan.upto {
            let Some(batch) = self.batch_from(from)? else {
                break;
            };
            let end = (batch.first_offset + batch.count()).min(self.plan.upto);
            let latest_ms = match first.len() >= WINDOW {
                true => first.peek().map_or(end_ms, |latest| latest.due_ms),
                false => end_ms,
            };
            let (least, greatest) = batch.schedule_ms;
            let within = least <= latest_ms && greatest >= self.after.due_ms;
            let changed = self
                .handle
                .events
                .changes_in(batch.first_offset, batch.count());
            let mut at = batch.first_offset.max(from);
            while (within || changed) && at < end {
                let upto = end.min(at + READ_EVENTS);
                let offsets: Vec<u64> = (at..upto).collect();
                for event in self.read_stored(&offsets)?.into_iter().flatten() {
                    let place = DueKey::new(event.schedule_ms, event.offset);
                    if place > self.after && self.plan.wants(&self.handle, &event) {
                        first.push(place);
                        if first.len() > WINDOW {
                            first.pop();
                        }
                    }
                }
                at = upto;
            }
            from = end.max(from + 1);
        }
        Ok(first.into_sorted_vec())
    }

    fn read_in_parts(&mut self, places: &[DueKey]) -> Result<Vec<Read>, ReadError> {
        let mut read = Vec::new();
        for part in places.chunks(READ_EVENTS as usize) {
            read.extend(self.read(part)?);
        }
        Ok(read)
    }

    /// Reads the events at these places that the plan wants.
    fn read(&mut self, places: &[DueKey]) -> Result<Vec<Read>, ReadError> {
        let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
        let mut read = Vec::new();
        for (place, event) in places.iter().zip(self.read_stored(&offsets)?) {
            match event {
                None => self.skip(1),
                Some(event) if self.plan.wants(&self.handle, &event) => read.push(Read {
                    axis_ms: match self.plan.axis {
                        Axis::Offset => 0,
                        Axis::Schedule => event.schedule_ms,
                        Axis::Fire => place.due_ms,
                    },
                    event,
                    skipped: std::mem::take(&mut self.skipped),
                }),
                Some(_) => {}
            }
        }
        Ok(read)
    }

    fn skip(&mut self, events: u64) {
        self.skipped += events;
        self.skipped_total += events;
    }

    /// The events with these offsets, `None` for one that is no longer stored. A place that turns out
    /// to be old is looked up again.
    fn read_stored(&self, offsets: &[u64]) -> Result<Vec<Option<StoredEvent>>, ReadError> {
        let mut events = Vec::with_capacity(offsets.len());
        let mut unread = Vec::new();
        self.handle.events.read(offsets, &mut |offset, read| {
            if read.is_err() {
                unread.push((events.len(), offset));
            }
            events.push(read.ok());
        });
        for (at, offset) in unread {
            events[at] = self.read_again(offset)?;
        }
        Ok(events)
    }

    fn read_again(&self, offset: u64) -> Result<Option<StoredEvent>, ReadError> {
        let mut failed = None;
        for _ in 0..LOOK_UPS {
            let mut read = None;
            self.handle
                .events
                .read(&[offset], &mut |_, event| read = Some(event));
            match read {
                Some(Ok(event)) => return Ok(Some(event)),
                None | Some(Err(ReadError::Missing { .. })) => return Ok(None),
                // The segment may have gone since the look-up; the next one finds where the event is
                // now, or that it is not.
                Some(Err(error)) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The batch that holds an offset, or the next one that is stored.
    fn batch_from(&self, offset: u64) -> Result<Option<Arc<Batch>>, ReadError> {
        match self.handle.events.batch_of(offset) {
            Ok(batch) if batch.place(offset).is_some() => return Ok(Some(batch)),
            Ok(_) | Err(ReadError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let store = self.handle.state.lock().store().clone();
        let from = batch::key(self.handle.number, offset);
        let to = batch::key(self.handle.number, u64::MAX);
        let mut found = None;
        store.scan(Family::Batch, &from, &to, &mut |key, value| {
            found = Some(Batch::decode(key, value));
            ControlFlow::Break(())
        })?;
        match found {
            None => Ok(None),
            Some(Ok(batch)) => Ok(Some(Arc::new(batch))),
            Some(Err(_)) => Err(ReadError::Index(StoreError::Damaged {
                family: Family::Batch,
                reason: "the place of a log entry is malformed",
            })),
        }
    }
}
