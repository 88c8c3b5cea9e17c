//! One test for each rule a reader should know.

use super::compare::keys_of;
use super::entry::{Command, Commands, create, event, publish_of};
use super::replica::{Entry, NUMBER, Replica};
use crate::command::create_group::Start;
use crate::command::settle::{Death, Failure, Settle};
use crate::keys::dead::{self, DeadLetter};
use crate::partition::{ApplyError, Effects, LogPosition, Outcome, Published, released};
use crate::store::{Family, Store};
use crate::types::DueKey;
use crate::wheel::Timer;

/// Applies an entry at a time of the clock.
fn apply(replica: &mut Replica, now_ms: i64, sections: &[Command]) -> Effects {
    replica.apply(&Entry::Commands(Commands {
        now_ms,
        ahead_ms: 0,
        term: 1,
        sections: sections.to_vec(),
    }))
}

/// Publishes one event of topic `t`; its due key.
fn publish(replica: &mut Replica, now_ms: i64, id: &str, schedule_ms: i64) -> DueKey {
    let effects = apply(replica, now_ms, &[publish_of(&[event(id, schedule_ms)])]);
    match (effects.timers.as_slice(), effects.runs.as_slice()) {
        ([timer], []) => DueKey::new(timer.due_ms, timer.offset),
        ([], [run]) => run.first(),
        _ => panic!("{id} was not accepted"),
    }
}

fn published(effects: &Effects) -> &Published {
    match &effects.outcomes[0] {
        Outcome::Published(published) => published,
        other => panic!("{other:?}"),
    }
}

/// Everything of topic `t` up to the horizon, in due order.
fn released(replica: &Replica) -> Vec<DueKey> {
    let partition = &replica.partition;
    let (store, horizon) = (partition.store(), partition.horizon());
    keys_of(&released::read(store, NUMBER, 0, DueKey::MIN, horizon, u64::MAX).unwrap())
}

#[test]
fn an_event_that_is_late_is_released_by_its_own_publish() {
    let mut replica = Replica::new();
    let effects = apply(&mut replica, 1_000, &[publish_of(&[event("a", 400)])]);
    assert_eq!(effects.timers, []);
    assert_eq!(keys_of(&effects.runs), [DueKey::new(1_000, 0)]);
    assert_eq!(effects.runs[0].ready_ms, 400);
    assert_eq!(effects.horizon, DueKey::new(1_000, 0));
    assert_eq!(released(&replica), [DueKey::new(1_000, 0)]);
}

#[test]
fn an_event_due_exactly_at_the_horizon_is_released_and_a_millisecond_later_it_is_a_timer() {
    let mut replica = Replica::new();
    let events = [event("a", 1_000), event("b", 1_001)];
    let effects = apply(&mut replica, 1_000, &[publish_of(&events)]);
    assert_eq!(keys_of(&effects.runs), [DueKey::new(1_000, 0)]);
    let timer = Timer {
        due_ms: 1_001,
        topic: 0,
        offset: 1,
    };
    assert_eq!(effects.timers, [timer]);
    // The horizon stands at the last key of its time, above which the timer is.
    assert_eq!(effects.horizon, DueKey::new(1_000, 1));
    let effects = apply(&mut replica, 1_001, &[]);
    assert_eq!(effects.horizon, DueKey::new(1_001, 1));
    assert_eq!(
        released(&replica),
        [DueKey::new(1_000, 0), DueKey::new(1_001, 1)]
    );
}

#[test]
fn an_empty_entry_releases_whatever_fell_due_however_much() {
    let mut replica = Replica::new();
    for n in 0..100 {
        publish(&mut replica, 0, &format!("id-{n}"), 1_000_000 - 5_000 * n);
    }
    assert_eq!(released(&replica), []);
    let effects = apply(&mut replica, 1_000_000, &[]);
    assert_eq!((effects.runs, effects.batch), (vec![], None));
    let keys = released(&replica);
    assert_eq!((keys.len(), keys.is_sorted()), (100, true));
    assert_eq!(keys[0], DueKey::new(1_000_000 - 5_000 * 99, 99));
}

#[test]
fn the_horizon_may_go_ahead_of_the_clock_and_says_when_delivery_may_begin() {
    let mut replica = Replica::new();
    let effects = replica.apply(&Entry::Commands(Commands {
        now_ms: 1_000,
        ahead_ms: 5,
        term: 1,
        sections: vec![publish_of(&[event("a", 1_003), event("b", 1_006)])],
    }));
    assert_eq!(effects.horizon, DueKey::new(1_005, 1));
    assert_eq!(keys_of(&effects.runs), [DueKey::new(1_005, 0)]);
    assert_eq!(effects.runs[0].ready_ms, 1_003);
    assert_eq!(effects.timers.len(), 1);
}

#[test]
fn the_horizon_never_moves_back_and_late_events_line_up_behind_it() {
    let mut replica = Replica::new();
    let first = publish(&mut replica, 1_000, "a", 0);
    // The clock of a new leader is 300 ms behind.
    let second = publish(&mut replica, 700, "b", 0);
    let third = publish(&mut replica, 700, "c", 900);
    assert_eq!(apply(&mut replica, 650, &[]).horizon, third);
    let keys = [(1_000, 0), (1_000, 1), (1_000, 2)].map(|(ms, offset)| DueKey::new(ms, offset));
    assert_eq!([first, second, third], keys);
    assert_eq!(released(&replica), keys);
}

#[test]
fn a_clock_that_goes_back_before_the_first_event_cannot_put_it_below_the_horizon() {
    let mut replica = Replica::new();
    let horizon = apply(&mut replica, 1_000, &[]).horizon;
    assert_eq!(horizon, DueKey::new(999, u64::MAX));
    let key = publish(&mut replica, 900, "a", 900);
    assert_eq!(key, DueKey::new(1_000, 0));
    assert!(key > horizon && key <= replica.partition.horizon());
}

#[test]
fn what_is_scheduled_falls_due_in_the_order_of_time_then_offset() {
    let mut replica = Replica::new();
    for (id, schedule_ms) in [("a", 90), ("b", 50), ("c", 90), ("d", 20)] {
        publish(&mut replica, 10, id, schedule_ms);
    }
    apply(&mut replica, 60, &[]);
    // Late, so it lines up behind what was released, before what was not.
    publish(&mut replica, 70, "e", 30);
    apply(&mut replica, 100, &[]);
    let keys = [(20, 3), (50, 1), (70, 4), (90, 0), (90, 2)];
    assert_eq!(
        released(&replica),
        keys.map(|(ms, offset)| DueKey::new(ms, offset))
    );
}

#[test]
fn the_ends_of_time_are_times_like_others() {
    let mut replica = Replica::new();
    let never = publish(&mut replica, 10, "never", i64::MAX);
    let nearly = publish(&mut replica, 10, "nearly never", i64::MAX - 1);
    let long_ago = publish(&mut replica, 10, "long ago", i64::MIN);
    assert_eq!(
        (never.due_ms, nearly.due_ms, long_ago.due_ms),
        (i64::MAX, i64::MAX - 1, 10)
    );
    apply(&mut replica, i64::MAX - 1, &[]);
    assert_eq!(released(&replica), [long_ago, nearly]);
    apply(&mut replica, i64::MAX, &[]);
    assert_eq!(released(&replica), [long_ago, nearly, never]);
    let last = publish(&mut replica, 10, "last", 10);
    assert_eq!(last, DueKey::new(i64::MAX, 3));
    assert_eq!(released(&replica), [long_ago, nearly, never, last]);
}

#[test]
fn a_duplicate_is_refused_within_a_section_an_entry_and_later() {
    let mut replica = Replica::new();
    let section = publish_of(&[event("a", 5), event("b", 5), event("a", 5), event("c", 5)]);
    let effects = apply(&mut replica, 10, &[section.clone(), section.clone()]);
    assert_eq!(published(&effects).duplicates, [2]);
    let again = Published {
        first_offset: 3,
        accepted: 0,
        duplicates: vec![0, 1, 2, 3],
        known_offsets: vec![0, 1, 0, 2],
    };
    assert_eq!(effects.outcomes[1], Outcome::Published(again.clone()));
    let effects = apply(&mut replica, 20, &[section]);
    assert_eq!(effects.outcomes, [Outcome::Published(again)]);
}

#[test]
fn a_duplicate_leaves_no_gap_in_the_offsets_and_names_no_topic() {
    let mut replica = Replica::new();
    publish(&mut replica, 10, "a", 5);
    let mut other_topic = event("a", 5);
    other_topic.topic = "elsewhere".into();
    let events = [event("b", 5), other_topic, event("c", 99)];
    let effects = apply(&mut replica, 20, &[publish_of(&events)]);
    assert_eq!(published(&effects).first_offset, 1);
    assert_eq!(published(&effects).accepted, 2);
    let batch = effects.batch.unwrap();
    let slots: Vec<_> = (1..3)
        .map(|offset| batch.place(offset).unwrap().slot)
        .collect();
    assert_eq!(slots, [0, 2]);
    assert_eq!(replica.partition.next_offset(), 3);
    assert_eq!(replica.partition.topics().get(b"elsewhere"), None);
}

#[test]
fn an_id_is_forgotten_after_its_time_and_never_remembered_when_that_was_asked() {
    let mut replica = Replica::new();
    let section = |id: &str, dedup_ttl_ms, allow_duplicate| {
        let mut event = event(id, 0);
        event.allow_duplicate = allow_duplicate;
        Command::Publish {
            events: vec![event],
            dedup_ttl_ms,
        }
    };
    let mut accepted =
        |now_ms, section| published(&apply(&mut replica, now_ms, &[section])).accepted == 1;
    assert!(accepted(1_000, section("a", 500, false)));
    assert!(!accepted(1_499, section("a", 500, false)));
    assert!(accepted(1_499, section("a", 500, true)));
    assert!(
        accepted(1_500, section("a", 500, false)),
        "as old as ids may be"
    );
    assert!(accepted(1_600, section("b", 500, true)));
    assert!(
        accepted(1_600, section("b", 500, false)),
        "not remembered before"
    );
    // What is forgotten stays forgotten when ids are to be remembered longer.
    assert!(accepted(2_100, section("c", 500, false)));
    assert!(accepted(2_100, section("b", 5_000, false)));
    // A clock that goes back neither forgets nor brings back.
    assert!(!accepted(100, section("b", 500, false)));
}

#[test]
fn the_first_group_of_a_topic_gets_what_was_released_while_nobody_was_there() {
    let mut replica = Replica::new();
    publish(&mut replica, 10, "a", 5);
    apply(
        &mut replica,
        20,
        &[create("g", Some("t"), Start::Unclaimed)],
    );
    assert_eq!(replica.partition.groups()[0].settled.cursor(), DueKey::MIN);
}

#[test]
fn a_later_group_begins_at_the_horizon_unless_it_asks_for_more() {
    let mut replica = Replica::new();
    publish(&mut replica, 10, "a", 5);
    let first = [create("g", Some("t"), Start::Unclaimed)];
    apply(&mut replica, 20, &first);
    let later = [
        create("h", Some("t"), Start::Unclaimed),
        create("i", Some("t"), Start::Earliest),
        create("j", Some("t"), Start::Offset(7)),
        create("k", Some("other"), Start::Unclaimed),
        create("l", None, Start::Unclaimed),
    ];
    apply(&mut replica, 30, &later);
    let begin: Vec<_> = (replica.partition.groups().iter())
        .map(|group| (group.settled.cursor(), group.first_offset))
        .collect();
    // The horizon when they were made: that of the entry before.
    let horizon = DueKey::new(20, 0);
    assert_eq!(
        begin,
        [
            (DueKey::MIN, 0),
            (horizon, 0),
            (DueKey::MIN, 0),
            (DueKey::MIN, 7),
            (DueKey::MIN, 0),
            (horizon, 0)
        ]
    );
}

#[test]
fn a_group_gets_the_events_that_its_own_entry_releases() {
    let mut replica = Replica::new();
    apply(
        &mut replica,
        10,
        &[create("g", Some("t"), Start::Unclaimed)],
    );
    let both = [
        create("h", Some("t"), Start::Unclaimed),
        publish_of(&[event("a", 5)]),
    ];
    let effects = apply(&mut replica, 20, &both);
    let group = &replica.partition.groups()[1];
    assert!(!group.settled.contains(effects.runs[0].first()));
}

#[test]
fn a_group_that_exists_is_found_and_not_changed() {
    let mut replica = Replica::new();
    let created = |effects: Effects| effects.outcomes[0].clone();
    let outcome = |group, created| Outcome::GroupCreated { group, created };
    let orders = [create("g", Some("orders"), Start::Earliest)];
    assert_eq!(created(apply(&mut replica, 10, &orders)), outcome(0, true));
    let again = [create("g", Some("orders"), Start::Offset(9))];
    assert_eq!(created(apply(&mut replica, 10, &again)), outcome(0, false));
    assert_eq!(replica.partition.groups()[0].first_offset, 0);
    // The same name for another topic, or for all of them, is another group.
    let payments = [create("g", Some("payments"), Start::Earliest)];
    assert_eq!(
        created(apply(&mut replica, 10, &payments)),
        outcome(1, true)
    );
    let every = [create("g", None, Start::Earliest)];
    assert_eq!(created(apply(&mut replica, 10, &every)), outcome(2, true));
    assert_eq!(
        replica.partition.group_number("g", Some("payments")),
        Some(1)
    );
    assert_eq!(replica.partition.group_number("g", None), Some(2));
    assert_eq!(replica.partition.group_number("g", Some("unknown")), None);
}

#[test]
fn an_event_given_up_is_settled_and_a_dead_letter() {
    let mut replica = Replica::new();
    apply(
        &mut replica,
        10,
        &[create("g", Some("t"), Start::Unclaimed)],
    );
    let key = publish(&mut replica, 20, "a", 5);
    let fail = Settle {
        failures: vec![Failure { key, failures: 1 }],
        ..Settle::default()
    };
    apply(&mut replica, 30, &[Command::Settle(fail)]);
    assert_eq!(replica.partition.groups()[0].failures.get(&key), Some(&1));
    let give_up = Settle {
        stretches: vec![(DueKey::MIN, key)],
        deaths: vec![Death {
            key,
            attempts: 2,
            reason: "no".into(),
        }],
        ..Settle::default()
    };
    let effects = apply(&mut replica, 40, &[Command::Settle(give_up)]);
    assert_eq!(effects.outcomes, [Outcome::Settled]);
    let group = &replica.partition.groups()[0];
    assert_eq!((group.settled.cursor(), group.failures.len()), (key, 0));
    let value = (replica.partition.store())
        .get(Family::Dead, &dead::key(NUMBER, 0, 0))
        .unwrap();
    let letter = DeadLetter {
        key,
        attempts: 2,
        at_ms: 40,
        reason: "no".into(),
        first_ms: 30,
        redrives: 0,
    };
    assert_eq!(DeadLetter::decode(&value.unwrap()), Ok(letter));
}

#[test]
fn progress_of_a_group_that_does_not_exist_is_a_defect() {
    let mut replica = Replica::new();
    let entry = Commands {
        now_ms: 10,
        ahead_ms: 0,
        term: 1,
        sections: vec![Command::Settle(Settle::default())],
    };
    let result = (replica.partition).apply(LogPosition { term: 1, index: 0 }, &entry.encode());
    assert!(
        matches!(result, Err(ApplyError::UnknownGroup(0))),
        "{result:?}"
    );
}

#[test]
fn a_reader_gets_about_as_many_events_as_it_asks_for_after_a_quiet_time_too() {
    let mut replica = Replica::new();
    let hour_ms = 3_600_000;
    let quiet = (0..24).map(|n| event(&format!("quiet-{n}"), n * hour_ms));
    let busy = (0..5_000).map(|n| event(&format!("busy-{n}"), 24 * hour_ms + n));
    let events: Vec<_> = quiet.chain(busy).collect();
    apply(&mut replica, 0, &[publish_of(&events)]);
    let (mut keys, mut after) = (Vec::new(), DueKey::MIN);
    loop {
        let store = replica.partition.store();
        let runs = released::read(store, NUMBER, 0, after, DueKey::MAX, 100).unwrap();
        let part = keys_of(&runs);
        assert!(part.len() <= 200, "{} events", part.len());
        match part.last() {
            None => break,
            Some(last) => after = *last,
        }
        keys.extend(part);
    }
    assert_eq!((keys.len(), keys.is_sorted()), (5_024, true));
}

#[test]
fn events_due_together_cost_the_index_one_record() {
    let mut replica = Replica::new();
    let events: Vec<_> = (0..1_000).map(|n| event(&format!("id-{n}"), 0)).collect();
    let effects = apply(&mut replica, 10, &[publish_of(&events)]);
    assert_eq!((effects.runs.len(), effects.runs[0].count), (1, 1_000));
    let batch = effects.batch.unwrap();
    assert_eq!((batch.spans.len(), batch.count()), (1, 1_000));
}
