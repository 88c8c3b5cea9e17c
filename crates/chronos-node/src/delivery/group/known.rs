//! What a test says of events that exist nowhere.

use super::Lookup;
use chronos_core::types::TopicNumber;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Priorities and keys by offset.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) prioritized: BTreeSet<TopicNumber>,
    pub(super) priorities: BTreeMap<u64, u8>,
    pub(super) keys: BTreeMap<u64, u64>,
    pub(super) topics: BTreeMap<u64, Vec<u8>>,
    /// Events that were looked at.
    pub(super) looked: Cell<u64>,
}

impl Lookup for Known {
    fn has_priorities(&self, topic: TopicNumber) -> bool {
        self.prioritized.contains(&topic)
    }

    fn priorities(&self, first: u64, count: u64) -> Vec<u8> {
        self.looked.set(self.looked.get() + count);
        let of = |offset| self.priorities.get(&offset).copied().unwrap_or(0);
        (first..first + count).map(of).collect()
    }

    fn keys(&self, offsets: &[u64]) -> Vec<u64> {
        self.looked.set(self.looked.get() + offsets.len() as u64);
        let of = |offset: &u64| self.keys.get(offset).copied().unwrap_or(*offset);
        offsets.iter().map(of).collect()
    }

    fn topic(&self, offset: u64) -> Option<Vec<u8>> {
        self.topics.get(&offset).cloned()
    }
}
