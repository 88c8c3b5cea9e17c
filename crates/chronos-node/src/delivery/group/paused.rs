//! A group while it, or a topic that it reads, is paused.
//!
//! Only handing out stops. What is in flight is answered, or times out, as ever.
//!
//! | paused | events |
//! |---|---|
//! | the whole group, hold | stay where they are: in the feed, ready, delayed |
//! | the whole group, drop | are settled as they fall due, with no member or credit needed |
//! | a topic of several, hold | are set aside when their turn comes, and the others go on |
//! | a topic of several, drop | are settled when their turn comes, or ahead of it without credit |
//!
//! Redriven letters are never dropped: somebody asked for them.

use super::lanes::Lanes;
use super::{Group, Lookup, MOST_DELAYED, Stretch};
use crate::delivery::{Feed, Pause, WhilePaused};
use chronos_core::mutant;
use chronos_core::partition::Run;
use chronos_core::store::{Store, StoreError};
use chronos_core::types::{DueKey, TopicNumber};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages of events that a group drops before it lets others go on.
const MOST_PAGES: usize = 64;

/// The topic of a redelivery to a group that reads every topic: only the event itself knows it.
pub(super) const UNKNOWN_TOPIC: TopicNumber = TopicNumber::MAX;

/// What a pause makes of a group.
#[derive(Debug, Default)]
pub(super) struct Paused {
    pause: Pause,
    /// Set aside until their topic goes on. Each is some neighbours; they are bounded together with
    /// what is delayed.
    aside: Vec<Stretch>,
    /// What is ready is to be put in due order, because of what was held.
    unordered: bool,
    /// Something came to be ready that may have to be dropped.
    pub(super) unswept: bool,
    /// Of topics that are dropped: everything up to here was dropped ahead of its turn.
    dropped: HashMap<TopicNumber, DueKey>,
    /// When there is more to drop though nothing happens, Unix milliseconds.
    wake_ms: Option<i64>,
}

impl Paused {
    /// Whether handing out is as ever. The one question a group without pauses asks.
    pub(super) fn is_idle(&self) -> bool {
        self.pause.is_none() && !self.unordered
    }

    /// Whether what is delayed may move though no member has credit, or may not though one has.
    pub(super) fn moves(&self, has_credit: bool) -> bool {
        match self.pause.whole {
            Some(WhilePaused::Hold) => false,
            Some(WhilePaused::Drop(_)) => true,
            None => has_credit || self.pause.drops(),
        }
    }

    /// When the group needs attention because of a pause, Unix milliseconds.
    pub(super) fn wake_ms(&self) -> Option<i64> {
        self.wake_ms
    }

    /// Stretches that are set aside.
    pub(super) fn places(&self) -> u64 {
        self.aside.len() as u64
    }

    /// Events that are set aside.
    pub(super) fn events(&self) -> u64 {
        self.aside.iter().map(|stretch| stretch.count).sum()
    }

    /// Whether an event is set aside.
    pub(super) fn holds(&self, key: DueKey) -> bool {
        let holds = |stretch: &Stretch| stretch.first() <= key && key <= stretch.last();
        self.aside.iter().any(holds)
    }

    /// Whether some topics of several are paused.
    pub(super) fn is_partial(&self) -> bool {
        !self.pause.topics.is_empty()
    }

    /// Where to count events of this topic that fall due, when they are dropped.
    pub(super) fn drops(&self, topic: TopicNumber) -> Option<Arc<AtomicU64>> {
        match self.pause.of(topic) {
            Some(WhilePaused::Drop(counter)) => Some(Arc::clone(counter)),
            Some(WhilePaused::Hold) | None => None,
        }
    }
}

impl Group {
    /// Pauses the group, or parts of what it reads, or lets it go on. What was held is then ready,
    /// in due order.
    pub fn pause(&mut self, pause: Pause) {
        if pause.is_none() && self.paused.is_idle() {
            return;
        }
        self.ready.extend(std::mem::take(&mut self.paused.aside));
        self.paused = Paused {
            pause,
            unordered: true,
            unswept: true,
            ..Paused::default()
        };
    }

    /// Does what the pauses say before anything is handed out. Whether something may be.
    pub(super) fn heed_pause<S: Store>(
        &mut self,
        now_ms: i64,
        feed: &Feed<S>,
        topics: usize,
        lookup: &impl Lookup,
    ) -> Result<bool, StoreError> {
        if std::mem::take(&mut self.paused.unordered) {
            self.wake(now_ms);
            self.ready.make_contiguous().sort_unstable();
        }
        match &self.paused.pause.whole {
            None => return Ok(true),
            Some(WhilePaused::Hold) if mutant!("pause-ignored") => return Ok(true),
            Some(WhilePaused::Hold) if mutant!("pause-loses-held") => {
                while self.fetch(now_ms, feed, topics, lookup)? {}
                self.wake(i64::MAX);
                for stretch in std::mem::take(&mut self.ready) {
                    self.settle(stretch.last(), stretch.before);
                }
                return Ok(false);
            }
            Some(WhilePaused::Drop(_)) if mutant!("drop-holds") => return Ok(false),
            Some(WhilePaused::Hold) => return Ok(false),
            Some(WhilePaused::Drop(_)) => {}
        }
        self.sweep(now_ms, lookup);
        self.paused.wake_ms = Some(now_ms);
        for _ in 0..MOST_PAGES {
            if !self.fetch(now_ms, feed, topics, lookup)? {
                self.paused.wake_ms = None;
                break;
            }
            self.paused.unswept |= self.paused.is_partial();
            self.sweep(now_ms, lookup);
        }
        Ok(false)
    }

    /// Drops what is dropped of what no member had credit for.
    pub(super) fn drop_ahead<S: Store>(
        &mut self,
        now_ms: i64,
        feed: &Feed<S>,
        lookup: &impl Lookup,
    ) -> Result<(), StoreError> {
        if !self.paused.pause.drops() {
            return Ok(());
        }
        self.sweep(now_ms, lookup);
        self.paused.wake_ms = None;
        let dropped: Vec<_> = (self.paused.pause.topics.iter())
            .filter_map(|topic| match &topic.while_paused {
                WhilePaused::Drop(counter) => Some((topic.number, Arc::clone(counter))),
                WhilePaused::Hold => None,
            })
            .collect();
        for (topic, counter) in dropped {
            self.drop_topic_ahead(topic, &counter, now_ms, feed)?;
        }
        Ok(())
    }

    fn drop_topic_ahead<S: Store>(
        &mut self,
        topic: TopicNumber,
        counter: &AtomicU64,
        now_ms: i64,
        feed: &Feed<S>,
    ) -> Result<(), StoreError> {
        for _ in 0..MOST_PAGES {
            let known = self.paused.dropped.get(&topic).copied();
            let after = known.map_or(self.read, |known| known.max(self.read));
            if after >= feed.horizon() {
                return Ok(());
            }
            let runs = feed.next(topic, after, super::FETCH_EVENTS)?;
            if runs.is_empty() {
                self.paused.dropped.insert(topic, feed.horizon());
                return Ok(());
            }
            for run in &runs {
                if run.ready_ms > now_ms {
                    let earlier = |known: i64| known.min(run.ready_ms);
                    self.paused.wake_ms = Some(self.paused.wake_ms.map_or(run.ready_ms, earlier));
                    return Ok(());
                }
                self.drop_run_ahead(run, counter);
                self.paused.dropped.insert(topic, run.last());
            }
        }
        self.paused.wake_ms = Some(now_ms);
        Ok(())
    }

    /// Settles a run that was not taken from the feed. When it is, it is known to be settled.
    fn drop_run_ahead(&mut self, run: &Run, counter: &AtomicU64) {
        let last = run.first_offset + run.count;
        for offset in run.first_offset.max(self.first_offset)..last {
            let key = DueKey::new(run.due_ms, offset);
            if key <= self.settled_upto && self.settled.contains(key) {
                continue;
            }
            self.settled.settle_one(key);
            self.settled_upto = self.settled_upto.max(key);
            self.settle(key, key.before());
            self.count_dropped(1, counter);
        }
    }

    /// Drops and sets aside what is ready and may not be handed out.
    fn sweep(&mut self, now_ms: i64, lookup: &impl Lookup) {
        self.wake(now_ms);
        if !std::mem::take(&mut self.paused.unswept) {
            return;
        }
        let (paused, redrives) = (&self.paused, &self.redrives);
        let drops = |stretch: &Stretch| {
            paused.drops(stretch.topic).is_some() && !redrives.holds(stretch.first())
        };
        if let Some(lanes) = &mut self.lanes {
            self.ready.extend(lanes.take_waiting(drops));
        }
        let mut kept = VecDeque::with_capacity(self.ready.len());
        // What is settled may let the next of its key become ready, in front.
        while let Some(stretch) = self.ready.pop_front() {
            kept.extend(self.detain(stretch, lookup));
        }
        self.ready = kept;
    }

    /// Takes a stretch whose turn it is and that may not be handed out; returns any other.
    pub(super) fn detain(&mut self, stretch: Stretch, lookup: &impl Lookup) -> Option<Stretch> {
        let key = stretch.first();
        let is_letter = stretch.count == 1 && self.redrives.holds(key);
        let topic = match stretch.topic {
            UNKNOWN_TOPIC => self.topic_of(key, lookup),
            topic => topic,
        };
        match (self.paused.pause.of(topic).cloned(), is_letter) {
            (None, _) => Some(stretch),
            (Some(WhilePaused::Drop(counter)), false) => {
                self.drop_stretch(stretch, &counter);
                None
            }
            // A whole group that is paused looks at what is ready again when it goes on.
            (Some(_), _) if self.paused.pause.whole.is_some() && !self.paused.is_partial() => {
                Some(stretch)
            }
            (Some(_), _) => {
                self.set_aside(stretch);
                None
            }
        }
    }

    /// The topic of a redelivery to a group that reads every topic, among those that are paused.
    fn topic_of(&self, key: DueKey, lookup: &impl Lookup) -> TopicNumber {
        let paused = &self.paused.pause.topics;
        let name = match paused.is_empty() {
            true => None,
            false => lookup.topic(key.offset),
        };
        let known = name.and_then(|name| paused.iter().find(|topic| *topic.name == *name));
        known.map_or(UNKNOWN_TOPIC, |topic| topic.number)
    }

    fn set_aside(&mut self, stretch: Stretch) {
        // One that was never handed out does not keep its key from others. One that was does: they
        // would overtake it.
        if stretch.count == 1
            && !self.past.contains_key(&stretch.first_offset)
            && let Some(next) =
                (self.lanes.as_mut()).and_then(|lanes| lanes.release(stretch.first_offset))
        {
            self.ready.push_front(next);
        }
        self.paused.aside.push(stretch);
    }

    /// Settles events that were not handed out.
    pub(super) fn drop_stretch(&mut self, stretch: Stretch, counter: &AtomicU64) {
        if self.past.is_empty() && self.skip.is_empty() && self.lanes.is_none() {
            self.settle(stretch.last(), stretch.before);
            self.count_dropped(stretch.count, counter);
            return;
        }
        let mut rest = Some(stretch);
        while let Some(stretch) = rest {
            let ((key, before), tail) = stretch.split_first();
            // What was answered late while it waited is settled and was not dropped.
            let answered = self.skip.remove(&key.offset);
            self.settle(key, before);
            if let Some(lanes) = &mut self.lanes {
                lanes.forget(key.offset);
            }
            self.count_dropped(u64::from(!answered), counter);
            rest = tail;
        }
    }

    fn count_dropped(&mut self, count: u64, counter: &AtomicU64) {
        self.counts.dropped += count;
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether so much waits outside the feed that no more is fetched.
    pub(super) fn is_full(&self) -> bool {
        let in_lanes = self.lanes.as_ref().map_or(0, Lanes::waiting);
        self.delayed_events + in_lanes + self.paused.places() >= MOST_DELAYED
    }
}
