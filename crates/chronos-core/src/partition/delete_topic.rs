//! Deleting what was published to a topic.
//!
//! The topic keeps its number. What it had before the entry is gone: by a range deletion from the
//! index, where every record of the topic is older than the entry, and by its offset where an event
//! is read by its place. Applying the log again writes the older records again, deletes them again,
//! and then writes the later ones. Events that the same entry accepts belong to the new topic.

use super::change::Changing;
use super::dead_letters::Applying;
use super::effects::{Effects, Outcome};
use super::{Partition, TopicState};
use crate::command::delete_topic::DeleteTopic;
use crate::store::{Family, Store, Write, WriteBatch};
use crate::types::{DueKey, PartitionNumber, TopicNumber};

/// Families whose keys begin with partition and topic.
const BY_TOPIC: [Family; 3] = [Family::Chunk, Family::Run, Family::Override];

impl<S: Store> Partition<S> {
    /// Deletes a topic, or refuses to.
    pub(super) fn delete_topic(
        &mut self,
        command: &DeleteTopic,
        now_ms: i64,
        log_index: u64,
        writes: &mut WriteBatch,
        effects: &mut Effects,
    ) -> Outcome {
        let Some(topic) = self.topics.get(command.name.as_bytes()) else {
            return Outcome::TopicDeleted(true);
        };
        let scheduled = self.scheduled.get(topic as usize).copied().unwrap_or(0);
        if command.if_scheduled.is_some_and(|seen| scheduled > seen) {
            return Outcome::TopicDeleted(false);
        }
        self.deleted |= &command.offsets;
        self.deleted_changed = true;
        for family in BY_TOPIC {
            let (from, to) = range(self.number, topic);
            writes.writes.push(Write::DeleteRange(family, from, to));
        }
        *self.topic_states.change(topic) = TopicState {
            deleted_below: self.next_offset,
            gone: true,
            ..TopicState::default()
        };
        if let Some(scheduled) = self.scheduled.get_mut(topic as usize) {
            *scheduled = 0;
        }
        if let Some(released) = self.saved_released.0.get_mut(topic as usize) {
            *released = 0;
        }
        self.topic_states.unseen.insert(topic);
        for (number, group) in (0..).zip(&mut self.groups) {
            if group.topic != Some(topic) {
                continue;
            }
            let at = Applying {
                partition: self.number,
                group: number,
                now_ms,
                log_index,
                writes,
                gone: &mut self.gone_letters,
            };
            group.forget_all(self.horizon, at);
            self.changed_groups.insert(number);
        }
        effects.deleted.retain(|(deleted, _)| *deleted != topic);
        effects.deleted.push((topic, self.next_offset));
        Outcome::TopicDeleted(true)
    }

    /// What the entry changed of events that it deletes as well is not written.
    pub(super) fn forget_changes(&self, changing: &mut Changing, deleted: &[(TopicNumber, u64)]) {
        for (topic, below) in deleted {
            changing.forget(*topic, *below);
        }
    }

    /// How a topic stands.
    #[must_use]
    pub fn topic_state(&self, topic: TopicNumber) -> TopicState {
        self.topic_states.get(topic)
    }

    /// Events of this topic with offsets below were deleted; 0 when none was.
    #[must_use]
    pub fn deleted_below(&self, topic: TopicNumber) -> u64 {
        self.topic_states.get(topic).deleted_below
    }

    /// Every topic of which something was deleted, with its `deleted_below`.
    pub fn deleted_topics(&self) -> impl Iterator<Item = (TopicNumber, u64)> + '_ {
        (0..self.topics.len() as TopicNumber)
            .map(|topic| (topic, self.deleted_below(topic)))
            .filter(|(_, below)| *below > 0)
    }

    /// The leader has taken the deletion of this topic into account: what it says of it from now on
    /// is about the time after. `None`: of every topic.
    pub fn deletion_seen(&mut self, topic: Option<TopicNumber>) {
        match topic {
            Some(topic) => drop(self.topic_states.unseen.remove(&topic)),
            None => self.topic_states.unseen.clear(),
        }
    }
}

fn range(partition: PartitionNumber, topic: TopicNumber) -> (Vec<u8>, Vec<u8>) {
    let prefix = |topic: u64| {
        (u64::from(partition) << 32)
            .wrapping_add(topic)
            .to_be_bytes()
    };
    (
        prefix(u64::from(topic)).to_vec(),
        prefix(u64::from(topic) + 1).to_vec(),
    )
}

impl super::Group {
    /// Nothing of what the group read exists any more.
    fn forget_all(&mut self, horizon: DueKey, mut at: Applying<'_>) {
        self.settled.settle(DueKey::MIN, horizon);
        self.failures.clear();
        self.committed = self
            .committed
            .max(self.settled.cursor().offset.saturating_add(1));
        self.letters_gone(&mut at);
    }
}
