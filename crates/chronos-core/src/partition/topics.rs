//! Topics: a topic exists from the first event or group that names it.

use crate::types::TopicNumber;
use hashbrown::{HashMap, HashSet};

/// A topic's flag in a checkpoint: it had an event with a priority.
const PRIORITIZED: u64 = 1;

/// Names of a partition's topics and the numbers that stand for them in keys.
#[derive(Debug, Default, Clone)]
pub struct Topics {
    names: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, TopicNumber>,
    /// Topics below this number are in the last checkpoint.
    pub(super) saved: usize,
    /// Topics that ever had an event with a priority.
    prioritized: HashSet<TopicNumber>,
    /// Those of them that are not in the last checkpoint.
    pub(super) unsaved_flags: HashSet<TopicNumber>,
}

impl Topics {
    /// The number of a topic, given now if the topic is new.
    pub(super) fn number(&mut self, name: &[u8]) -> TopicNumber {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as TopicNumber;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// Takes note that a topic has events with priorities; whether that is news.
    pub(super) fn prioritize(&mut self, topic: TopicNumber) -> bool {
        let news = self.prioritized.insert(topic);
        if news {
            self.unsaved_flags.insert(topic);
        }
        news
    }

    /// What a checkpoint says of a topic.
    pub(super) fn restore_flags(&mut self, topic: TopicNumber, flags: u64) {
        if flags & PRIORITIZED != 0 {
            self.prioritized.insert(topic);
        }
    }

    /// What a checkpoint is to say of a topic.
    pub(super) fn flags(&self, topic: TopicNumber) -> u64 {
        u64::from(self.prioritized.contains(&topic)) * PRIORITIZED
    }

    /// Topics that ever had an event with a priority.
    pub fn prioritized(&self) -> impl Iterator<Item = TopicNumber> {
        self.prioritized.iter().copied()
    }

    /// The number of a topic that exists.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<TopicNumber> {
        self.numbers.get(name).copied()
    }

    /// The name of a topic.
    #[must_use]
    pub fn name(&self, number: TopicNumber) -> Option<&[u8]> {
        self.names.get(number as usize).map(|name| &**name)
    }

    /// How many topics there are. Their numbers are `0..len`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no topic was named yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
