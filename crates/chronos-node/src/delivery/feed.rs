//! The released events of a partition in due order: recent ones from memory, older ones from the
//! index.
//!
//! Every release is appended here once, whatever groups there are. A group that keeps up never
//! touches the index; a group that fell behind, or that is new, reads the index up to where memory
//! begins.

use chronos_core::partition::{Run, released};
use chronos_core::store::{Store, StoreError};
use chronos_core::types::{DueKey, PartitionNumber, TopicNumber};
use std::collections::VecDeque;

/// Runs kept in memory for each topic.
const MOST_RUNS: usize = 64 * 1024;

/// Recent releases of one topic: everything above `floor` and up to the horizon.
#[derive(Debug)]
struct Recent {
    floor: DueKey,
    runs: VecDeque<Run>,
}

/// The released events of a partition.
#[derive(Debug)]
pub struct Feed<S> {
    partition: PartitionNumber,
    store: S,
    /// By topic number. Topics beyond the end have nothing in memory above `start`.
    recent: Vec<Recent>,
    /// The horizon when the feed began.
    start: DueKey,
    horizon: DueKey,
}

impl<S: Store> Feed<S> {
    /// A feed that begins at `horizon`: what was released before is in the index.
    pub fn new(partition: PartitionNumber, store: S, horizon: DueKey) -> Self {
        Self {
            partition,
            store,
            recent: Vec::new(),
            start: horizon,
            horizon,
        }
    }

    /// Adds what was released, in due order, by moving the horizon.
    pub fn release(&mut self, runs: impl IntoIterator<Item = Run>, horizon: DueKey) {
        for run in runs {
            let topic = run.topic as usize;
            while self.recent.len() <= topic {
                self.recent.push(Recent {
                    floor: self.start,
                    runs: VecDeque::new(),
                });
            }
            let recent = &mut self.recent[topic];
            match recent.runs.back_mut() {
                Some(last)
                    if last.due_ms == run.due_ms
                        && last.first_offset + last.count == run.first_offset
                        && last.ready_ms == run.ready_ms =>
                {
                    last.count += run.count;
                }
                _ => recent.runs.push_back(run),
            }
            if recent.runs.len() > MOST_RUNS
                && let Some(oldest) = recent.runs.pop_front()
            {
                recent.floor = oldest.last();
            }
        }
        self.horizon = self.horizon.max(horizon);
    }

    /// Forgets the released events of a topic with offsets below `below`.
    pub fn topic_deleted(&mut self, topic: TopicNumber, below: u64) {
        let Some(recent) = self.recent.get_mut(topic as usize) else {
            return;
        };
        recent.runs.retain_mut(|run| {
            let gone = below.saturating_sub(run.first_offset).min(run.count);
            run.first_offset += gone;
            run.count -= gone;
            run.count > 0
        });
    }

    /// The horizon up to which events were released here.
    pub fn horizon(&self) -> DueKey {
        self.horizon
    }

    /// The next runs of a topic above `after`, in due order, about `limit` events. Empty when there
    /// are none.
    pub fn next(
        &self,
        topic: TopicNumber,
        after: DueKey,
        limit: u64,
    ) -> Result<Vec<Run>, StoreError> {
        let recent = self.recent.get(topic as usize);
        let floor = recent.map_or(self.start, |recent| recent.floor);
        let mut found = Vec::new();
        let mut events = 0;
        if after < floor {
            found = released::read(&self.store, self.partition, topic, after, floor, limit)?;
            events = found.iter().map(|run| run.count).sum();
            if events >= limit {
                return Ok(found);
            }
        }
        if let Some(recent) = recent {
            let from = recent.runs.partition_point(|run| run.last() <= after);
            for run in recent.runs.range(from..) {
                let Some(clipped) = released::clip(*run, after, DueKey::MAX) else {
                    continue;
                };
                found.push(clipped);
                events += clipped.count;
                if events >= limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The next runs of every topic above `after`, in due order.
    pub fn next_of_all(
        &self,
        topics: usize,
        after: DueKey,
        limit: u64,
    ) -> Result<Vec<Run>, StoreError> {
        let mut all = Vec::new();
        // Beyond the last key of a topic that has more, nothing may be handed out yet.
        let mut complete_upto = DueKey::MAX;
        for topic in 0..topics as TopicNumber {
            let runs = self.next(topic, after, limit)?;
            if runs.iter().map(|run| run.count).sum::<u64>() >= limit
                && let Some(last) = runs.last()
            {
                complete_upto = complete_upto.min(last.last());
            }
            all.extend(runs);
        }
        let mut all: Vec<_> = all
            .into_iter()
            .filter_map(|run| released::clip(run, DueKey::MIN, complete_upto))
            .collect();
        all.sort_unstable_by_key(Run::first);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronos_core::keys::run;
    use chronos_core::store::{Family, MemoryStore, WriteBatch};

    fn run_of(topic: TopicNumber, due_ms: i64, first_offset: u64, count: u64) -> Run {
        Run {
            topic,
            due_ms,
            first_offset,
            count,
            ready_ms: due_ms,
        }
    }

    fn offsets(runs: &[Run]) -> Vec<u64> {
        runs.iter()
            .flat_map(|run| run.first_offset..run.first_offset + run.count)
            .collect()
    }

    #[test]
    fn older_runs_come_from_the_index_and_recent_ones_from_memory() {
        let store = MemoryStore::new();
        let mut writes = WriteBatch::default();
        writes.put(Family::Run, run::key(0, 0, 5, 0), run::encode(3));
        store.write(&writes).unwrap();
        let mut feed = Feed::new(0, store, DueKey::new(5, 2));
        feed.release([run_of(0, 9, 3, 2)], DueKey::new(9, 4));
        assert_eq!(
            offsets(&feed.next(0, DueKey::MIN, 100).unwrap()),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(
            offsets(&feed.next(0, DueKey::new(5, 1), 100).unwrap()),
            [2, 3, 4]
        );
        assert_eq!(offsets(&feed.next(0, DueKey::new(9, 3), 100).unwrap()), [4]);
        assert_eq!(feed.next(0, DueKey::new(9, 4), 100).unwrap(), []);
        assert_eq!(feed.next(7, DueKey::MIN, 100).unwrap(), []);
    }

    #[test]
    fn all_topics_are_merged_in_due_order_and_never_past_what_is_known() {
        let mut feed = Feed::new(0, MemoryStore::new(), DueKey::new(0, 0));
        feed.release(
            [
                run_of(0, 1, 1, 1),
                run_of(1, 2, 2, 1),
                run_of(0, 3, 3, 1),
                run_of(1, 4, 4, 1),
            ],
            DueKey::new(4, 4),
        );
        assert_eq!(
            offsets(&feed.next_of_all(2, DueKey::new(0, 0), 100).unwrap()),
            [1, 2, 3, 4]
        );
        // With a limit of one per topic, topic 0 is known up to 1 only.
        assert_eq!(
            offsets(&feed.next_of_all(2, DueKey::new(0, 0), 1).unwrap()),
            [1]
        );
        assert_eq!(
            offsets(&feed.next_of_all(2, DueKey::new(1, 1), 1).unwrap()),
            [2]
        );
    }
}
