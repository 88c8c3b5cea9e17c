//! Scenarios of one group, without a server.

use super::known::Known;
use super::*;
use chronos_core::command::create_group::{CreateGroup, Start};
use chronos_core::command::publish::{Builder, NewEvent};
use chronos_core::command::{self, Kind};
use chronos_core::partition::{LogPosition, Outcome, Partition};
use chronos_core::store::MemoryStore;

const POLICY: Policy = Policy {
    ack_timeout: Duration::from_secs(30),
    most_attempts: 3,
    backoff: super::Backoff {
        first: Duration::from_secs(1),
        factor: None,
        most: None,
        jitter: 0,
    },
};
pub(super) const A: SessionId = SessionId(1);
pub(super) const B: SessionId = SessionId(2);

/// A partition with one topic and one group, and the group's deliveries.
pub(super) struct Scene {
    pub(super) partition: Partition<MemoryStore>,
    pub(super) feed: Feed<MemoryStore>,
    pub(super) group: Group,
    pub(super) known: Known,
    index: u64,
}

impl Scene {
    pub(super) fn new() -> Self {
        let mut partition = Partition::open(0, MemoryStore::new()).unwrap();
        let mut builder = command::Builder::new(64);
        let create = CreateGroup {
            name: "g".into(),
            topic: Some("t".into()),
            start: Start::Unclaimed,
            is_waited_for: true,
        };
        builder.push(Kind::CreateGroup, &create.encode());
        partition
            .apply(LogPosition { term: 1, index: 0 }, &builder.finish(0, 0, 1))
            .unwrap();
        let feed = Feed::new(0, MemoryStore::new(), partition.horizon());
        let group = Group::new(0, &partition.groups()[0], POLICY);
        Self {
            partition,
            feed,
            group,
            known: Known::default(),
            index: 0,
        }
    }

    fn apply(
        &mut self,
        builder: command::Builder,
        now_ms: i64,
    ) -> chronos_core::partition::Effects {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        self.partition
            .apply(position, &builder.finish(now_ms, 0, 1))
            .unwrap()
    }

    /// Publishes `count` events that are due at once.
    pub(super) fn publish(&mut self, now_ms: i64, count: usize) {
        let mut events = Builder::new(count, 64);
        for n in 0..count {
            let body = format!("{}-{n}t", self.index);
            let len = body.len() as u32;
            events.push(NewEvent {
                schedule_ms: now_ms,
                body: body.as_bytes(),
                id: (0, (len - 1) as u8),
                topic: (len - 1, 1),
                allow_duplicate: false,
            });
        }
        let mut builder = command::Builder::new(64);
        builder.push(Kind::Publish, &events.finish(1_000_000));
        let effects = self.apply(builder, now_ms);
        self.feed.release(effects.runs, effects.horizon);
    }

    pub(super) fn join(&mut self, session: SessionId, credit: u32) {
        self.group.join(session, Arc::new(Credit::new(credit)));
    }

    pub(super) fn dispatch(&mut self, now_ms: i64) -> Vec<(SessionId, u64, u32)> {
        let mut sent = Vec::new();
        let topics = self.partition.topics().len();
        self.group
            .dispatch(
                now_ms,
                &self.feed,
                topics,
                &self.known,
                &mut |session, dispatch| {
                    sent.push((session, dispatch.key.offset, dispatch.attempt));
                },
            )
            .unwrap();
        sent
    }

    pub(super) fn answer(
        &mut self,
        due_ms: i64,
        offset: u64,
        attempt: u32,
        success: bool,
        now_ms: i64,
    ) -> AckOutcome {
        let ack = Ack {
            key: DueKey::new(due_ms, offset),
            attempt,
            success,
            reason: "because".into(),
        };
        self.group.answer(ack, self.partition.horizon(), now_ms)
    }

    /// Puts progress through the state machine, as the driver does.
    pub(super) fn commit(&mut self, now_ms: i64) {
        if let Some(settle) = self.group.take_settle() {
            let mut builder = command::Builder::new(64);
            builder.push(Kind::Settle, &settle.encode());
            let effects = self.apply(builder, now_ms);
            assert_eq!(effects.outcomes, [Outcome::Settled]);
        }
    }

    pub(super) fn cursor(&self) -> DueKey {
        self.partition.groups()[0].settled.cursor()
    }

    /// The deliveries as a new leader builds them from the state machine.
    pub(super) fn restart(&mut self) {
        self.feed = Feed::new(0, self.partition.store().clone(), self.partition.horizon());
        self.group = Group::new(0, &self.partition.groups()[0], POLICY);
    }
}

#[test]
fn members_share_in_turn_and_never_beyond_their_credit() {
    let mut scene = Scene::new();
    scene.join(A, 2);
    scene.join(B, 3);
    scene.publish(10, 10);
    let sent = scene.dispatch(10);
    assert_eq!(
        sent,
        [(A, 0, 1), (B, 1, 1), (A, 2, 1), (B, 3, 1), (B, 4, 1)]
    );
    assert_eq!(scene.answer(10, 1, 1, true, 11), AckOutcome::Settled);
    assert_eq!(scene.dispatch(11), [(B, 5, 1)]);
    assert_eq!((scene.group.in_flight(), scene.group.waiting()), (5, 4));
}

#[test]
fn events_wait_while_nobody_is_there() {
    let mut scene = Scene::new();
    scene.publish(10, 2);
    assert_eq!(scene.dispatch(10), []);
    scene.publish(20, 1);
    scene.join(A, 10);
    assert_eq!(scene.dispatch(30), [(A, 0, 1), (A, 1, 1), (A, 2, 1)]);
}

#[test]
fn answers_out_of_order_move_the_cursor_only_over_what_is_settled() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 3);
    scene.dispatch(10);
    scene.answer(10, 2, 1, true, 11);
    scene.answer(10, 1, 1, true, 11);
    scene.commit(11);
    assert!(scene.cursor() < DueKey::new(10, 0));
    scene.answer(10, 0, 1, true, 12);
    scene.commit(12);
    assert_eq!(scene.cursor(), DueKey::new(10, 2));
    scene.restart();
    scene.join(B, 10);
    assert_eq!(scene.dispatch(20), []);
}

#[test]
fn the_cursor_follows_also_when_there_was_nothing_to_read_for_a_while() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    for now_ms in [10, 20, 30] {
        scene.publish(now_ms, 1);
        let sent = scene.dispatch(now_ms);
        assert_eq!(sent.len(), 1);
        scene.answer(now_ms, sent[0].1, 1, true, now_ms + 1);
        scene.commit(now_ms + 1);
        // An empty look at the feed, with the horizon beyond the last event.
        let horizon = scene.partition.horizon();
        scene.feed.release([], horizon);
        assert_eq!(scene.dispatch(now_ms + 2), []);
        assert_eq!(scene.cursor(), DueKey::new(now_ms, sent[0].1));
        assert!(scene.partition.groups()[0].settled.is_empty());
    }
}

#[test]
fn after_a_restart_only_what_is_open_is_delivered_again() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 4);
    scene.dispatch(10);
    scene.answer(10, 1, 1, true, 11);
    scene.answer(10, 3, 1, true, 11);
    scene.commit(11);
    scene.restart();
    scene.join(B, 10);
    assert_eq!(scene.dispatch(20), [(B, 0, 1), (B, 2, 1)]);
    scene.answer(10, 0, 1, true, 21);
    scene.answer(10, 2, 1, true, 21);
    scene.commit(21);
    assert_eq!(scene.cursor(), DueKey::new(10, 3));
}

#[test]
fn a_failed_delivery_comes_back_later_and_at_last_is_a_dead_letter() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 2);
    scene.dispatch(10);
    assert_eq!(scene.answer(10, 0, 1, false, 100), AckOutcome::Retry);
    assert_eq!(scene.group.next_wake_ms(), Some(1_100));
    assert_eq!(scene.dispatch(1_099), []);
    assert_eq!(scene.dispatch(1_100), [(A, 0, 2)]);
    assert_eq!(scene.answer(10, 0, 1, false, 1_200), AckOutcome::Stale);
    assert_eq!(scene.answer(10, 0, 2, false, 1_200), AckOutcome::Retry);
    assert_eq!(scene.dispatch(3_199), []);
    assert_eq!(scene.dispatch(3_200), [(A, 0, 3)]);
    assert_eq!(scene.answer(10, 0, 3, false, 3_300), AckOutcome::Dead);
    scene.commit(3_300);
    let group = &scene.partition.groups()[0];
    assert_eq!(
        (group.next_dead, group.failures.len(), scene.cursor()),
        (1, 0, DueKey::new(10, 0))
    );
    assert_eq!(scene.dispatch(60_000), []);
    assert_eq!(
        scene.group.take_counts(),
        Counts {
            dropped: 0,
            retried: 2,
            timed_out: 0,
            dead: 1
        }
    );
}

#[test]
fn failures_are_remembered_over_a_restart() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 1);
    scene.dispatch(10);
    scene.answer(10, 0, 1, false, 11);
    scene.commit(11);
    scene.restart();
    scene.join(A, 10);
    assert_eq!(scene.dispatch(20), [(A, 0, 2)]);
}

#[test]
fn an_unanswered_delivery_fails_after_the_timeout() {
    let mut scene = Scene::new();
    scene.join(A, 1);
    scene.publish(10, 1);
    scene.dispatch(10);
    scene.group.expire(30_009);
    assert_eq!(scene.group.in_flight(), 1);
    scene.group.expire(30_010);
    assert_eq!(
        (scene.group.in_flight(), scene.group.take_counts().timed_out),
        (0, 1)
    );
    assert_eq!(scene.dispatch(31_010), [(A, 0, 2)]);
    // The answer to the first delivery says that the event was processed.
    assert_eq!(scene.answer(10, 0, 1, true, 31_020), AckOutcome::Settled);
    assert_eq!(scene.group.in_flight(), 0);
}

#[test]
fn what_a_gone_member_held_goes_to_the_others_and_does_not_count_as_a_failure() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 3);
    scene.dispatch(10);
    scene.answer(10, 1, 1, true, 11);
    for _ in 0..5 {
        scene.group.leave(A);
        scene.join(A, 10);
        scene.dispatch(12);
    }
    scene.group.leave(A);
    scene.join(B, 10);
    assert_eq!(scene.dispatch(13), [(B, 0, 7), (B, 2, 7)]);
    assert_eq!(scene.group.take_counts().dead, 0);
}

#[test]
fn a_late_answer_settles_an_event_that_was_not_delivered_again_yet() {
    let mut scene = Scene::new();
    scene.join(A, 10);
    scene.publish(10, 3);
    scene.dispatch(10);
    scene.restart();
    // Before anything is read, and once more for an event that waits in the ready queue.
    assert_eq!(scene.answer(10, 1, 1, true, 20), AckOutcome::Settled);
    assert_eq!(scene.answer(10, 1, 1, true, 20), AckOutcome::Stale);
    scene.join(B, 1);
    assert_eq!(scene.dispatch(21), [(B, 0, 1)]);
    assert_eq!(scene.answer(10, 2, 1, true, 22), AckOutcome::Settled);
    scene.answer(10, 0, 1, true, 23);
    assert_eq!(scene.dispatch(24), []);
    scene.commit(24);
    assert_eq!(scene.cursor(), DueKey::new(10, 2));
    // What is not released cannot be settled.
    assert_eq!(scene.answer(99_999, 9, 1, true, 25), AckOutcome::Stale);
}

#[test]
fn stretches_that_touch_become_one() {
    let key = |n| DueKey::new(n, 0);
    let mut stretches = vec![
        (key(5), key(6)),
        (key(1), key(2)),
        (key(2), key(3)),
        (key(3), key(4)),
    ];
    merge(&mut stretches);
    assert_eq!(stretches, [(key(1), key(4)), (key(5), key(6))]);
}
