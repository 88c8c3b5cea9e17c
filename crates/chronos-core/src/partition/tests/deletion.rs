//! Random logs in which topics are deleted, on two replicas: one never fails, the other lags behind,
//! is checkpointed and crashes. What was deleted is gone for ever, and nothing else is.

use super::compare;
use super::entry::{Command, Commands, Event, create};
use super::replica::{Entry, NUMBER, Replica};
use crate::command::change::{Action, Item};
use crate::command::create_group::Start;
use crate::command::delete_topic::DeleteTopic;
use crate::command::settle::{Death, Settle};
use crate::keys::dedup::hash;
use crate::partition::{Effects, Outcome, Verdict, released};
use crate::types::DueKey;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

const TOPICS: [&str; 2] = ["t", "u"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        later_ms: i64,
    },
    /// Publishes in the entry that deletes.
    DeleteAndPublish {
        topic: usize,
        force: bool,
    },
    Delete {
        topic: usize,
        force: bool,
    },
    Change {
        event: Index,
        to_ms: Option<i64>,
    },
    /// Settles everything of a topic's group but its last event, which dies.
    Settle {
        topic: usize,
    },
    Pass {
        millis: i64,
    },
    CatchUp {
        entries: usize,
    },
    Checkpoint,
    Flush,
    Crash,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    topic: usize,
    due: DueKey,
    published_ms: i64,
}

struct World {
    log: Vec<Entry>,
    effects: Vec<Effects>,
    now_ms: i64,
    steady: Replica,
    failing: Replica,
    /// Events that were not deleted or cancelled, by offset.
    events: BTreeMap<u64, Known>,
    /// By topic: events below were deleted.
    deleted_below: [u64; 2],
    ids: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            log: Vec::new(),
            effects: Vec::new(),
            now_ms: 1_000,
            steady: Replica::new(),
            failing: Replica::new(),
            events: BTreeMap::new(),
            deleted_below: [0; 2],
            ids: 0,
        };
        let groups = TOPICS.map(|topic| create("g", Some(topic), Start::Earliest));
        world.append(groups.to_vec());
        world
    }

    fn append(&mut self, sections: Vec<Command>) -> Vec<Outcome> {
        let entry = Entry::Commands(Commands {
            now_ms: self.now_ms,
            ahead_ms: 0,
            term: 1,
            sections,
        });
        let effects = self.steady.apply(&entry);
        let outcomes = effects.outcomes.clone();
        self.log.push(entry);
        self.effects.push(effects);
        outcomes
    }

    fn publish(&mut self, topic: usize, later_ms: i64) -> Command {
        self.ids += 1;
        Command::Publish {
            events: vec![Event {
                id: format!("id-{}", self.ids),
                topic: TOPICS[topic].into(),
                schedule_ms: self.now_ms + later_ms,
                allow_duplicate: false,
            }],
            dedup_ttl_ms: u64::MAX,
        }
    }

    fn accepted(&mut self, topic: usize, later_ms: i64) {
        let effects = &self.effects[self.effects.len() - 1];
        let offset = self.steady.partition.next_offset() - 1;
        let due_ms = (effects.runs.last()).map_or(self.now_ms + later_ms, |run| run.due_ms);
        let known = Known {
            topic,
            due: DueKey::new(due_ms, offset),
            published_ms: self.now_ms + later_ms,
        };
        self.events.insert(offset, known);
    }

    /// Events of a topic that are to come.
    fn pending(&self, topic: usize) -> u64 {
        let horizon = self.steady.partition.horizon();
        let is_pending = |known: &&Known| known.topic == topic && known.due > horizon;
        self.events.values().filter(is_pending).count() as u64
    }

    fn delete(&mut self, topic: usize, force: bool, and: Option<Command>) -> bool {
        let pending = self.pending(topic);
        let number = self.steady.partition.topics().get(TOPICS[topic].as_bytes());
        let scheduled = number.and_then(|number| {
            let scheduled = self.steady.partition.scheduled();
            scheduled.get(number as usize).copied()
        });
        // As a leader does that counts the pending ones.
        let refused_anyway = pending > 0 && !force;
        let if_scheduled = match (force, refused_anyway) {
            (true, _) => None,
            (false, true) => Some(scheduled.unwrap_or(0) - 1),
            (false, false) => Some(scheduled.unwrap_or(0)),
        };
        let below = self.steady.partition.next_offset();
        let mut sections = vec![Command::DeleteTopic(DeleteTopic {
            name: TOPICS[topic].into(),
            if_scheduled,
            offsets: self.events.keys().copied().collect(),
        })];
        sections.extend(and);
        let outcomes = self.append(sections);
        assert_eq!(outcomes[0], Outcome::TopicDeleted(!refused_anyway));
        if !refused_anyway {
            self.events.retain(|_, known| known.topic != topic);
            self.deleted_below[topic] = below;
        }
        !refused_anyway
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { topic, later_ms } => {
                let publish = self.publish(*topic, *later_ms);
                self.append(vec![publish]);
                self.accepted(*topic, *later_ms);
            }
            Step::Delete { topic, force } => drop(self.delete(*topic, *force, None)),
            Step::DeleteAndPublish { topic, force } => {
                let publish = self.publish(*topic, 500);
                self.delete(*topic, *force, Some(publish));
                self.accepted(*topic, 500);
            }
            Step::Change { event, to_ms } => self.change(event, *to_ms),
            Step::Settle { topic } => self.settle(*topic),
            Step::Pass { millis } => {
                self.now_ms += millis;
                self.append(Vec::new());
            }
            Step::CatchUp { entries } => self.catch_up(*entries),
            Step::Checkpoint => self.failing.checkpoint_step(),
            Step::Flush => self.failing.flush(),
            Step::Crash => self.failing.crash(),
        }
        self.check();
    }

    fn change(&mut self, event: &Index, to_ms: Option<i64>) {
        if self.events.is_empty() {
            return;
        }
        let at = event.index(self.events.len());
        let (offset, known) = self.events.iter().nth(at).unwrap();
        let (offset, known) = (*offset, *known);
        let topic = self
            .steady
            .partition
            .topics()
            .get(TOPICS[known.topic].as_bytes());
        let item = Item {
            offset,
            topic: topic.unwrap(),
            published_ms: known.published_ms,
            id: hash(b"not asked for"),
            if_version: None,
            action: match to_ms {
                None => Action::Cancel,
                Some(later_ms) => Action::Reschedule(self.now_ms + later_ms),
            },
        };
        let outcomes = self.append(vec![Command::Change(vec![item])]);
        let Outcome::Changed(changed) = &outcomes[0] else {
            panic!("a change has an outcome of its own");
        };
        match changed[0].verdict {
            Verdict::Cancelled => drop(self.events.remove(&offset)),
            Verdict::Rescheduled => {
                let known = self.events.get_mut(&offset).unwrap();
                known.due = DueKey::new(changed[0].version.due_ms, offset);
            }
            _ => {}
        }
    }

    fn settle(&mut self, topic: usize) {
        let horizon = self.steady.partition.horizon();
        let last = (self.events.values())
            .filter(|known| known.topic == topic && known.due <= horizon)
            .map(|known| known.due)
            .max();
        let deaths = last.map(|key| Death {
            key,
            attempts: 3,
            reason: "why".into(),
        });
        let settle = Settle {
            group: topic as u32,
            stretches: vec![(DueKey::MIN, horizon)],
            deaths: deaths.into_iter().collect(),
            ..Settle::default()
        };
        self.append(vec![Command::Settle(settle)]);
    }

    fn catch_up(&mut self, entries: usize) {
        let next = self.failing.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(next).take(entries) {
            assert_eq!(&self.failing.apply(entry), effects);
        }
    }

    fn check(&self) {
        let partition = &self.steady.partition;
        for (number, name) in TOPICS.iter().enumerate() {
            let Some(topic) = partition.topics().get(name.as_bytes()) else {
                continue;
            };
            let of_topic = self.events.values().filter(|known| known.topic == number);
            let mut expected: Vec<_> = of_topic.map(|known| known.due).collect();
            expected.sort_unstable();
            let store = partition.store();
            let (from, to) = (DueKey::MIN, DueKey::MAX);
            let runs = released::read(store, NUMBER, topic, from, to, u64::MAX).unwrap();
            assert_eq!(compare::keys_of(&runs), expected, "{name}");
            assert_eq!(partition.deleted_below(topic), self.deleted_below[number]);
            // A group of the topic has nothing left of what was deleted.
            let group = &partition.groups()[number];
            let is_gone =
                |letter: &crate::types::DueKey| letter.offset < self.deleted_below[number];
            assert!(!group.failures.keys().any(is_gone));
        }
    }

    fn finish(mut self) {
        self.catch_up(usize::MAX);
        self.failing.checkpoint();
        self.steady.checkpoint();
        compare::replicas(&self.failing.partition, &self.steady.partition);
        self.failing.crash();
        compare::replicas(&self.failing.partition, &self.steady.partition);
        assert_eq!(
            self.failing.partition.deleted_topics().collect::<Vec<_>>(),
            self.steady.partition.deleted_topics().collect::<Vec<_>>()
        );
    }
}

fn step() -> impl Strategy<Value = Step> {
    let topic = || 0..TOPICS.len();
    let later_ms = || prop_oneof![3 => -10_i64..50, 2 => 0_i64..40_000, 1 => 0_i64..1 << 33];
    prop_oneof![
        8 => (topic(), later_ms()).prop_map(|(topic, later_ms)| Step::Publish { topic, later_ms }),
        2 => (topic(), any::<bool>()).prop_map(|(topic, force)| Step::Delete { topic, force }),
        1 => (topic(), any::<bool>())
            .prop_map(|(topic, force)| Step::DeleteAndPublish { topic, force }),
        3 => (any::<Index>(), prop::option::of(later_ms()))
            .prop_map(|(event, to_ms)| Step::Change { event, to_ms }),
        2 => topic().prop_map(|topic| Step::Settle { topic }),
        5 => (0_i64..100).prop_map(|millis| Step::Pass { millis }),
        5 => (1_usize..6).prop_map(|entries| Step::CatchUp { entries }),
        4 => Just(Step::Checkpoint),
        1 => Just(Step::Flush),
        2 => Just(Step::Crash),
    ]
}

/// More cases when the environment asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(400),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_deleted_is_gone_and_nothing_else(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
