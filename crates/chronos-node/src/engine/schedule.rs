//! What falls due next: the wheel for the near future, paged in from the index ahead of time.
//!
//! An event belongs to exactly one owner. Time buckets below `loaded_until` are the wheel's: whatever
//! is accepted into them goes to the wheel at once. Later buckets are the index's, until a page-in
//! moves the mark; it takes over the events accepted before the mark moved, and those accepted after
//! go to the wheel themselves. The horizon never enters a bucket that is not wholly in the wheel.
//!
//! A timer is not taken out of the wheel when its event is cancelled or moved: it is noted as gone and
//! dropped when it comes out.

use chronos_core::keys::chunk::{bucket_of, bucket_start_ms};
use chronos_core::mutant;
use chronos_core::partition::Move;
use chronos_core::partition::{Effects, Run, released};
use chronos_core::store::{Store, StoreError};
use chronos_core::types::{DueKey, PartitionNumber, TopicNumber};
use chronos_core::wheel::{Timer, Wheel};
use hashbrown::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

/// Events to bring into the wheel: a job for a thread that may block.
#[derive(Debug, Clone)]
pub struct PageIn {
    partition: PartitionNumber,
    topics: usize,
    buckets: Range<i64>,
    /// Only events above this key, which are not released yet.
    above: DueKey,
    /// Only events below this offset: later ones went to the wheel when they were accepted.
    below_offset: u64,
}

impl PageIn {
    /// Reads the index.
    pub fn read(&self, store: &impl Store) -> Result<Vec<Timer>, StoreError> {
        let mut timers = Vec::new();
        for topic in 0..self.topics as TopicNumber {
            released::scheduled(
                store,
                self.partition,
                topic,
                self.buckets.clone(),
                &mut |timer| {
                    let key = DueKey::new(timer.due_ms, timer.offset);
                    let hole = mutant!("far-page-hole") && timer.offset % 2 == 0;
                    if key > self.above && timer.offset < self.below_offset && !hole {
                        timers.push(timer);
                    }
                },
            )?;
        }
        Ok(timers)
    }
}

/// The scheduled events of a partition, as its leader sees them.
#[derive(Debug)]
pub struct Schedule {
    partition: PartitionNumber,
    wheel: Wheel,
    near: Duration,
    /// Buckets below are the wheel's.
    loaded_until: i64,
    /// Buckets from here on are on their way into the wheel, with the events below this offset.
    loading: Option<(i64, u64)>,
    /// Timers in the wheel whose event is no longer due then.
    gone: HashSet<DueKey>,
    /// Events changed while a page-in is under way that may or may not have seen it: where they are
    /// due now. The page-in does not count for them.
    moved_meanwhile: HashMap<u64, (TopicNumber, Option<i64>)>,
    /// By topic: events accepted for later, without the cancelled ones.
    scheduled: Vec<u64>,
    /// By topic: how many of them were released.
    released: Vec<u64>,
    released_upto: DueKey,
    due: Vec<Timer>,
    /// Topics that were deleted since the start: timers with offsets below are dropped when they come
    /// out.
    deleted: HashMap<TopicNumber, u64>,
}

impl Schedule {
    /// A schedule that begins at `horizon`. Of the `scheduled` events of each topic that were accepted
    /// for later, `released` are at or below it. Nothing is in the wheel yet: see
    /// [`Schedule::page_in`].
    pub fn new(
        partition: PartitionNumber,
        horizon: DueKey,
        near: Duration,
        scheduled: Vec<u64>,
        released: Vec<u64>,
    ) -> Self {
        let loaded_until = if mutant!("forget-timers-on-restart") {
            i64::MAX
        } else {
            bucket_of(horizon.due_ms)
        };
        Self {
            partition,
            wheel: Wheel::new(horizon.due_ms),
            near,
            loaded_until,
            loading: None,
            gone: HashSet::new(),
            moved_meanwhile: HashMap::new(),
            scheduled,
            released,
            released_upto: horizon,
            due: Vec::new(),
            deleted: HashMap::new(),
        }
    }

    /// Events of a topic accepted for later, and those of them that are not released.
    pub fn counts_of(&self, topic: TopicNumber) -> (u64, u64) {
        let of = |counts: &[u64]| counts.get(topic as usize).copied().unwrap_or(0);
        let (scheduled, released) = (of(&self.scheduled), of(&self.released));
        (scheduled, scheduled.saturating_sub(released))
    }

    /// A topic was deleted: its events with offsets below do not fall due.
    pub fn topic_deleted(&mut self, topic: TopicNumber, below: u64) {
        self.deleted.insert(topic, below);
        *count_of(&mut self.scheduled, topic) = 0;
        *count_of(&mut self.released, topic) = 0;
    }

    /// The next page-in, if the near future is not in the wheel and none is under way. The caller
    /// reads it and hands the result to [`Schedule::paged_in`].
    pub fn page_in(&mut self, now_ms: i64, topics: usize, next_offset: u64) -> Option<PageIn> {
        let near_ms = i64::try_from(self.near.as_millis()).unwrap_or(i64::MAX);
        let wanted = bucket_of(now_ms.saturating_add(near_ms)).saturating_add(1);
        if self.loading.is_some() || self.loaded_until >= wanted {
            return None;
        }
        // A few buckets at a time, so that an idle partition reads seldom.
        let until = wanted.saturating_add(self.read_ahead_buckets());
        let buckets = self.loaded_until..until;
        self.loading = Some((self.loaded_until, next_offset));
        self.loaded_until = until;
        Some(PageIn {
            partition: self.partition,
            topics,
            buckets,
            above: self.released_upto,
            below_offset: next_offset,
        })
    }

    fn read_ahead_buckets(&self) -> i64 {
        bucket_of(i64::try_from(self.near.as_millis()).unwrap_or(i64::MAX)) / 2
    }

    /// Takes what a page-in read.
    pub fn paged_in(&mut self, timers: Vec<Timer>) {
        let loading = self.loading.take();
        let loading_from = loading.map_or(self.loaded_until, |(from, _)| from);
        let moved = std::mem::take(&mut self.moved_meanwhile);
        for timer in timers {
            if !moved.contains_key(&timer.offset) {
                self.wheel.insert(timer);
            }
        }
        for (offset, (topic, due_ms)) in moved {
            let was_loading =
                |due_ms: &i64| (loading_from..self.loaded_until).contains(&bucket_of(*due_ms));
            if let Some(due_ms) = due_ms.filter(was_loading) {
                self.wheel.insert(Timer {
                    due_ms,
                    topic,
                    offset,
                });
            }
        }
    }

    /// When the next page-in is wanted, Unix milliseconds.
    pub fn next_page_in_ms(&self) -> i64 {
        let near_ms = i64::try_from(self.near.as_millis()).unwrap_or(i64::MAX);
        bucket_start_ms(self.loaded_until).saturating_sub(near_ms)
    }

    /// Whether the horizon may move to this time: everything up to it is in the wheel.
    pub fn is_loaded_upto(&self, time_ms: i64) -> bool {
        let loading_from = self.loading.map(|(from, _)| from);
        bucket_of(time_ms) < loading_from.unwrap_or(self.loaded_until)
    }

    /// Takes in what an entry accepted for later.
    pub fn arm(&mut self, effects: &Effects) {
        for timer in &effects.timers {
            *count_of(&mut self.scheduled, timer.topic) += 1;
            if bucket_of(timer.due_ms) < self.loaded_until {
                self.wheel.insert(*timer);
            }
        }
        for moved in &effects.moves {
            self.move_timer(moved);
        }
    }

    /// Takes an event from where it was due and puts it where it is due now.
    fn move_timer(&mut self, moved: &Move) {
        if moved.to_ms.is_none() {
            let scheduled = count_of(&mut self.scheduled, moved.topic);
            *scheduled = scheduled.saturating_sub(1);
        }
        let paging = self
            .loading
            .filter(|(_, below_offset)| moved.offset < *below_offset);
        let loaded = paging.map_or(self.loaded_until, |(from, _)| from);
        let key = |due_ms| DueKey::new(due_ms, moved.offset);
        if bucket_of(moved.from_ms) < loaded && !mutant!("cancel-not-indexed") {
            self.gone.insert(key(moved.from_ms));
        }
        if let Some(due_ms) = moved.to_ms
            && bucket_of(due_ms) < loaded
            // A timer that is still there from before counts again.
            && !self.gone.remove(&key(due_ms))
        {
            self.wheel.insert(Timer {
                due_ms,
                topic: moved.topic,
                offset: moved.offset,
            });
        }
        if paging.is_some() {
            self.moved_meanwhile
                .insert(moved.offset, (moved.topic, moved.to_ms));
        }
    }

    /// Releases everything up to the horizon: runs in due order.
    pub fn release(&mut self, horizon: DueKey) -> Vec<Run> {
        self.due.clear();
        self.wheel.expire(horizon.due_ms, &mut self.due);
        if !self.gone.is_empty() {
            let gone = &mut self.gone;
            self.due
                .retain(|timer| !gone.remove(&DueKey::new(timer.due_ms, timer.offset)));
        }
        if !self.deleted.is_empty() {
            let deleted = &self.deleted;
            self.due.retain(|timer| {
                deleted
                    .get(&timer.topic)
                    .is_none_or(|below| timer.offset >= *below)
            });
        }
        self.released_upto = self.released_upto.max(horizon);
        if mutant!("wheel-lost-tick") {
            self.due.retain(|timer| timer.due_ms % 16 != 3);
        }
        let mut runs: Vec<Run> = Vec::new();
        for timer in &self.due {
            match runs.last_mut() {
                Some(run)
                    if run.topic == timer.topic
                        && run.due_ms == timer.due_ms
                        && run.first_offset + run.count == timer.offset =>
                {
                    run.count += 1;
                }
                _ => runs.push(Run {
                    topic: timer.topic,
                    due_ms: timer.due_ms,
                    first_offset: timer.offset,
                    count: 1,
                    ready_ms: timer.due_ms,
                }),
            }
        }
        for run in &runs {
            *count_of(&mut self.released, run.topic) += run.count;
        }
        runs
    }

    /// When the next event in the wheel falls due, or a time before that; Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.wheel.next_due_ms()
    }

    /// Events accepted for later and not released, by topic.
    pub fn pending_by_topic(&self) -> impl Iterator<Item = u64> + '_ {
        let released = self.released.iter().copied().chain(std::iter::repeat(0));
        (self.scheduled.iter().zip(released))
            .map(|(scheduled, released)| scheduled.saturating_sub(released))
    }

    /// Events accepted for later and not released.
    #[cfg(test)]
    pub fn pending(&self) -> u64 {
        self.pending_by_topic().sum()
    }

    /// How many scheduled events of each topic were released, and up to which due key.
    pub fn released(&self) -> (&[u64], DueKey) {
        (&self.released, self.released_upto)
    }

    /// Events in the wheel, and the memory it has, bytes.
    pub fn wheel_size(&self) -> (usize, usize) {
        (self.wheel.len(), self.wheel.bytes())
    }
}

/// The count of a topic, which begins at 0.
fn count_of(counts: &mut Vec<u64>, topic: TopicNumber) -> &mut u64 {
    let topic = topic as usize;
    if counts.len() <= topic {
        counts.resize(topic + 1, 0);
    }
    &mut counts[topic]
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronos_core::keys::chunk;
    use chronos_core::store::{Family, MemoryStore, WriteBatch};

    const NEAR: Duration = Duration::from_secs(60);

    fn timer(due_ms: i64, offset: u64) -> Timer {
        Timer {
            due_ms,
            topic: 0,
            offset,
        }
    }

    fn accepted(store: &MemoryStore, schedule: &mut Schedule, timers: &[Timer]) {
        let mut writes = WriteBatch::default();
        for timer in timers {
            let bucket = chunk::Bucket::accepting(timer.due_ms, 0);
            let value = chunk::encode(
                bucket,
                timer.offset,
                &[DueKey::new(timer.due_ms, timer.offset)],
            );
            writes.put(Family::Chunk, chunk::key(0, 0, bucket, timer.offset), value);
        }
        store.write(&writes).unwrap();
        schedule.arm(&Effects {
            timers: timers.to_vec(),
            ..Effects::default()
        });
    }

    fn released_offsets(schedule: &mut Schedule, horizon: DueKey) -> Vec<u64> {
        let runs = schedule.release(horizon);
        runs.iter()
            .flat_map(|run| run.first_offset..run.first_offset + run.count)
            .collect()
    }

    #[test]
    fn an_event_has_one_owner_whenever_it_was_accepted() {
        let store = MemoryStore::new();
        let mut schedule = Schedule::new(0, DueKey::new(0, 0), NEAR, vec![], vec![]);
        let first = schedule.page_in(0, 1, 0).unwrap();
        schedule.paged_in(first.read(&store).unwrap());
        let far_ms = schedule.next_page_in_ms() + 60_000 + 5;
        assert!(!schedule.is_loaded_upto(far_ms));
        // Accepted before the page-in, while it is under way, and after it.
        accepted(&store, &mut schedule, &[timer(far_ms, 1)]);
        assert_eq!(schedule.page_in(0, 1, 2).map(|_| ()), None);
        let page = schedule.page_in(far_ms - 60_000, 1, 2).unwrap();
        accepted(&store, &mut schedule, &[timer(far_ms, 2)]);
        assert!(!schedule.is_loaded_upto(far_ms));
        schedule.paged_in(page.read(&store).unwrap());
        accepted(&store, &mut schedule, &[timer(far_ms, 3)]);
        assert!(schedule.is_loaded_upto(far_ms));
        assert_eq!(schedule.pending(), 3);
        assert_eq!(
            released_offsets(&mut schedule, DueKey::new(far_ms - 1, 9)),
            [0u64; 0]
        );
        assert_eq!(
            released_offsets(&mut schedule, DueKey::new(far_ms, 9)),
            [1, 2, 3]
        );
        assert_eq!((schedule.pending(), schedule.released().0), (0, &[3][..]));
    }

    fn moved(offset: u64, from_ms: i64, to_ms: Option<i64>) -> Effects {
        Effects {
            moves: vec![Move {
                topic: 0,
                offset,
                from_ms,
                to_ms,
                schedule_ms: to_ms.unwrap_or(from_ms),
            }],
            ..Effects::default()
        }
    }

    #[test]
    fn cancelled_and_moved_events_come_out_where_they_are_due_and_once() {
        let store = MemoryStore::new();
        let mut schedule = Schedule::new(0, DueKey::new(0, 0), NEAR, vec![], vec![]);
        let page = schedule.page_in(0, 1, 0).unwrap();
        schedule.paged_in(page.read(&store).unwrap());
        let timers: Vec<_> = (0..5).map(|offset| timer(100, offset)).collect();
        accepted(&store, &mut schedule, &timers);
        schedule.arm(&moved(0, 100, None));
        schedule.arm(&moved(1, 100, Some(150)));
        // Away and back again, twice.
        for _ in 0..2 {
            schedule.arm(&moved(2, 100, Some(120)));
            schedule.arm(&moved(2, 120, Some(100)));
        }
        schedule.arm(&moved(3, 100, Some(50)));
        assert_eq!(schedule.pending(), 4);
        assert_eq!(released_offsets(&mut schedule, DueKey::new(99, 9)), [3]);
        assert_eq!(released_offsets(&mut schedule, DueKey::new(130, 9)), [2, 4]);
        assert_eq!(released_offsets(&mut schedule, DueKey::new(200, 9)), [1]);
        assert_eq!(schedule.pending(), 0);
    }

    #[test]
    fn what_changes_while_it_is_paged_in_comes_out_once_whatever_the_page_saw() {
        // The page is read before the changes, or after them, as the index has them then.
        for reads_first in [true, false] {
            let store = MemoryStore::new();
            let mut schedule = Schedule::new(0, DueKey::new(0, 0), NEAR, vec![], vec![]);
            let first = schedule.page_in(0, 1, 0).unwrap();
            schedule.paged_in(first.read(&store).unwrap());
            let far_ms = schedule.next_page_in_ms() + 60_000 + 5;
            let timers: Vec<_> = (1..6).map(|offset| timer(far_ms, offset)).collect();
            accepted(&store, &mut schedule, &timers);
            let page = schedule.page_in(far_ms - 60_000, 1, 6).unwrap();
            let read = page.read(&store).unwrap();
            let mut seen_later = read.clone();
            accepted(&store, &mut schedule, &[timer(far_ms, 6), timer(far_ms, 7)]);
            schedule.arm(&moved(1, far_ms, None));
            schedule.arm(&moved(2, far_ms, Some(far_ms + 3)));
            schedule.arm(&moved(3, far_ms, Some(20)));
            schedule.arm(&moved(4, far_ms, Some(far_ms + 3)));
            schedule.arm(&moved(4, far_ms + 3, Some(far_ms)));
            schedule.arm(&moved(6, far_ms, Some(far_ms + 1)));
            schedule.arm(&moved(7, far_ms, None));
            seen_later.retain(|timer| ![1, 2, 3].contains(&timer.offset));
            seen_later.push(timer(far_ms + 3, 2));
            schedule.paged_in(if reads_first { read } else { seen_later });
            assert_eq!(released_offsets(&mut schedule, DueKey::new(50, 9)), [3]);
            let upto = DueKey::new(far_ms, 9);
            assert_eq!(released_offsets(&mut schedule, upto), [4, 5]);
            let upto = DueKey::new(far_ms + 9, 9);
            assert_eq!(released_offsets(&mut schedule, upto), [6, 2]);
            assert_eq!(schedule.pending(), 0);
        }
    }

    #[test]
    fn a_restart_pages_in_only_what_is_above_the_horizon() {
        let store = MemoryStore::new();
        let mut before = Schedule::new(0, DueKey::new(0, 0), NEAR, vec![], vec![]);
        accepted(
            &store,
            &mut before,
            &[timer(100, 0), timer(200, 1), timer(200, 2)],
        );
        let mut schedule = Schedule::new(0, DueKey::new(200, 1), NEAR, vec![3], vec![2]);
        let page = schedule.page_in(200, 1, 3).unwrap();
        schedule.paged_in(page.read(&store).unwrap());
        assert_eq!(schedule.next_due_ms().map(|ms| ms <= 200), Some(true));
        assert_eq!(released_offsets(&mut schedule, DueKey::new(300, 9)), [2]);
    }
}
