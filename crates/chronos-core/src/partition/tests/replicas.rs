//! Replicas of one partition apply one log, each in its own time: they lag, are checkpointed, crash,
//! lose ids that are forgotten, and are made anew from each other. All decide alike and end alike.

use super::compare;
use super::entry::{Command, Commands, Event, event, publish_of};
use super::oracle::Oracle;
use super::replica::{Entry, Replica};
use super::steps::{Step as Base, all_ids, entry_of, step as base};
use crate::command::change::{Action, Item};
use crate::command::delete_topic::DeleteTopic;
use crate::command::publish::{self, NewEvent};
use crate::command::{Builder, Kind};
use crate::keys::dedup::hash;
use crate::partition::{Effects, Outcome};
use proptest::prelude::*;

const REPLICAS: usize = 3;

#[derive(Debug, Clone)]
enum Act {
    CatchUp(usize),
    Checkpoint,
    WholeCheckpoint,
    Flush,
    Crash,
    /// And what the index knows beyond the checkpoint is discarded, as if the log had lost it.
    CrashAndDiscard,
    DropIds(bool),
    CopyFrom(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Base(Base),
    Of(usize, Act),
}

struct World {
    log: Vec<Entry>,
    /// What came of each entry where it was applied first.
    effects: Vec<Effects>,
    now_ms: i64,
    oracle: Oracle,
    steady: Replica,
    replicas: Vec<Replica>,
}

impl World {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            effects: Vec::new(),
            now_ms: 1_700_000_000_000,
            oracle: Oracle::new(),
            steady: Replica::new(),
            replicas: (0..REPLICAS).map(|_| Replica::new()).collect(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Base(Base::Append {
                passed_ms,
                ahead_ms,
                sections,
            }) => {
                self.now_ms = self.now_ms.saturating_add(*passed_ms);
                let commands = entry_of(sections, &self.oracle, self.now_ms, *ahead_ms);
                self.append(Entry::Commands(commands));
            }
            Step::Base(Base::AppendBlank) => self.append(Entry::Blank),
            Step::Base(Base::AppendMembership(members)) => {
                self.append(Entry::Membership(vec![*members]));
            }
            // The others are for one replica that fails; here each has its own.
            Step::Base(_) => {}
            Step::Of(replica, act) => self.act(*replica, act),
        }
    }

    fn append(&mut self, entry: Entry) {
        match &entry {
            Entry::Commands(commands) => drop(self.oracle.apply(commands)),
            Entry::Raw { .. } | Entry::Blank | Entry::Membership(_) => self.oracle.skip(),
        }
        self.effects.push(self.steady.apply(&entry));
        self.log.push(entry);
    }

    fn act(&mut self, at: usize, act: &Act) {
        match act {
            Act::CatchUp(entries) => self.catch_up(at, *entries),
            Act::Checkpoint => self.replicas[at].checkpoint_step(),
            Act::WholeCheckpoint => self.replicas[at].checkpoint(),
            Act::Flush => self.replicas[at].flush(),
            Act::Crash => self.replicas[at].crash(),
            Act::CrashAndDiscard => {
                let partition = &mut self.replicas[at];
                partition.crash();
                let knows_more = partition.partition.knows_upto().unwrap().is_some();
                assert_eq!(partition.partition.discard_unknown().unwrap(), knows_more);
                assert_eq!(partition.partition.knows_upto().unwrap(), None);
            }
            Act::DropIds(odd) => self.replicas[at].drop_ids(*odd),
            Act::CopyFrom(other) if *other != at => {
                let mut replica = std::mem::replace(&mut self.replicas[at], Replica::new());
                replica.copy_from(&self.replicas[*other]);
                self.replicas[at] = replica;
            }
            Act::CopyFrom(_) => {}
        }
    }

    fn catch_up(&mut self, at: usize, entries: usize) {
        let replica = &mut self.replicas[at];
        let next = replica.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(next).take(entries) {
            assert_eq!(&replica.apply(entry), effects, "replica {at}");
        }
    }

    fn finish(mut self) {
        self.steady.checkpoint();
        for at in 0..REPLICAS {
            self.catch_up(at, usize::MAX);
            let replica = &mut self.replicas[at];
            compare::ids(&replica.partition, &self.oracle, &all_ids());
            compare::replicas(&replica.partition, &self.steady.partition);
            replica.checkpoint();
            replica.crash();
            assert_eq!(replica.next_index(), self.log.len());
            compare::state(&replica.partition, &self.oracle, &self.log);
            compare::ids(&replica.partition, &self.oracle, &all_ids());
            compare::replicas(&replica.partition, &self.steady.partition);
            if !self.log.is_empty() {
                // Whoever counts what was released comes to the same numbers.
                let [(ours, upto), (theirs, of)] =
                    [&replica.partition, &self.steady.partition].map(|it| it.saved_released());
                assert_eq!(upto, of);
                let count = |counts: &[u64], topic| counts.get(topic).copied().unwrap_or(0);
                for topic in 0..self.oracle.topics.len() {
                    assert_eq!(count(ours, topic), count(theirs, topic), "topic {topic}");
                }
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        6 => (1..12_usize).prop_map(Act::CatchUp),
        3 => Just(Act::Checkpoint),
        1 => Just(Act::WholeCheckpoint),
        1 => Just(Act::Flush),
        2 => Just(Act::Crash),
        1 => Just(Act::CrashAndDiscard),
        2 => any::<bool>().prop_map(Act::DropIds),
        1 => (0..REPLICAS).prop_map(Act::CopyFrom),
    ];
    prop_oneof![
        3 => base().prop_map(Step::Base),
        4 => (0..REPLICAS, act).prop_map(|(replica, act)| Step::Of(replica, act)),
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
    fn replicas_decide_and_end_alike(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

fn entry(now_ms: i64, sections: Vec<Command>) -> Entry {
    Entry::Commands(Commands {
        now_ms,
        ahead_ms: 0,
        term: 1,
        sections,
    })
}

/// An event of topic `t` whose id is remembered for a time of its own.
fn with_window(id: &str, schedule_ms: i64, dedup_ttl_ms: u64, window_ms: u64) -> Entry {
    let mut events = publish::Builder::new(1, 0);
    events.push(NewEvent {
        schedule_ms,
        body: format!("{id}t").as_bytes(),
        id: (0, id.len() as u8),
        topic: (id.len() as u32, 1),
        allow_duplicate: false,
    });
    let mut builder = Builder::new(0);
    builder.push(
        Kind::Publish,
        &events.finish_with(dedup_ttl_ms, Some(window_ms)),
    );
    Entry::Raw {
        body: builder.finish(1_000, 0, 1),
        term: 1,
    }
}

#[test]
fn an_id_that_was_forgotten_is_not_remembered_where_its_record_happens_to_be_left() {
    let (mut keeps, mut loses) = (Replica::new(), Replica::new());
    let publish = |id: &str, now_ms| {
        let events = vec![event(id, 0)];
        let dedup_ttl_ms = 100;
        entry(
            now_ms,
            vec![Command::Publish {
                events,
                dedup_ttl_ms,
            }],
        )
    };
    let put_off = Command::Change(vec![Item {
        offset: 0,
        topic: 0,
        published_ms: 1_500,
        id: hash(b"a"),
        if_version: None,
        action: Action::Reschedule(9_000),
    }]);
    // The nodes are not set alike: one remembers ids for 1000 ms, this one for 10; another for 100.
    // So the id is forgotten before its event is due.
    let log = [
        with_window("a", 1_500, 1_000, 10),
        publish("b", 1_010),
        entry(1_020, vec![put_off]),
        publish("a", 1_030),
    ];
    for (at, entry) in log.iter().enumerate() {
        let effects = keeps.apply(entry);
        assert_eq!(loses.apply(entry), effects, "entry {at}");
        keeps.checkpoint();
        loses.checkpoint();
        loses.drop_ids(true);
        loses.drop_ids(false);
    }
    let accepted = keeps.partition.next_offset();
    assert_eq!(accepted, 3, "what is forgotten stays forgotten");
}

#[test]
fn a_replica_whose_log_lost_its_end_takes_another_end() {
    let put_off = |due_ms| {
        Command::Change(vec![Item {
            offset: 0,
            topic: 0,
            published_ms: 5_000,
            id: hash(b"a"),
            if_version: None,
            action: Action::Reschedule(due_ms),
        }])
    };
    let begin = [
        entry(
            100,
            vec![publish_of(&[event("a", 5_000), event("b", 6_000)])],
        ),
        Entry::Blank,
    ];
    let lost = [
        entry(110, vec![publish_of(&[event("c", 7_000), event("d", 0)])]),
        entry(120, vec![put_off(8_000)]),
    ];
    let other = [
        Entry::Blank,
        entry(130, vec![publish_of(&[event("d", 7_500)])]),
        entry(140, vec![put_off(9_000)]),
        entry(150, vec![publish_of(&[event("c", 7_000)])]),
    ];
    let (mut replica, mut peer) = (Replica::new(), Replica::new());
    begin.iter().for_each(|entry| drop(replica.apply(entry)));
    replica.checkpoint();
    lost.iter().for_each(|entry| drop(replica.apply(entry)));
    replica.flush();
    replica.crash();
    assert_eq!(replica.partition.knows_upto().unwrap(), Some(3));
    assert!(replica.partition.discard_unknown().unwrap());

    begin.iter().for_each(|entry| drop(peer.apply(entry)));
    for entry in &other {
        assert_eq!(replica.apply(entry), peer.apply(entry));
    }
    compare::replicas(&replica.partition, &peer.partition);
}

#[test]
fn a_replica_that_follows_counts_what_was_released_after_a_deletion() {
    let mut replica = Replica::new();
    let publish = |ids: [&str; 2], due_ms| publish_of(&ids.map(|id| event(id, due_ms)));
    replica.apply(&entry(100, vec![publish(["a", "b"], 200)]));
    replica.apply(&entry(300, vec![]));
    replica.checkpoint();
    assert_eq!(replica.partition.saved_released().0, [2]);
    let delete = Command::DeleteTopic(DeleteTopic {
        name: "t".into(),
        if_scheduled: None,
        offsets: (0..2).collect(),
    });
    replica.apply(&entry(400, vec![delete]));
    replica.checkpoint();
    assert_eq!(replica.partition.saved_released().0, [0]);
    replica.apply(&entry(500, vec![publish(["c", "d"], 600)]));
    replica.apply(&entry(700, vec![publish(["e", "f"], 9_000)]));
    replica.checkpoint();
    replica.crash();
    let partition = &replica.partition;
    assert_eq!(
        (
            partition.saved_released().0.as_slice(),
            partition.scheduled()
        ),
        (&[2][..], &[4][..])
    );
}

#[test]
fn a_copy_of_a_checkpointed_partition_is_equal_and_answers_alike() {
    let mut replica = Replica::new();
    let events: Vec<Event> = (0..50)
        .map(|n| event(&format!("e{n}"), 1_000 + n * 10))
        .collect();
    replica.apply(&entry(100, vec![publish_of(&events[..30])]));
    replica.checkpoint();
    // What the index knows beyond the checkpoint is copied too, and does no harm.
    let later = entry(200, vec![publish_of(&events[20..])]);
    let effects = replica.apply(&later);
    let mut copy = Replica::new();
    copy.copy_from(&replica);
    assert_eq!(copy.next_index(), 1);
    assert_eq!(copy.apply(&later), effects);
    let Outcome::Published(published) = &effects.outcomes[0] else {
        panic!("{effects:?}");
    };
    assert_eq!(published.duplicates.len(), 10);
    compare::replicas(&copy.partition, &replica.partition);
    // It stands a crash at once.
    copy.crash();
    assert_eq!(copy.next_index(), 1);
}
