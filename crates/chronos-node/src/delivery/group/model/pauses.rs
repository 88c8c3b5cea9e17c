//! Pauses in the model: nothing is handed out that is held or dropped, and what is dropped is dropped
//! once.

use super::*;
use crate::delivery::{Pause, PausedTopic, WhilePaused};
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of events, as the steps say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Hold,
    Drop,
}

/// What is paused, and what that did.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    group: Option<Mode>,
    /// By number in `TOPICS`.
    topics: [Option<Mode>; 2],
    topic_of: BTreeMap<DueKey, TopicNumber>,
    /// When events that failed may go again.
    pub(super) retry_ms: BTreeMap<DueKey, i64>,
    /// Dropped by any leader, or nearly: a moment before their due time, ahead of the clock.
    pub(super) dropped: BTreeSet<DueKey>,
    /// Dropped by this leader.
    expected: u64,
    counter: Arc<AtomicU64>,
    /// Topics were paused one by one, so what is due first may come later than another topic.
    pub(super) ever_partial: bool,
    /// First attempts in due order for each topic.
    pub(super) greatest_of_topic: BTreeMap<TopicNumber, DueKey>,
}

impl World {
    pub(super) fn wants_of_topic(&mut self, topic: TopicNumber, key: DueKey) {
        self.pauses.topic_of.insert(key, topic);
    }

    pub(super) fn topic_of(&self, key: DueKey) -> TopicNumber {
        self.pauses.topic_of[&key]
    }

    /// Pauses, pauses differently, or resumes: the group, or a topic.
    pub(super) fn pause_or_resume(&mut self, topic: Option<usize>, mode: Option<Mode>) {
        match topic {
            Some(topic) => self.pauses.topics[topic] = mode,
            None => self.pauses.group = mode,
        }
        self.tell_pauses();
    }

    pub(super) fn resume_all(&mut self) {
        (self.pauses.group, self.pauses.topics) = (None, [None; 2]);
        self.tell_pauses();
    }

    fn while_paused(&self, mode: Mode) -> WhilePaused {
        match mode {
            Mode::Hold => WhilePaused::Hold,
            Mode::Drop => WhilePaused::Drop(Arc::clone(&self.pauses.counter)),
        }
    }

    /// Tells the group as a driver does.
    pub(super) fn tell_pauses(&mut self) {
        let mut pause = Pause {
            whole: self.pauses.group.map(|mode| self.while_paused(mode)),
            topics: Vec::new(),
        };
        for (name, mode) in TOPICS.iter().zip(self.pauses.topics) {
            let number = self.partition.topics().get(name.as_bytes());
            let (Some(number), Some(mode)) = (number, mode) else {
                continue;
            };
            match self.plan.topic {
                Some(topic) if topic == *name => pause.add(self.while_paused(mode)),
                Some(_) => {}
                None => {
                    self.pauses.ever_partial = true;
                    pause.topics.push(PausedTopic {
                        number,
                        name: name.as_bytes().into(),
                        while_paused: self.while_paused(mode),
                    });
                }
            }
        }
        self.group.pause(pause);
    }

    /// What a pause does with events of a topic.
    pub(super) fn mode_of(&self, topic: TopicNumber) -> Option<Mode> {
        let name = self.partition.topics().name(topic).unwrap();
        let of_topic = (TOPICS.iter().zip(self.pauses.topics))
            .find(|(topic, _)| topic.as_bytes() == name)
            .and_then(|(_, mode)| mode);
        let modes = [self.pauses.group, of_topic];
        match modes.contains(&Some(Mode::Hold)) {
            true => Some(Mode::Hold),
            false => modes.into_iter().flatten().next(),
        }
    }

    /// After a round: everything that fell due or waited under a pause that drops is gone.
    pub(super) fn check_dropped(&mut self) {
        if self.pauses.group == Some(Mode::Hold) {
            return;
        }
        let log = self.partition.groups()[0].settled.clone();
        let horizon = self.feed.horizon();
        let waits = |(key, ready_ms): (&DueKey, &i64)| {
            let retry_ms = self.pauses.retry_ms.get(key).copied().unwrap_or(0);
            (*ready_ms <= self.now_ms && retry_ms <= self.now_ms)
                && !self.open.contains_key(key)
                && !self.ended.contains(key)
                && !log.contains(*key)
                && self.mode_of(self.topic_of(*key)) == Some(Mode::Drop)
        };
        let gone: Vec<_> = (self.wanted.range(..=horizon))
            .filter(|it| waits(*it))
            .map(|(key, _)| *key)
            .collect();
        self.pauses.dropped.extend(&gone);
        let now_ms = self.now_ms;
        let surely = gone.into_iter().filter(|key| key.due_ms <= now_ms);
        for key in surely {
            self.ended.insert(key);
            self.pauses.expected += 1;
        }
        if self.plan.ahead_ms == 0 {
            let counted = self.pauses.counter.load(Ordering::Relaxed);
            assert_eq!(counted, self.pauses.expected, "dropped");
        }
    }

    /// A new leader is told what is paused, and counts from zero.
    pub(super) fn pauses_after_restart(&mut self) {
        self.pauses.retry_ms.clear();
        self.pauses.greatest_of_topic.clear();
        self.pauses.expected = 0;
        self.pauses.counter = Arc::default();
        self.pauses.ever_partial = false;
        self.tell_pauses();
    }
}
