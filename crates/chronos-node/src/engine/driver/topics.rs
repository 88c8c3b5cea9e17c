//! Topics that change or are deleted while they are served.

use super::super::message::DeleteTopic;
use super::Driver;
use super::propose::Waiter;
use crate::delivery::Policy;
use chronos_core::command::{self, Kind};
use chronos_core::partition::Effects;
use chronos_core::types::TopicNumber;

impl Driver {
    /// How deliveries of a group are repeated. A group of all topics has the node's settings.
    pub(super) fn policy_of(&self, topic: Option<TopicNumber>) -> Policy {
        let topics = &self.options.topics;
        let Some(topic) = topic else {
            return topics.policy;
        };
        let state = self.handle.state.lock();
        let name = state.topics().name(topic);
        name.map_or(topics.policy, |name| topics.policy_of(name))
    }

    /// The catalog has other settings: the groups that are served take them over.
    pub(super) fn on_settings(&mut self) {
        let topics: Vec<_> = self.groups_of.keys().copied().collect();
        for topic in topics {
            let policy = self.policy_of(topic);
            for number in self.groups_of.get(&topic).into_iter().flatten() {
                if let Some(group) = self.groups.get_mut(number) {
                    group.set_policy(policy);
                }
            }
        }
    }

    pub(super) fn on_delete_topic(&mut self, delete: DeleteTopic) {
        let number = self
            .handle
            .state
            .lock()
            .topics()
            .get(delete.name.as_bytes());
        let (scheduled, pending) = number.map_or((0, 0), |topic| self.schedule.counts_of(topic));
        if pending > 0 && !delete.force {
            return drop(delete.reply.send(Ok(Err(pending))));
        }
        let command = command::delete_topic::DeleteTopic {
            name: delete.name,
            if_scheduled: (!delete.force).then_some(scheduled),
            offsets: delete.offsets,
        };
        let waiter = Waiter::DeleteTopic {
            pending,
            reply: delete.reply,
        };
        self.queue
            .push(Kind::DeleteTopic, command.encode().into(), waiter);
    }

    /// Drops what is held of the topics that an entry deleted. Before anything else of the entry.
    pub(super) fn forget_deleted(&mut self, effects: &Effects) {
        for (topic, below) in &effects.deleted {
            self.schedule.topic_deleted(*topic, *below);
            self.feed.topic_deleted(*topic, *below);
            for number in self.groups_of.get(&Some(*topic)).into_iter().flatten() {
                if let Some(group) = self.groups.get_mut(number) {
                    group.topic_deleted(effects.horizon_before);
                    self.active.insert(*number);
                }
            }
            let name = {
                let state = self.handle.state.lock();
                state.topics().name(*topic).map(Into::into)
            };
            self.handle
                .events
                .know_deleted(name.map(|name| (name, *below)));
        }
        if !effects.deleted.is_empty() {
            // What a checkpoint reads from now on is about the time after.
            self.report();
            let mut state = self.handle.state.lock();
            for (topic, _) in &effects.deleted {
                state.deletion_seen(Some(*topic));
            }
        }
    }
}
