//! Dead letters, redriven and dead again: rules one by one, then random lives against a list, on a
//! partition that is checkpointed and crashes at random moments.

use super::entry::{Command, Commands, create};
use super::replica::{Entry, NUMBER, Replica};
use crate::command::create_group::Start;
use crate::command::dead_letters::{self, Action, DeadLetters, Progress, Redrive};
use crate::command::settle::{Death, Failure, Settle};
use crate::keys::dead::DeadLetter;
use crate::partition::dead_letters::{offsets, read, read_edit};
use crate::partition::{Effects, Outcome};
use crate::types::DueKey;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

fn key_of(offset: u64) -> DueKey {
    DueKey::new(10, offset)
}

/// A letter as it should be.
#[derive(Debug, Clone, PartialEq)]
struct Letter {
    record: DeadLetter,
    edit: Option<Vec<u8>>,
}

/// A letter on its way again.
#[derive(Debug, Clone, PartialEq)]
struct Away {
    letter: Letter,
    attempts: u32,
    failures: u32,
}

/// What happens to the letters.
#[derive(Debug, Clone)]
enum Step {
    /// A delivery of the next event fails and is tried again.
    Fail,
    /// The next event dies.
    Die,
    /// Letters are redriven, and one that is not there.
    Redrive(Vec<Index>),
    /// A redriven letter is processed.
    Settle(Index),
    /// A redriven letter fails and is tried again.
    FailAgain(Index),
    /// A redriven letter dies again.
    DieAgain(Index),
    Edit(Index, Vec<u8>),
    Discard(Vec<Index>),
    Checkpoint,
    WholeCheckpoint,
    Flush,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(any::<Index>(), 1..4);
    prop_oneof![
        3 => Just(Step::Fail),
        6 => Just(Step::Die),
        5 => some().prop_map(Step::Redrive),
        2 => any::<Index>().prop_map(Step::Settle),
        2 => any::<Index>().prop_map(Step::FailAgain),
        3 => any::<Index>().prop_map(Step::DieAgain),
        3 => (any::<Index>(), prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(at, body)| Step::Edit(at, body)),
        1 => some().prop_map(Step::Discard),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::WholeCheckpoint),
        1 => Just(Step::Flush),
        2 => Just(Step::Crash),
    ]
}

struct World {
    replica: Replica,
    log: Vec<Entry>,
    effects: Vec<Effects>,
    now_ms: i64,
    next_event: u64,
    first_failed: Option<i64>,
    /// By number.
    dead: BTreeMap<u64, Letter>,
    away: BTreeMap<u64, Away>,
    next_letter: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            replica: Replica::new(),
            log: Vec::new(),
            effects: Vec::new(),
            now_ms: 1_000,
            next_event: 0,
            first_failed: None,
            dead: BTreeMap::new(),
            away: BTreeMap::new(),
            next_letter: 0,
        };
        world.append(create("g", Some("t"), Start::Earliest));
        world
    }

    fn append(&mut self, command: Command) -> Outcome {
        self.now_ms += 1;
        self.log.push(Entry::Commands(Commands {
            now_ms: self.now_ms,
            ahead_ms: 0,
            term: 1,
            sections: vec![command],
        }));
        let effects = self.replica.apply(&self.log[self.log.len() - 1]);
        self.effects.push(effects.clone());
        effects.outcomes[0].clone()
    }

    fn change(&mut self, action: Action) -> Outcome {
        self.append(Command::DeadLetters(DeadLetters { group: 0, action }))
    }

    fn bury(&mut self, letter: Letter) {
        self.dead.insert(self.next_letter, letter);
        self.next_letter += 1;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Fail => {
                let key = key_of(self.next_event);
                let failures = vec![Failure { key, failures: 1 }];
                self.append(Command::Settle(Settle {
                    failures,
                    ..Settle::default()
                }));
                self.first_failed.get_or_insert(self.now_ms);
            }
            Step::Die => {
                let key = key_of(self.next_event);
                let death = Death {
                    key,
                    attempts: 3,
                    reason: format!("event {}", self.next_event),
                };
                self.append(Command::Settle(Settle {
                    stretches: vec![(key.before(), key)],
                    deaths: vec![death.clone()],
                    ..Settle::default()
                }));
                self.next_event += 1;
                let record = DeadLetter {
                    key,
                    attempts: 3,
                    at_ms: self.now_ms,
                    reason: death.reason,
                    first_ms: self.first_failed.take().unwrap_or(self.now_ms),
                    redrives: 0,
                };
                self.bury(Letter { record, edit: None });
            }
            Step::Redrive(which) => self.redrive(which),
            Step::Settle(which) => {
                if let Some((number, _)) = pick(&self.away, which) {
                    self.away.remove(&number);
                    self.change(Action::Progress(Progress {
                        settled: vec![number],
                        ..Progress::default()
                    }));
                }
            }
            Step::FailAgain(which) => {
                if let Some((number, mut away)) = pick(&self.away, which) {
                    (away.attempts, away.failures) = (away.attempts + 1, away.failures + 1);
                    self.change(Action::Progress(Progress {
                        failures: vec![dead_letters::Failure {
                            letter: number,
                            failures: away.failures,
                            attempts: away.attempts,
                        }],
                        ..Progress::default()
                    }));
                    self.away.insert(number, away);
                }
            }
            Step::DieAgain(which) => {
                if let Some((number, away)) = pick(&self.away, which) {
                    self.away.remove(&number);
                    let death = dead_letters::Death {
                        letter: number,
                        attempts: away.attempts + 1,
                        reason: "again".into(),
                    };
                    self.change(Action::Progress(Progress {
                        deaths: vec![death],
                        ..Progress::default()
                    }));
                    let mut letter = away.letter;
                    letter.record.attempts = away.attempts + 1;
                    letter.record.at_ms = self.now_ms;
                    letter.record.reason = "again".into();
                    letter.record.redrives += 1;
                    self.bury(letter);
                }
            }
            Step::Edit(which, body) => {
                if let Some((number, mut letter)) = pick(&self.dead, which) {
                    letter.edit = Some(body.clone()).filter(|body| !body.is_empty());
                    self.dead.insert(number, letter);
                    let body = body.clone();
                    let outcome = self.change(Action::Edit {
                        letter: number,
                        body,
                    });
                    assert_eq!(outcome, Outcome::Letters(vec![number]));
                }
            }
            Step::Discard(which) => {
                let mut numbers: Vec<u64> = which
                    .iter()
                    .filter_map(|which| pick(&self.dead, which).map(|(number, _)| number))
                    .collect();
                let outcome = self.change(Action::Discard(numbers.clone()));
                let mut seen = std::collections::BTreeSet::new();
                numbers.retain(|number| seen.insert(*number));
                assert_eq!(outcome, Outcome::Letters(numbers.clone()));
                numbers.iter().for_each(|number| {
                    self.dead.remove(number);
                });
            }
            Step::Checkpoint => self.replica.checkpoint_step(),
            Step::WholeCheckpoint => self.replica.checkpoint(),
            Step::Flush => self.replica.flush(),
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn redrive(&mut self, which: &[Index]) {
        let mut items = vec![redrive_of(self.next_letter + 7, 0, &DEAD)];
        let mut taken = Vec::new();
        for which in which {
            let Some((number, letter)) = pick(&self.dead, which) else {
                continue;
            };
            items.push(redrive_of(number, letter.record.key.offset, &letter.record));
            if self.dead.remove(&number).is_some() {
                taken.push(number);
                let away = Away {
                    attempts: letter.record.attempts,
                    failures: 0,
                    letter,
                };
                self.away.insert(number, away);
            }
        }
        // Twice the same letter is taken once.
        items.extend_from_within(..);
        let Outcome::Redriven(redriven) = self.change(Action::Redrive(items)) else {
            panic!("a redrive answers with the letters it took");
        };
        let numbers: Vec<u64> = redriven.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, taken);
    }

    fn crash(&mut self) {
        self.replica.crash();
        let next = self.replica.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(next) {
            assert_eq!(&self.replica.apply(entry), effects);
        }
    }

    fn check(&self) {
        let partition = &self.replica.partition;
        let letters = &partition.groups()[0].letters;
        let numbers: Vec<u64> = self.dead.keys().copied().collect();
        assert_eq!(letters.dead.iter().collect::<Vec<_>>(), numbers);
        assert_eq!(partition.dead_letters(), numbers.len() as u64);
        for from in [0, 1, self.next_letter / 2, self.next_letter] {
            let expected: Vec<u64> = self.dead.range(from..).map(|(n, _)| *n).take(2).collect();
            assert_eq!(letters.dead_from(from, 2), expected);
        }
        let read = |numbers: &[u64]| read(partition.store(), NUMBER, 0, numbers).unwrap();
        let edit = |number: u64| {
            let place = letters.edit_of(number)?;
            Some(
                read_edit(partition.store(), NUMBER, 0, place)
                    .unwrap()
                    .unwrap(),
            )
        };
        for ((number, letter), record) in self.dead.iter().zip(read(&numbers)) {
            assert_eq!(record.as_ref(), Some(&letter.record));
            assert_eq!(edit(*number), letter.edit);
        }
        let away: Vec<u64> = self.away.keys().copied().collect();
        assert_eq!(letters.redriven.keys().copied().collect::<Vec<_>>(), away);
        for (number, away) in &self.away {
            let redriven = letters.redriven[number];
            assert_eq!(redriven.key, away.letter.record.key);
            assert_eq!(
                (redriven.attempts, redriven.failures),
                (away.attempts, away.failures)
            );
            assert_eq!(redriven.first_ms, away.letter.record.first_ms);
            assert_eq!(redriven.redrives, away.letter.record.redrives + 1);
            assert_eq!(edit(*number), away.letter.edit);
        }
        // Retention keeps what letters speak of, redriven ones too.
        let kept = offsets(partition.store(), NUMBER).unwrap();
        let away = self.away.values().map(|away| &away.letter);
        for letter in self.dead.values().chain(away) {
            assert!(kept.contains(letter.record.key.offset));
        }
    }
}

const DEAD: DeadLetter = DeadLetter {
    key: DueKey::new(1, 1),
    attempts: 1,
    at_ms: 1,
    reason: String::new(),
    first_ms: 1,
    redrives: 0,
};

fn redrive_of(letter: u64, offset: u64, record: &DeadLetter) -> Redrive {
    Redrive {
        letter,
        key: key_of(offset),
        attempts: record.attempts,
        first_ms: record.first_ms,
        redrives: record.redrives,
    }
}

fn pick<T: Clone>(from: &BTreeMap<u64, T>, which: &Index) -> Option<(u64, T)> {
    let count = from.len();
    let at = (count > 0).then(|| which.index(count))?;
    from.iter()
        .nth(at)
        .map(|(number, value)| (*number, value.clone()))
}

/// Picks the only letter there is.
fn one() -> Index {
    let mut runner = TestRunner::deterministic();
    any::<Index>()
        .new_tree(&mut runner)
        .expect("an index is always found")
        .current()
}

#[test]
fn attempts_add_up_over_redrives_and_the_first_failure_stays() {
    let mut world = World::new();
    for step in [
        Step::Fail,
        Step::Fail,
        Step::Die,
        Step::Edit(one(), b"edited".to_vec()),
        Step::Redrive(vec![one()]),
        Step::FailAgain(one()),
        Step::Crash,
        Step::DieAgain(one()),
    ] {
        world.step(&step);
    }
    let (number, letter) = world.dead.first_key_value().unwrap();
    assert_eq!((*number, letter.record.attempts), (1, 5));
    assert_eq!(letter.record.first_ms, 1_002);
    assert_eq!(letter.record.redrives, 1);
    assert_eq!(letter.edit.as_deref(), Some(&b"edited"[..]));
}

#[test]
fn a_redriven_letter_is_still_on_its_way_after_a_checkpoint_and_a_crash() {
    let mut world = World::new();
    for step in [
        Step::Die,
        Step::Redrive(vec![one()]),
        Step::WholeCheckpoint,
        Step::FailAgain(one()),
        Step::Crash,
        Step::WholeCheckpoint,
        Step::Crash,
    ] {
        world.step(&step);
    }
    let redriven = &world.replica.partition.groups()[0].letters.redriven;
    assert_eq!((redriven[&0].attempts, redriven[&0].failures), (4, 1));
}

#[test]
fn records_of_letters_that_are_gone_go_with_the_next_checkpoint() {
    let mut world = World::new();
    for step in [
        Step::Die,
        Step::Edit(one(), b"edited".to_vec()),
        Step::Discard(vec![one()]),
    ] {
        world.step(&step);
    }
    let kept = || offsets(world.replica.partition.store(), NUMBER).unwrap();
    assert!(kept().contains(0), "the log may have to be applied again");
    let mut world = world;
    world.step(&Step::WholeCheckpoint);
    let store = world.replica.partition.store();
    assert!(offsets(store, NUMBER).unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn letters_are_as_the_list_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
    }
}
