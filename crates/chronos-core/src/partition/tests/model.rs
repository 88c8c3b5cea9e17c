//! Random logs against the oracle, on two replicas: one never fails, the other lags behind, is
//! checkpointed and crashes at random moments and applies its part of the log again.

use super::oracle::Oracle;
use super::replica::{Entry, Replica};
use super::steps::{Look, Step, all_ids, entry_of, step};
use super::{compare, invariants};
use crate::partition::Effects;
use crate::types::DueKey;
use proptest::prelude::*;

struct World {
    log: Vec<Entry>,
    /// What came of each entry the first time.
    effects: Vec<Effects>,
    now_ms: i64,
    oracle: Oracle,
    steady: Replica,
    failing: Replica,
}

impl World {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            effects: Vec::new(),
            now_ms: 1_700_000_000_000,
            oracle: Oracle::new(),
            steady: Replica::new(),
            failing: Replica::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append {
                passed_ms,
                ahead_ms,
                sections,
            } => {
                self.now_ms = self.now_ms.saturating_add(*passed_ms);
                let commands = entry_of(sections, &self.oracle, self.now_ms, *ahead_ms);
                self.append(Entry::Commands(commands));
            }
            Step::AppendBlank => self.append(Entry::Blank),
            Step::AppendMembership(members) => self.append(Entry::Membership(vec![*members])),
            Step::CatchUp(entries) => self.catch_up(*entries),
            Step::Checkpoint => self.failing.checkpoint_step(),
            Step::WholeCheckpoint => self.failing.checkpoint(),
            Step::Flush => self.failing.flush(),
            Step::Crash => self.crash(),
            Step::Look(look) => self.look(look),
        }
    }

    /// Adds an entry to the log; the steady replica applies it at once.
    fn append(&mut self, entry: Entry) {
        let (known, horizon) = (self.oracle.events.len(), self.steady.partition.horizon());
        let effects = self.steady.apply(&entry);
        self.log.push(entry);
        match &self.log[self.log.len() - 1] {
            Entry::Commands(commands) => {
                let outcomes = self.oracle.apply(commands);
                compare::effects(&effects, &outcomes, &self.oracle, known, horizon);
                invariants::check(&effects, known as u64);
            }
            Entry::Raw { .. } | Entry::Blank | Entry::Membership(_) => self.oracle.skip(),
        }
        self.effects.push(effects);
        compare::state(&self.steady.partition, &self.oracle, &self.log);
        compare::ids(&self.steady.partition, &self.oracle, &all_ids());
    }

    fn catch_up(&mut self, entries: usize) {
        let next = self.failing.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(next).take(entries) {
            assert_eq!(&self.failing.apply(entry), effects);
        }
    }

    /// After a crash the index may know more than the state, but not of what is released by now.
    fn crash(&mut self) {
        self.failing.crash();
        let partition = &self.failing.partition;
        for topic in 0..partition.topics().len() as u32 {
            let horizon = partition.horizon();
            compare::in_due_order(
                partition,
                &self.oracle,
                topic,
                DueKey::MIN,
                horizon,
                u64::MAX,
            );
        }
    }

    fn look(&self, look: &Look) {
        if self.oracle.topics.is_empty() {
            return;
        }
        let topic = look.topic.index(self.oracle.topics.len()) as u32;
        let (after, upto) = (look.after.of(&self.oracle), look.upto.of(&self.oracle));
        let partition = &self.steady.partition;
        compare::in_due_order(partition, &self.oracle, topic, after, upto, look.limit);
        compare::count(partition, &self.oracle, topic, after, upto);
        let buckets = [after, upto].map(|key| crate::keys::chunk::bucket_of(key.due_ms));
        compare::scheduled_in(partition, &self.oracle, topic, buckets[0]..buckets[1]);
    }

    fn finish(mut self) {
        self.catch_up(usize::MAX);
        compare::state(&self.failing.partition, &self.oracle, &self.log);
        compare::ids(&self.failing.partition, &self.oracle, &all_ids());
        compare::replicas(&self.failing.partition, &self.steady.partition);

        // Once more from a checkpoint of the end: nothing is left to apply.
        self.failing.checkpoint();
        self.failing.crash();
        assert_eq!(self.failing.next_index(), self.log.len());
        compare::ids(&self.failing.partition, &self.oracle, &all_ids());
        compare::replicas(&self.failing.partition, &self.steady.partition);
    }
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
    fn agrees_with_the_oracle(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
