//! Scenarios of pauses that the random lives do not have: redriven letters, and waking up.

use super::tests::{A, Scene};
use super::*;
use crate::delivery::{Pause, WhilePaused};
use chronos_core::partition::dead_letters::Redriven;
use std::sync::atomic::{AtomicU64, Ordering};

fn paused(mode: WhilePaused) -> Pause {
    Pause {
        whole: Some(mode),
        topics: Vec::new(),
    }
}

/// The letter of an event that failed three times.
fn letter(due_ms: i64, offset: u64) -> (u64, Redriven) {
    let redriven = Redriven {
        key: DueKey::new(due_ms, offset),
        attempts: 3,
        failures: 0,
        first_ms: due_ms,
        redrives: 1,
    };
    (offset, redriven)
}

#[test]
fn a_redriven_letter_is_held_where_events_are_dropped() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 1);
    scene.dispatch(10);
    scene.answer(10, 0, 1, true, 10);
    scene.group.redrive([letter(10, 0)]);
    let counter = Arc::new(AtomicU64::new(0));
    scene
        .group
        .pause(paused(WhilePaused::Drop(Arc::clone(&counter))));
    scene.publish(20, 5);
    assert!(scene.dispatch(20).is_empty());
    assert_eq!(scene.group.take_counts().dropped, 5);
    assert_eq!(counter.load(Ordering::Relaxed), 5);
    scene.group.pause(Pause::default());
    assert_eq!(scene.dispatch(21), [(A, 0, 4)]);
    scene.commit(22);
    assert_eq!(scene.cursor(), DueKey::new(20, 5));
}

#[test]
fn a_held_group_does_not_wake_for_what_it_may_not_hand_out() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 2);
    scene.dispatch(10);
    scene.answer(10, 0, 1, false, 20);
    scene.group.pause(paused(WhilePaused::Hold));
    assert!(scene.dispatch(5_000).is_empty());
    let deadline_ms = 10 + 30_000;
    assert_eq!(scene.group.next_wake_ms(), Some(deadline_ms), "in flight");
    scene.publish(5_000, 1);
    scene.group.pause(Pause::default());
    assert_eq!(scene.dispatch(6_000), [(A, 0, 2), (A, 2, 1)]);
}

/// A letter that was answered kept its key for ever.
#[test]
fn a_redriven_letter_lets_the_next_of_its_key_go() {
    let mut scene = Scene::new();
    let wish = Wish {
        key_order: true,
        stride: 1,
    };
    (scene.group).join_with(A, Arc::new(Credit::new(10)), wish);
    scene.known.keys.extend([(0, 7), (1, 7)]);
    scene.publish(10, 1);
    scene.dispatch(10);
    scene.answer(10, 0, 1, true, 10);
    scene.group.redrive([letter(10, 0)]);
    assert_eq!(scene.dispatch(11), [(A, 0, 4)]);
    scene.publish(20, 1);
    assert!(scene.dispatch(20).is_empty(), "one of a key at a time");
    assert_eq!(scene.answer(10, 0, 4, true, 21), AckOutcome::Settled);
    assert_eq!(scene.dispatch(21), [(A, 1, 1)]);
}
