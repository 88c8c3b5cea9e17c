//! What may happen in the life of a group.

use super::super::Wish;
use super::TOPICS;
use super::pauses::Mode;
use chronos_core::command::create_group::Start;
use proptest::prelude::*;
use proptest::sample::Index;

/// One group for each case.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) topic: Option<&'static str>,
    pub(super) start: Start,
    /// How far ahead of the clock the horizon goes, milliseconds.
    pub(super) ahead_ms: u32,
    /// Whether events have priorities.
    pub(super) priorities: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Events of a topic, scheduled so far from now, milliseconds.
    Publish {
        topic: usize,
        count: usize,
        from_now_ms: i64,
        /// Their keys and priorities are made of it.
        seed: u64,
    },
    Advance,
    Pass {
        millis: i64,
    },
    Join {
        credit: u32,
        wish: Wish,
    },
    Leave(Index),
    /// An answer to a delivery that waits for one.
    Answer {
        open: Index,
        success: bool,
    },
    /// An answer to any delivery there ever was.
    AnswerAny {
        delivery: Index,
        success: bool,
    },
    /// One answer to a delivery that waits for one, and to those of the following offsets.
    AnswerRun {
        open: Index,
        count: u64,
    },
    /// Progress goes towards the log.
    Propose,
    /// The oldest of it is applied.
    Commit,
    /// The group, or a topic of `TOPICS`, is paused, paused differently, or resumed.
    Pause {
        topic: Option<usize>,
        mode: Option<Mode>,
    },
    Restart,
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let start = prop_oneof![
        2 => Just(Start::Unclaimed),
        1 => Just(Start::Earliest),
        1 => (0_u64..12).prop_map(Start::Offset),
    ];
    let topic = prop::sample::select(vec![Some("t"), None]);
    let ahead_ms = prop_oneof![2 => Just(0_u32), 1 => 1_u32..30];
    (topic, start, ahead_ms, any::<bool>()).prop_map(|(topic, start, ahead_ms, priorities)| Plan {
        topic,
        start,
        ahead_ms,
        priorities,
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let from_now_ms = prop_oneof![3 => -20_i64..1, 2 => 0_i64..60, 1 => 0_i64..40_000];
    prop_oneof![
        8 => (0..TOPICS.len(), 1_usize..6, from_now_ms, any::<u64>())
            .prop_map(|(topic, count, from_now_ms, seed)| {
                Step::Publish { topic, count, from_now_ms, seed }
            }),
        3 => Just(Step::Advance),
        5 => prop_oneof![4 => 0_i64..60, 2 => 50_i64..700, 1 => 0_i64..30_000]
            .prop_map(|millis| Step::Pass { millis }),
        3 => (0_u32..6, prop::bool::weighted(0.4), 1_u32..4).prop_map(|(credit, key_order, stride)| {
            Step::Join { credit, wish: Wish { key_order, stride } }
        }),
        3 => (any::<Index>(), 1_u64..6)
            .prop_map(|(open, count)| Step::AnswerRun { open, count }),
        2 => any::<Index>().prop_map(Step::Leave),
        14 => (any::<Index>(), prop::bool::weighted(0.4))
            .prop_map(|(open, success)| Step::Answer { open, success }),
        5 => (any::<Index>(), prop::bool::weighted(0.7))
            .prop_map(|(delivery, success)| Step::AnswerAny { delivery, success }),
        5 => Just(Step::Propose),
        5 => Just(Step::Commit),
        3 => (
            prop::option::of(0..TOPICS.len()),
            prop::sample::select(vec![None, None, Some(Mode::Hold), Some(Mode::Drop)]),
        )
            .prop_map(|(topic, mode)| Step::Pause { topic, mode }),
        2 => Just(Step::Restart),
    ]
}
