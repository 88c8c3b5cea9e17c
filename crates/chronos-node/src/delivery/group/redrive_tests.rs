//! Redriven letters in one group: scenarios, then random lives with restarts that lose what is not in
//! the log.

use super::known::Known;
use super::*;
use crate::delivery::Dispatch;
use chronos_core::command::create_group::{CreateGroup, Start};
use chronos_core::command::dead_letters::{Action, DeadLetters, Redrive};
use chronos_core::command::publish::{Builder, NewEvent};
use chronos_core::command::{self, Kind};
use chronos_core::partition::dead_letters::read;
use chronos_core::partition::{Effects, LogPosition, Outcome, Partition};
use chronos_core::store::MemoryStore;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

const POLICY: Policy = Policy {
    ack_timeout: Duration::from_millis(500),
    most_attempts: 2,
    backoff: super::Backoff {
        first: Duration::from_millis(100),
        factor: None,
        most: None,
        jitter: 0,
    },
};
const MEMBER: SessionId = SessionId(1);

struct World {
    partition: Partition<MemoryStore>,
    feed: Feed<MemoryStore>,
    group: Group,
    index: u64,
    now_ms: i64,
    events: u64,
    sessions: u64,
    session: SessionId,
    /// Deliveries that wait for an answer.
    open: Vec<(DueKey, u32)>,
    /// Every delivery since this leader began: none may come twice.
    delivered: HashSet<(SessionId, DueKey, u32)>,
    /// The greatest attempt of each event that the log knows to have failed.
    logged: BTreeMap<u64, u32>,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new();
        let mut partition = Partition::open(0, store.clone()).unwrap();
        let mut builder = command::Builder::new(64);
        let create = CreateGroup {
            name: "g".into(),
            topic: Some("t".into()),
            start: Start::Earliest,
            is_waited_for: true,
        };
        builder.push(Kind::CreateGroup, &create.encode());
        let position = LogPosition { term: 1, index: 0 };
        partition.apply(position, &builder.finish(0, 0, 1)).unwrap();
        let group = Group::new(0, &partition.groups()[0], POLICY);
        let feed = Feed::new(0, store, partition.horizon());
        let mut world = Self {
            partition,
            feed,
            group,
            index: 0,
            now_ms: 1_000,
            events: 0,
            sessions: 0,
            session: MEMBER,
            open: Vec::new(),
            delivered: HashSet::new(),
            logged: BTreeMap::new(),
        };
        world.join();
        world
    }

    fn apply(&mut self, builder: command::Builder) -> Effects {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        let body = builder.finish(self.now_ms, 0, 1);
        self.partition.apply(position, &body).unwrap()
    }

    fn join(&mut self) {
        self.sessions += 1;
        self.session = SessionId(self.sessions);
        self.group.join(self.session, Arc::new(Credit::new(100)));
    }

    fn publish(&mut self) {
        let body = format!("{}t", self.events);
        let len = body.len() as u32;
        let mut events = Builder::new(1, 64);
        events.push(NewEvent {
            schedule_ms: self.now_ms,
            body: body.as_bytes(),
            id: (0, (len - 1) as u8),
            topic: (len - 1, 1),
            allow_duplicate: true,
        });
        let mut builder = command::Builder::new(64);
        builder.push(Kind::Publish, &events.finish(1_000_000));
        let effects = self.apply(builder);
        self.events += 1;
        self.feed.release(effects.runs, effects.horizon);
    }

    /// Progress goes into the log.
    fn propose(&mut self) {
        let (settle, redriven) = (self.group.take_settle(), self.group.take_redriven());
        let mut builder = command::Builder::new(64);
        if let Some(settle) = settle {
            for death in &settle.deaths {
                self.logged.insert(death.key.offset, death.attempts);
            }
            builder.push(Kind::Settle, &settle.encode());
        }
        if let Some(progress) = redriven {
            let known = &self.partition.groups()[0].letters.redriven;
            for failure in &progress.failures {
                let offset = known[&failure.letter].key.offset;
                self.logged.insert(offset, failure.attempts);
            }
            for death in &progress.deaths {
                let offset = known[&death.letter].key.offset;
                self.logged.insert(offset, death.attempts);
            }
            let action = Action::Progress(progress);
            let command = DeadLetters { group: 0, action };
            builder.push(Kind::DeadLetters, &command.encode());
        }
        self.apply(builder);
    }

    fn redrive(&mut self) {
        let numbers = self.partition.groups()[0].letters.dead_from(0, 100);
        let records = read(self.partition.store(), 0, 0, &numbers).unwrap();
        let letters = numbers.iter().zip(records).map(|(number, record)| {
            let record = record.expect("a letter has a record");
            Redrive {
                letter: *number,
                key: record.key,
                attempts: record.attempts,
                first_ms: record.first_ms,
                redrives: record.redrives,
            }
        });
        let action = Action::Redrive(letters.collect());
        let command = DeadLetters { group: 0, action };
        let mut builder = command::Builder::new(64);
        builder.push(Kind::DeadLetters, &command.encode());
        let effects = self.apply(builder);
        let Some(Outcome::Redriven(redriven)) = effects.outcomes.into_iter().next() else {
            panic!("a redrive answers with the letters it took");
        };
        self.group.redrive(redriven);
    }

    fn dispatch(&mut self) -> Vec<Dispatch> {
        self.group.expire(self.now_ms);
        let mut sent = Vec::new();
        self.group
            .dispatch(
                self.now_ms,
                &self.feed,
                1,
                &Known::default(),
                &mut |_, dispatch| {
                    sent.push(dispatch);
                },
            )
            .unwrap();
        for dispatch in &sent {
            let delivery = (self.session, dispatch.key, dispatch.attempt);
            assert!(self.delivered.insert(delivery), "{delivery:?} again");
            if let Some(logged) = self.logged.get(&dispatch.key.offset)
                && dispatch.letter.is_some()
            {
                assert!(dispatch.attempt > *logged, "attempts count on");
            }
            self.open.push((dispatch.key, dispatch.attempt));
        }
        sent
    }

    fn answer(&mut self, key: DueKey, attempt: u32, success: bool) -> AckOutcome {
        self.open.retain(|open| *open != (key, attempt));
        let ack = Ack {
            key,
            attempt,
            success,
            reason: "no".into(),
        };
        self.group.answer(ack, self.feed.horizon(), self.now_ms)
    }

    /// The leader goes with all that is not in the log, and another one begins.
    fn restart(&mut self) {
        self.group = Group::new(0, &self.partition.groups()[0], POLICY);
        let store = self.partition.store().clone();
        self.feed = Feed::new(0, store, self.partition.horizon());
        self.open.clear();
        self.join();
    }

    /// Fails every delivery until nothing is left to deliver.
    fn bury_all(&mut self) {
        loop {
            self.dispatch();
            let Some((key, attempt)) = self.open.first().copied() else {
                break;
            };
            self.answer(key, attempt, false);
            self.now_ms += 1_000;
        }
        self.propose();
    }

    fn dead(&self) -> u64 {
        self.partition.dead_letters()
    }
}

#[test]
fn a_redriven_letter_has_a_new_budget_and_its_attempts_count_on() {
    let mut world = World::new();
    world.publish();
    world.bury_all();
    assert_eq!((world.dead(), world.group.take_counts().dead), (1, 1));
    world.redrive();
    assert_eq!(world.dead(), 0);
    for attempt in [3, 4] {
        let sent = world.dispatch();
        assert_eq!((sent.len(), sent[0].attempt), (1, attempt));
        assert_eq!(sent[0].letter, Some(0));
        world.answer(sent[0].key, attempt, false);
        world.now_ms += 1_000;
    }
    assert!(world.dispatch().is_empty());
    world.propose();
    let letter = read(world.partition.store(), 0, 0, &[1]).unwrap().remove(0);
    let letter = letter.expect("the event has a new letter");
    assert_eq!((letter.attempts, letter.redrives), (4, 1));
}

#[test]
fn a_redriven_letter_that_was_processed_never_comes_again() {
    let mut world = World::new();
    world.publish();
    world.bury_all();
    world.redrive();
    let sent = world.dispatch();
    assert_eq!(
        world.answer(sent[0].key, sent[0].attempt, true),
        AckOutcome::Settled
    );
    world.propose();
    world.restart();
    world.now_ms += 10_000;
    assert!(world.dispatch().is_empty());
    assert!(world.partition.groups()[0].letters.redriven.is_empty());
}

#[test]
fn a_restart_between_redrive_and_answer_delivers_again() {
    let mut world = World::new();
    world.publish();
    world.bury_all();
    world.redrive();
    assert_eq!(world.dispatch()[0].attempt, 3);
    world.restart();
    let again = world.dispatch();
    assert_eq!((again.len(), again[0].letter), (1, Some(0)));
    assert!(again[0].attempt >= 3);
    assert_eq!(
        world.answer(again[0].key, again[0].attempt, true),
        AckOutcome::Settled
    );
    world.propose();
    assert_eq!(world.dead(), 0);
}

#[test]
fn a_late_success_settles_a_redriven_letter_wherever_it_waits() {
    let mut world = World::new();
    world.publish();
    world.bury_all();
    world.redrive();
    let sent = world.dispatch();
    world.now_ms += 600;
    // It timed out and waits for its backoff.
    assert!(world.dispatch().is_empty());
    assert_eq!(
        world.answer(sent[0].key, sent[0].attempt, true),
        AckOutcome::Settled
    );
    world.now_ms += 1_000;
    assert!(world.dispatch().is_empty());
    world.propose();
    world.restart();
    assert!(world.dispatch().is_empty());
}

#[test]
fn a_letter_goes_to_another_member_when_its_own_leaves() {
    let mut world = World::new();
    world.publish();
    world.bury_all();
    world.redrive();
    assert_eq!(world.dispatch()[0].attempt, 3);
    let session = world.session;
    world.join();
    world.group.leave(session);
    let again = world.dispatch();
    assert_eq!((again[0].attempt, again[0].letter), (4, Some(0)));
}

#[derive(Debug, Clone)]
enum Step {
    Publish,
    Pass(i64),
    Dispatch,
    Answer(Index, bool),
    Propose,
    Redrive,
    Leave,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Publish),
        4 => (0_i64..700).prop_map(Step::Pass),
        6 => Just(Step::Dispatch),
        8 => (any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(open, success)| Step::Answer(open, success)),
        4 => Just(Step::Propose),
        2 => Just(Step::Redrive),
        1 => Just(Step::Leave),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, each event ends settled or as one dead letter, never both, never lost.
    #[test]
    fn no_event_is_lost_or_dead_twice(steps in prop::collection::vec(step(), 1..100)) {
        let mut world = World::new();
        let mut processed = BTreeMap::new();
        for step in steps {
            match step {
                Step::Publish => world.publish(),
                Step::Pass(millis) => world.now_ms += millis,
                Step::Dispatch => {
                    for dispatch in world.dispatch() {
                        prop_assert_ne!(processed.get(&dispatch.key.offset), Some(&true));
                    }
                }
                Step::Answer(which, success) => if !world.open.is_empty() {
                    let (key, attempt) = world.open[which.index(world.open.len())];
                    if world.answer(key, attempt, success) == AckOutcome::Settled {
                        processed.insert(key.offset, false);
                    }
                },
                Step::Propose => {
                    world.propose();
                    processed.values_mut().for_each(|logged| *logged = true);
                }
                Step::Redrive => world.redrive(),
                Step::Leave => {
                    let session = world.session;
                    world.join();
                    world.group.leave(session);
                    world.open.clear();
                }
                Step::Restart => {
                    world.restart();
                    processed.retain(|_, logged| *logged);
                }
            }
            let letters = &world.partition.groups()[0].letters;
            let numbers: Vec<u64> = letters.dead.iter().collect();
            let records = read(world.partition.store(), 0, 0, &numbers).unwrap();
            let mut seen: HashSet<u64> = letters.redriven.values().map(|r| r.key.offset).collect();
            for record in records {
                let offset = record.expect("a letter has a record").key.offset;
                prop_assert!(seen.insert(offset), "two letters of one event");
                prop_assert_ne!(processed.get(&offset), Some(&true), "dead though processed");
            }
        }
        world.restart();
        processed.retain(|_, logged| *logged);
        world.bury_all();
        prop_assert_eq!(world.dead() + processed.len() as u64, world.events);
    }
}
