//! One test for each rule of checkpoints and crashes.

use super::entry::{Command, Commands, create, event, publish_of};
use super::replica::{Entry, Replica};
use super::{compare, invariants};
use crate::command::change::{Action, Item};
use crate::command::create_group::Start;
use crate::command::settle::Settle;
use crate::keys::dedup::hash;
use crate::partition::{Effects, Outcome, Partition, released};
use crate::store::{Family, MemoryStore, Store, StoreError};
use crate::types::DueKey;
use std::ops::ControlFlow;

/// A replica with its log.
struct Node {
    replica: Replica,
    log: Vec<Entry>,
    effects: Vec<Effects>,
}

impl Node {
    fn new() -> Self {
        Self {
            replica: Replica::new(),
            log: Vec::new(),
            effects: Vec::new(),
        }
    }

    fn append(&mut self, now_ms: i64, sections: &[Command]) -> &Effects {
        self.log.push(Entry::Commands(Commands {
            now_ms,
            ahead_ms: 0,
            term: 1,
            sections: sections.to_vec(),
        }));
        let effects = self.replica.apply(&self.log[self.log.len() - 1]);
        self.effects.push(effects);
        &self.effects[self.effects.len() - 1]
    }

    /// Crashes and applies what is left of the log; the index where that began.
    fn restart(&mut self) -> usize {
        self.replica.crash();
        let from = self.replica.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(from) {
            assert_eq!(&self.replica.apply(entry), effects);
        }
        from
    }
}

fn section(id: &str, dedup_ttl_ms: u64) -> Command {
    Command::Publish {
        events: vec![event(id, 0)],
        dedup_ttl_ms,
    }
}

#[test]
fn without_a_checkpoint_the_whole_log_is_applied_again() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    node.append(20, &[section("a", 100)]);
    // The index may have reached the disk by itself.
    node.replica.flush();
    assert_eq!(node.restart(), 0);
    assert_eq!(node.replica.partition.next_offset(), 1);
}

#[test]
fn a_restart_goes_on_after_the_checkpoint() {
    let mut node = Node::new();
    node.append(
        10,
        &[create("g", Some("t"), Start::Unclaimed), section("a", 100)],
    );
    let settle = Settle {
        stretches: vec![(DueKey::MIN, DueKey::new(10, 0))],
        ..Settle::default()
    };
    node.append(20, &[Command::Settle(settle)]);
    node.replica.checkpoint();
    node.append(30, &[section("b", 100)]);
    assert_eq!(node.restart(), 2);
    let partition = &node.replica.partition;
    assert_eq!(partition.horizon(), DueKey::new(30, 1));
    assert_eq!(partition.groups()[0].settled.cursor(), DueKey::new(10, 0));
    assert_eq!(partition.topics().get(b"t"), Some(0));
}

#[test]
fn entries_applied_while_a_checkpoint_is_written_belong_to_the_next_one() {
    let mut node = Node::new();
    node.append(
        10,
        &[create("g", Some("t"), Start::Unclaimed), section("a", 100)],
    );
    node.replica.checkpoint_step();
    let new_group = [create("h", Some("u"), Start::Unclaimed), section("b", 100)];
    node.append(20, &new_group);
    for _ in 0..3 {
        node.replica.checkpoint_step();
    }
    // The index knows of the second event, and its id waits for the next checkpoint.
    assert_eq!(node.replica.partition.unsaved_ids(), 1);
    assert_eq!(node.restart(), 1);
    assert_eq!(node.replica.partition.next_offset(), 2);
    node.replica.checkpoint();
    assert_eq!(node.restart(), 2);
    assert_eq!(node.replica.partition.groups().len(), 2);
}

#[test]
fn a_checkpoint_that_was_never_durable_changes_nothing() {
    for steps in 1..=2 {
        let mut node = Node::new();
        node.append(10, &[section("a", 100)]);
        node.replica.checkpoint();
        node.append(20, &[section("b", 100)]);
        for _ in 0..steps {
            node.replica.checkpoint_step();
        }
        assert_eq!(node.restart(), 1);
    }
}

#[test]
fn an_id_that_reached_the_store_is_no_duplicate_when_its_entry_is_applied_again() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    // Ids are durable once they are written, the checkpoint only when it is flushed.
    node.replica.checkpoint_step();
    node.replica.checkpoint_step();
    assert_eq!(node.restart(), 0);
    let duplicate = node.append(20, &[section("a", 100)]);
    assert_eq!(duplicate.batch, None);
}

#[test]
fn an_id_accepted_again_does_not_hide_what_it_was_before() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    node.replica.checkpoint();
    assert_eq!(node.append(50, &[section("a", 100)]).batch, None);
    assert!(node.append(110, &[section("a", 100)]).batch.is_some());
    assert!(node.append(210, &[section("a", 100)]).batch.is_some());
    // The store now has the id with its last offset, and the second entry comes again.
    node.replica.checkpoint_step();
    node.replica.checkpoint_step();
    assert_eq!(node.restart(), 1);
    node.replica.checkpoint();
    assert_eq!(node.append(250, &[section("a", 100)]).batch, None);
    assert_eq!(node.restart(), 4);
}

#[test]
fn an_id_forgotten_after_the_checkpoint_began_is_remembered_when_that_is_where_a_restart_begins() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    node.replica.checkpoint_step();
    assert_eq!(node.append(50, &[section("a", 100)]).batch, None);
    node.append(500, &[section("b", 100)]);
    for _ in 0..3 {
        node.replica.checkpoint_step();
    }
    assert!(node.append(510, &[section("a", 100)]).batch.is_some());
    node.replica.checkpoint_step();
    node.replica.checkpoint_step();
    assert_eq!(node.restart(), 1);
}

#[test]
fn a_section_without_events_forgets_as_any_other_and_a_checkpoint_makes_it_last() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    node.replica.checkpoint();
    node.append(500, &[]);
    assert_eq!(
        node.replica.partition.forgotten_ms(),
        -90,
        "time alone forgets nothing"
    );
    let nothing = Command::Publish {
        events: Vec::new(),
        dedup_ttl_ms: 100,
    };
    node.append(500, &[nothing]);
    let partition = &node.replica.partition;
    assert_eq!(
        (partition.forgotten_ms(), partition.saved_forgotten_ms()),
        (400, -90)
    );
    node.replica.checkpoint();
    assert_eq!(node.replica.partition.saved_forgotten_ms(), 400);
    assert!(node.append(510, &[section("a", 100)]).batch.is_some());
}

#[test]
fn ids_are_known_wherever_they_are() {
    let mut node = Node::new();
    node.append(10, &[section("a", 100)]);
    // In the window, on their way to the store, and in it.
    for _ in 0..5 {
        assert_eq!(node.append(20, &[section("a", 100)]).batch, None);
        node.replica.checkpoint_step();
    }
    node.restart();
    assert_eq!(node.append(20, &[section("a", 100)]).batch, None);
}

#[test]
fn blank_entries_and_the_replicas_are_part_of_the_state() {
    let mut node = Node::new();
    for entry in [Entry::Blank, Entry::Membership(vec![1, 2, 3]), Entry::Blank] {
        node.effects.push(node.replica.apply(&entry));
        node.log.push(entry);
    }
    node.replica.checkpoint();
    assert_eq!(node.restart(), 3);
    assert_eq!(node.replica.partition.membership(), [1, 2, 3]);
    let effects = node.append(10, &[publish_of(&[event("a", 5)])]);
    invariants::check(effects, 0);
}

#[test]
fn nothing_is_saved_before_anything_was_applied() {
    let mut replica = Replica::new();
    assert!(
        replica
            .partition
            .begin_checkpoint(&[], DueKey::MIN)
            .is_none()
    );
    replica.apply(&Entry::Blank);
    assert!(
        replica
            .partition
            .begin_checkpoint(&[], DueKey::MIN)
            .is_some()
    );
}

#[test]
fn where_counting_of_released_events_begins_is_saved() {
    let mut node = Node::new();
    node.append(10, &[publish_of(&[event("a", 50), event("b", 90)])]);
    node.append(60, &[]);
    let upto = node.replica.partition.horizon();
    let checkpoint = node.replica.partition.begin_checkpoint(&[1], upto).unwrap();
    checkpoint.write(node.replica.partition.store()).unwrap();
    node.replica.flush();
    assert_eq!(node.restart(), 2);
    let partition = &node.replica.partition;
    assert_eq!(
        (partition.saved_released(), partition.scheduled()),
        (&(vec![1], upto), &[2][..])
    );
}

#[test]
fn two_partitions_share_a_store_and_nothing_else() {
    let store = MemoryStore::new();
    let mut node = Node::new();
    node.replica.partition = Partition::open(super::replica::NUMBER, store.clone()).unwrap();
    node.append(
        10,
        &[create("g", None, Start::Unclaimed), section("a", 100)],
    );
    node.replica.checkpoint();
    for number in [
        0,
        super::replica::NUMBER - 1,
        super::replica::NUMBER + 1,
        u32::MAX,
    ] {
        let other = Partition::open(number, store.clone()).unwrap();
        assert_eq!((other.applied(), other.next_offset()), (None, 0));
        assert!(other.groups().is_empty() && other.topics().is_empty());
    }
    let copy = Partition::open(super::replica::NUMBER, store).unwrap();
    compare::replicas(&copy, &node.replica.partition);
}

#[test]
fn a_damaged_record_is_named_and_not_taken() {
    use crate::keys::meta::{Kind, key};
    use crate::store::{Family, Store, WriteBatch};
    let mut node = Node::new();
    node.append(10, &[create("g", Some("t"), Start::Unclaimed)]);
    node.replica.checkpoint();
    for kind in [Kind::Partition, Kind::Group] {
        let store = node.replica.partition.store().crash();
        let key = key(super::replica::NUMBER, kind, 0);
        let mut value = store.get(Family::Meta, &key).unwrap().unwrap();
        value.pop();
        let mut writes = WriteBatch::default();
        writes.put(Family::Meta, key, value);
        store.write(&writes).unwrap();
        let result = Partition::open(super::replica::NUMBER, store);
        let damaged = matches!(
            &result,
            Err(StoreError::Damaged {
                family: Family::Meta,
                ..
            })
        );
        assert!(damaged, "{kind:?}");
    }
}

#[test]
fn what_a_log_that_lost_its_end_left_in_the_index_is_removed() {
    let mut node = Node::new();
    node.append(100, &[publish_of(&[event("kept", 5_000)])]);
    node.append(
        110,
        &[publish_of(&[
            event("lost", 6_000),
            event("lost at once", 0),
        ])],
    );
    node.replica.flush();
    // The ids of a checkpoint are durable before the checkpoint is.
    let partition = &mut node.replica.partition;
    let checkpoint = partition.begin_checkpoint(&[], DueKey::MIN).unwrap();
    checkpoint.write(partition.store()).unwrap();
    node.log.pop();
    node.effects.pop();
    node.restart();

    assert!(node.replica.partition.discard_unknown().unwrap());
    assert!(!node.replica.partition.discard_unknown().unwrap());
    let again = [event("lost", 7_000), event("other", 8_000)];
    let effects = node.append(120, &[publish_of(&again)]);
    let accepted = effects
        .timers
        .iter()
        .map(|timer| (timer.due_ms, timer.offset));
    assert_eq!(accepted.collect::<Vec<_>>(), [(7_000, 1), (8_000, 2)]);
    let partition = &node.replica.partition;
    let store = partition.store();
    let all = released::read(store, partition.number(), 0, DueKey::MIN, DueKey::MAX, 100).unwrap();
    let due: Vec<_> = all
        .iter()
        .map(|run| (run.due_ms, run.first_offset, run.count))
        .collect();
    assert_eq!(due, [(5_000, 0, 1), (7_000, 1, 1), (8_000, 2, 1)]);
}

#[test]
fn changes_that_a_log_lost_with_its_end_are_taken_back() {
    let change = |offset: u64, id: &str, published_ms, action| {
        Command::Change(vec![Item {
            offset,
            topic: 0,
            published_ms,
            id: hash(id.as_bytes()),
            if_version: None,
            action,
        }])
    };
    let mut node = Node::new();
    let events = [event("a", 5_000), event("b", 6_000), event("c", 7_000)];
    node.append(100, &[publish_of(&events)]);
    node.append(110, &[change(1, "b", 6_000, Action::Reschedule(6_500))]);
    node.append(
        120,
        &[
            change(0, "a", 5_000, Action::Cancel),
            change(1, "b", 6_000, Action::Reschedule(9_000)),
            change(2, "c", 7_000, Action::FireNow),
        ],
    );
    node.replica.flush();
    node.log.pop();
    node.effects.pop();
    node.restart();

    assert!(node.replica.partition.discard_unknown().unwrap());
    assert!(!node.replica.partition.discard_unknown().unwrap());
    let partition = &node.replica.partition;
    let store = partition.store();
    let all = released::read(store, partition.number(), 0, DueKey::MIN, DueKey::MAX, 100).unwrap();
    let due: Vec<_> = all
        .iter()
        .map(|run| (run.due_ms, run.first_offset))
        .collect();
    assert_eq!(due, [(5_000, 0), (6_500, 1), (7_000, 2)]);
    let effects = node.append(130, &[change(1, "b", 6_000, Action::Get)]);
    let Outcome::Changed(found) = &effects.outcomes[0] else {
        panic!("{effects:?}");
    };
    assert_eq!(
        (found[0].version.version, found[0].version.due_ms),
        (2, 6_500)
    );
}

#[test]
fn an_id_is_known_until_its_event_has_fired_and_the_time_after_that() {
    const YEAR_MS: i64 = 365 * 86_400_000;
    let section = |id: &str, due_ms| Command::Publish {
        events: vec![event(id, due_ms)],
        dedup_ttl_ms: 1_000,
    };
    let is_known = |node: &mut Node, now_ms| {
        let effects = node.append(now_ms, &[section("far", now_ms + 1)]);
        match &effects.outcomes[0] {
            Outcome::Published(published) => published.accepted == 0,
            other => panic!("{other:?}"),
        }
    };
    let sweep = |node: &mut Node| {
        let partition = &mut node.replica.partition;
        let checkpoint = partition.begin_checkpoint(&[], DueKey::MIN).unwrap();
        checkpoint.write(partition.store()).unwrap();
        partition.store().flush().unwrap();
        partition.finish_checkpoint();
        let swept = checkpoint.sweep_far_ids(partition.store(), None, 100);
        assert_eq!(swept.unwrap(), None);
    };
    let mut node = Node::new();
    node.append(10, &[section("far", YEAR_MS), section("near", 20)]);
    for now_ms in [5_000, YEAR_MS / 2, YEAR_MS + 999] {
        sweep(&mut node);
        node.restart();
        assert!(is_known(&mut node, now_ms), "{now_ms}");
    }
    // Long after, it is gone from memory and from the store.
    node.append(YEAR_MS + 1_001, &[section("another", YEAR_MS)]);
    sweep(&mut node);
    let mut left = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        left += 1;
        ControlFlow::Continue(())
    };
    let store = node.replica.partition.store();
    store.scan(Family::FarId, &[], &[0xff; 64], visit).unwrap();
    assert_eq!(left, 0);
    assert!(!is_known(&mut node, YEAR_MS + 1_002));
}
