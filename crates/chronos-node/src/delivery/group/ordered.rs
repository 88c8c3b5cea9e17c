//! Scenarios of order: by due time, by priority, by key, in turns.

use super::tests::{A, B, Scene};
use super::*;

const KEYED: Wish = Wish {
    key_order: true,
    stride: 1,
};

impl Scene {
    fn join_with(&mut self, session: SessionId, credit: u32, wish: Wish) {
        let credit = Arc::new(Credit::new(credit));
        self.group.join_with(session, credit, wish);
    }

    /// Publishes events with these priorities that are due at once.
    fn publish_with_priorities(&mut self, now_ms: i64, priorities: &[u8]) {
        let first = self.partition.next_offset();
        self.known.prioritized.insert(0);
        let priorities = (first..).zip(priorities.iter().copied());
        self.known.priorities.extend(priorities.clone());
        self.publish(now_ms, priorities.count());
    }

    /// Publishes events of these keys that are due at once.
    fn publish_with_keys(&mut self, now_ms: i64, keys: &[u64]) {
        let first = self.partition.next_offset();
        self.known.keys.extend((first..).zip(keys.iter().copied()));
        self.publish(now_ms, keys.len());
    }

    fn offsets(&mut self, now_ms: i64) -> Vec<u64> {
        let sent = self.dispatch(now_ms);
        sent.into_iter().map(|(_, offset, _)| offset).collect()
    }

    fn ack(&mut self, due_ms: i64, offset: u64, now_ms: i64) {
        let outcome = self.answer(due_ms, offset, 1, true, now_ms);
        assert_eq!(outcome, AckOutcome::Settled);
    }
}

#[test]
fn first_attempts_come_in_due_order_whatever_fails_in_between() {
    let mut scene = Scene::new();
    scene.join(A, 2);
    for now_ms in [10, 20, 30] {
        scene.publish(now_ms, 2);
    }
    assert_eq!(scene.offsets(40), [0, 1]);
    scene.answer(10, 0, 1, false, 50);
    assert_eq!(scene.offsets(60), [2], "the failure waits behind");
    scene.ack(10, 1, 70);
    assert_eq!(scene.offsets(70), [3]);
    scene.ack(20, 2, 80);
    scene.ack(20, 3, 80);
    assert_eq!(scene.offsets(80), [4, 5]);
    scene.ack(30, 4, 90);
    assert_eq!(scene.dispatch(2_000), [(A, 0, 2)]);
}

#[test]
fn higher_priorities_go_first_among_events_of_equal_due_time_only() {
    let mut scene = Scene::new();
    scene.publish_with_priorities(10, &[0, 5, 9, 5, 0]);
    scene.publish_with_priorities(20, &[9, 0]);
    scene.join(A, 3);
    assert_eq!(scene.offsets(30), [2, 1, 3]);
    // Each is settled by itself; the rest of its due time stays open.
    for offset in [2, 1, 3] {
        scene.ack(10, offset, 31);
    }
    scene.commit(31);
    assert!(scene.cursor() < DueKey::new(10, 0));
    scene.restart();
    scene.join(B, 10);
    assert_eq!(scene.offsets(40), [0, 4, 5, 6]);
    for (due_ms, offset) in [(10, 0), (10, 4), (20, 5), (20, 6)] {
        scene.ack(due_ms, offset, 41);
    }
    scene.commit(41);
    assert_eq!(scene.cursor(), DueKey::new(20, 6));
    assert!(scene.partition.groups()[0].settled.is_empty());
}

#[test]
fn a_topic_without_priorities_and_a_group_without_key_order_are_never_looked_into() {
    let mut scene = Scene::new();
    scene.join(A, 1_000);
    scene.publish(10, 500);
    assert_eq!(scene.offsets(10).len(), 500);
    assert_eq!(scene.known.looked.get(), 0);
}

/// apache/pulsar#8703: delayed messages of one key held up consumers of every key.
#[test]
fn a_key_that_is_retried_holds_up_no_other_key() {
    let mut scene = Scene::new();
    scene.join_with(A, 10, KEYED);
    scene.join(B, 10);
    scene.publish_with_keys(10, &[7, 8, 7, 8, 9, 7]);
    assert_eq!(scene.dispatch(10), [(A, 0, 1), (B, 1, 1), (A, 4, 1)]);
    scene.answer(10, 0, 1, false, 100);
    assert!(scene.offsets(100).is_empty(), "7 waits for its retry");
    scene.ack(10, 1, 110);
    assert_eq!(scene.dispatch(110), [(B, 3, 1)], "8 goes on");
    scene.publish_with_keys(120, &[7, 10]);
    assert_eq!(scene.dispatch(120), [(A, 7, 1)], "a new key goes at once");
    assert_eq!(scene.group.waiting(), 4);
    assert_eq!(scene.dispatch(1_100), [(B, 0, 2)]);
    for (due_ms, offset, next) in [(10, 0, vec![2]), (10, 2, vec![5]), (10, 5, vec![6])] {
        assert_eq!(
            scene.answer(due_ms, offset, 2, true, 1_200),
            AckOutcome::Settled
        );
        assert_eq!(scene.offsets(1_200), next, "after {offset}");
    }
}

#[test]
fn a_dead_letter_lets_the_next_of_its_key_go() {
    let mut scene = Scene::new();
    scene.join_with(A, 10, KEYED);
    scene.publish_with_keys(10, &[7, 7]);
    for attempt in 1..=3 {
        let now_ms = 10_000 * i64::from(attempt);
        assert_eq!(scene.dispatch(now_ms), [(A, 0, attempt)]);
        scene.answer(10, 0, attempt, false, now_ms + 1);
    }
    assert_eq!(scene.dispatch(30_002), [(A, 1, 1)]);
}

#[test]
fn what_a_gone_member_held_stays_the_first_of_its_key() {
    let mut scene = Scene::new();
    scene.join_with(A, 10, KEYED);
    scene.publish_with_keys(10, &[7, 7, 8]);
    assert_eq!(scene.offsets(10), [0, 2]);
    scene.join_with(B, 10, KEYED);
    scene.group.leave(A);
    assert_eq!(scene.dispatch(11), [(B, 0, 2), (B, 2, 2)]);
}

#[test]
fn key_order_begins_with_what_is_under_way_and_ends_with_its_last_member() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish_with_keys(10, &[7, 7]);
    assert_eq!(scene.offsets(10), [0, 1], "no key order yet");
    scene.join_with(B, 10, KEYED);
    scene.publish_with_keys(11, &[7, 8, 7]);
    assert_eq!(scene.offsets(11), [3]);
    scene.ack(10, 0, 12);
    assert!(scene.offsets(12).is_empty(), "1 is still under way");
    scene.ack(10, 1, 13);
    assert_eq!(scene.offsets(13), [2]);
    scene.group.leave(B);
    assert!(scene.offsets(14).contains(&4), "4 waits for 2 no longer");
    assert_eq!(scene.group.waiting(), 0);
}

/// The event whose turn had come is ready while the others of its key still wait in their lane.
#[test]
fn the_end_of_key_order_keeps_the_order_of_what_is_ready_and_what_waits() {
    let mut scene = Scene::new();
    scene.join_with(A, 1, KEYED);
    scene.publish_with_keys(10, &[7, 7, 7]);
    assert_eq!(scene.offsets(10), [0]);
    scene.answer(10, 0, 1, false, 11);
    assert!(scene.offsets(11).is_empty(), "7 waits for its retry");
    scene.ack(10, 0, 12);
    scene.group.leave(A);
    scene.join(B, 10);
    assert_eq!(scene.offsets(13), [1, 2]);
}

#[test]
fn an_event_answered_late_while_it_waits_for_its_key_is_not_delivered() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish_with_keys(10, &[7, 7, 7]);
    scene.dispatch(10);
    scene.restart();
    scene.join_with(B, 10, KEYED);
    assert_eq!(scene.offsets(11), [0]);
    scene.ack(10, 1, 12);
    scene.ack(10, 0, 13);
    assert_eq!(scene.offsets(14), [2], "and the next goes in its place");
    scene.ack(10, 2, 15);
    scene.commit(15);
    assert_eq!(scene.cursor(), DueKey::new(10, 2));
    assert_eq!(scene.group.waiting(), 0);
}

#[test]
fn keys_are_read_once_and_lanes_hold_more_than_a_page_of_them() {
    let mut scene = Scene::new();
    scene.join_with(A, 4, KEYED);
    let keys: Vec<_> = (0..5_000).map(|n| n % 3).collect();
    scene.publish_with_keys(10, &keys);
    for round in 0..2_000 {
        for offset in scene.offsets(10 + round) {
            scene.ack(10, offset, 10 + round);
        }
    }
    scene.commit(3_000);
    assert_eq!(scene.cursor(), DueKey::new(10, 4_999));
    assert_eq!(scene.known.looked.get(), 5_000);
}

#[test]
fn a_member_that_takes_batches_has_longer_turns() {
    let mut scene = Scene::new();
    let wish = Wish {
        key_order: false,
        stride: 3,
    };
    scene.join_with(A, 5, wish);
    scene.join(B, 10);
    scene.publish(10, 10);
    let sent: Vec<_> = (scene.dispatch(10).into_iter())
        .map(|(session, ..)| session)
        .collect();
    assert_eq!(sent, [A, A, A, B, A, A, B, B, B, B]);
}

#[test]
fn a_run_of_answers_is_one_stretch_and_gives_the_credit_back() {
    let mut scene = Scene::new();
    scene.join(A, 1_000);
    scene.publish(10, 1_000);
    assert_eq!(scene.dispatch(10).len(), 1_000);
    let run = |first, count| AckRun {
        first: DueKey::new(10, first),
        count,
        attempt: 1,
    };
    let horizon = scene.partition.horizon();
    scene.group.answer_run(run(0, 500), horizon, 11);
    scene.group.answer_run(run(500, 500), horizon, 11);
    // Again, and beyond what there is: nothing happens.
    scene.group.answer_run(run(990, 100), horizon, 11);
    let settle = scene.group.take_settle().unwrap();
    assert_eq!(settle.stretches.len(), 1);
    assert_eq!(settle.stretches[0].1, DueKey::new(10, 999));
    assert_eq!(scene.group.in_flight(), 0);
    scene.publish(20, 1_000);
    assert_eq!(scene.dispatch(20).len(), 1_000);
}

#[test]
fn a_run_of_answers_after_a_restart_settles_what_was_processed() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 5);
    scene.dispatch(10);
    scene.restart();
    let run = AckRun {
        first: DueKey::new(10, 1),
        count: 3,
        attempt: 1,
    };
    let horizon = scene.partition.horizon();
    scene.group.answer_run(run, horizon, 20);
    scene.join(B, 10);
    assert_eq!(scene.offsets(21), [0, 4]);
}

#[test]
fn an_expired_event_is_settled_once_and_only_by_the_delivery_that_found_out() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 2);
    scene.dispatch(10);
    let (horizon, key) = (scene.partition.horizon(), DueKey::new(10, 0));
    assert!(!scene.group.expired(key, 2, horizon, 11), "another attempt");
    assert!(scene.group.expired(key, 1, horizon, 11));
    assert!(!scene.group.expired(key, 1, horizon, 11), "again");
    scene.commit(12);
    assert_eq!(scene.cursor(), key);
    assert_eq!(scene.group.in_flight(), 1);
}

/// Messages that were held by a consumer without credit were stuck for ever in other brokers.
#[test]
fn events_held_back_for_want_of_credit_go_when_there_is_some() {
    let mut scene = Scene::new();
    scene.join(A, 1);
    scene.publish(10, 3);
    assert_eq!(scene.offsets(10), [0]);
    assert!(scene.offsets(1_000_000).is_empty(), "no credit");
    assert_eq!(scene.group.waiting(), 2);
    scene.join(B, 1);
    assert_eq!(scene.dispatch(1_000_001), [(B, 1, 1)]);
    scene.group.leave(A);
    scene.ack(10, 1, 1_000_002);
    assert_eq!(scene.offsets(1_000_003), [0]);
    scene.answer(10, 0, 2, true, 1_000_004);
    assert_eq!(scene.offsets(1_000_004), [2]);
}

/// apache/pulsar#14721: an event was delivered a tick early, and out of order.
#[test]
fn nothing_is_handed_out_a_tick_before_its_time() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    for (first_offset, due_ms) in [(0, 100), (1, 101), (2, 103)] {
        let run = partition::Run {
            topic: 0,
            due_ms,
            first_offset,
            count: 1,
            ready_ms: due_ms,
        };
        // Released ahead of its time, as the horizon runs ahead of the clock.
        scene.feed.release([run], DueKey::new(due_ms, first_offset));
    }
    for (now_ms, offsets) in [(99, vec![]), (100, vec![0]), (101, vec![1]), (102, vec![])] {
        assert_eq!(scene.offsets(now_ms), offsets, "at {now_ms}");
    }
    assert_eq!(scene.group.next_wake_ms(), Some(103));
    assert_eq!(scene.offsets(103), [2]);
}
