//! Which nodes answer, and what their clocks show.
//!
//! The clock of a node is compared by its answer to a pulse, as in NTP (RFC 5905, section 8): its time
//! is taken to be that of the middle between asking and being answered, and the quickest of the last
//! few answers counts, because it leaves the least room for error. A node is off when it differs from
//! the median of all by more than the threshold: so one wrong clock never makes the others wrong.

use chronos_core::types::NodeId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A node that did not answer for so long is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// Answers that are remembered of a node.
const MOST_SAMPLES: usize = 8;

/// What is known of the other nodes.
pub struct Hearing {
    begun: Instant,
    nodes: Mutex<BTreeMap<NodeId, Heard>>,
}

#[derive(Default)]
struct Heard {
    last: Option<Instant>,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    offset_us: i64,
    round_trip: Duration,
}

impl Hearing {
    /// Nobody was heard of yet.
    pub fn new(now: Instant) -> Self {
        Self {
            begun: now,
            nodes: Mutex::default(),
        }
    }

    /// A node asked something.
    pub fn heard(&self, node: NodeId, now: Instant) {
        self.nodes.lock().entry(node).or_default().last = Some(now);
    }

    /// A node answered what it was asked `round_trip` ago: its clock differs by `offset_us` from this
    /// one's, if the answer was half of the way.
    pub fn answered(&self, node: NodeId, now: Instant, round_trip: Duration, offset_us: i64) {
        let mut nodes = self.nodes.lock();
        let heard = nodes.entry(node).or_default();
        heard.last = Some(now);
        if heard.samples.len() == MOST_SAMPLES {
            heard.samples.pop_front();
        }
        heard.samples.push_back(Sample {
            offset_us,
            round_trip,
        });
    }

    /// Forgets what a node's clock showed: this one's was set.
    pub fn forget_clocks(&self) {
        for heard in self.nodes.lock().values_mut() {
            heard.samples.clear();
        }
    }

    /// For how long a node has been silent, if it is dead.
    pub fn dead_for(&self, node: NodeId, now: Instant) -> Option<Duration> {
        let last = (self.nodes.lock().get(&node)).and_then(|heard| heard.last);
        let silent = now.saturating_duration_since(last.unwrap_or(self.begun));
        (silent > DEAD_AFTER).then_some(silent)
    }

    /// By how much the clocks of nodes, this one (`me`) among them, differ from the median of all that
    /// answer, microseconds.
    pub fn offsets_us(&self, me: NodeId, now: Instant) -> BTreeMap<NodeId, i64> {
        let mut offsets = BTreeMap::from([(me, 0)]);
        for (node, heard) in self.nodes.lock().iter() {
            let is_alive = heard
                .last
                .is_some_and(|last| now.saturating_duration_since(last) <= DEAD_AFTER);
            let best = heard.samples.iter().min_by_key(|sample| sample.round_trip);
            if let (true, Some(sample)) = (is_alive, best) {
                offsets.insert(*node, sample.offset_us);
            }
        }
        let mut sorted: Vec<i64> = offsets.values().copied().collect();
        sorted.sort_unstable();
        // Of an even number the lower one: with two nodes nobody knows which is wrong.
        let median = sorted[(sorted.len() - 1) / 2];
        offsets
            .into_iter()
            .map(|(node, offset)| (node, offset - median))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_node_is_dead_when_it_is_silent() {
        let begun = Instant::now();
        let hearing = Hearing::new(begun);
        assert_eq!(hearing.dead_for(2, begun + DEAD_AFTER), None);
        let late = begun + DEAD_AFTER + MS;
        assert_eq!(hearing.dead_for(2, late), Some(DEAD_AFTER + MS));
        hearing.heard(2, late);
        assert_eq!(hearing.dead_for(2, late + DEAD_AFTER), None);
        hearing.answered(2, late + DEAD_AFTER, MS, 0);
        assert_eq!(hearing.dead_for(2, late + DEAD_AFTER * 2), None);
    }

    #[test]
    fn the_clock_that_differs_from_most_is_off() {
        let now = Instant::now();
        let hearing = Hearing::new(now);
        hearing.answered(2, now, MS, 10);
        hearing.answered(3, now, MS, 9_000_000);
        let expected = BTreeMap::from([(1, -10), (2, 0), (3, 8_999_990)]);
        assert_eq!(hearing.offsets_us(1, now), expected);
        // This node's own clock is wrong: all others differ alike.
        hearing.forget_clocks();
        hearing.answered(2, now, MS, -5_000_000);
        hearing.answered(3, now, MS, -5_000_001);
        assert_eq!(hearing.offsets_us(1, now)[&1], 5_000_000);
        // Who is dead does not count.
        let later = now + DEAD_AFTER + MS;
        assert_eq!(hearing.offsets_us(1, later), BTreeMap::from([(1, 0)]));
    }

    #[test]
    fn the_quickest_answer_counts() {
        let now = Instant::now();
        let hearing = Hearing::new(now);
        hearing.answered(2, now, MS * 50, 25_000);
        hearing.answered(2, now, MS, 100);
        hearing.answered(2, now, MS * 90, -40_000);
        assert_eq!(hearing.offsets_us(1, now)[&2], 100);
    }
}
