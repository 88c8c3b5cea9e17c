//! What a pause means for one group.

use chronos_core::types::TopicNumber;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What becomes of events while a pause holds.
#[derive(Debug, Clone)]
pub enum WhilePaused {
    /// They wait.
    Hold,
    /// They are settled undelivered, and counted here.
    Drop(Arc<AtomicU64>),
}

/// What pauses there are for a group.
#[derive(Debug, Clone, Default)]
pub struct Pause {
    /// For whatever it reads.
    pub whole: Option<WhilePaused>,
    /// For some topics of a group that reads every topic.
    pub topics: Vec<PausedTopic>,
}

/// A paused topic.
#[derive(Debug, Clone)]
pub struct PausedTopic {
    /// Its number in this partition.
    pub number: TopicNumber,
    /// Its name.
    pub name: Box<[u8]>,
    /// What becomes of its events.
    pub while_paused: WhilePaused,
}

impl Pause {
    /// Adds a pause of everything the group reads. Where one holds and another one drops, events are
    /// held.
    pub fn add(&mut self, other: WhilePaused) {
        match (&self.whole, &other) {
            (None, _) | (Some(_), WhilePaused::Hold) => self.whole = Some(other),
            (Some(_), WhilePaused::Drop(_)) => {}
        }
    }

    /// Whether nothing is paused for the group.
    pub fn is_none(&self) -> bool {
        self.whole.is_none() && self.topics.is_empty()
    }

    /// What becomes of events of a topic. Where a pause holds and another one drops, they are held.
    pub fn of(&self, topic: TopicNumber) -> Option<&WhilePaused> {
        let paused = self.topics.iter().find(|paused| paused.number == topic);
        match (&self.whole, paused.map(|paused| &paused.while_paused)) {
            (Some(WhilePaused::Drop(_)), Some(held @ WhilePaused::Hold)) => Some(held),
            (Some(whole), _) => Some(whole),
            (None, of_topic) => of_topic,
        }
    }

    /// Whether events of some topic are dropped.
    pub fn drops(&self) -> bool {
        let drops = |mode: &WhilePaused| matches!(mode, WhilePaused::Drop(_));
        self.whole.as_ref().is_some_and(drops)
            || self.topics.iter().any(|topic| drops(&topic.while_paused))
    }
}
