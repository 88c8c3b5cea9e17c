//! The wheel against a sorted set, and its memory.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// `(due_ms, offset, topic)`: a set of these is the wheel's model.
type Model = BTreeSet<(i64, u64, u32)>;

#[derive(Clone, Debug)]
enum Step {
    Insert { due_ms: i64 },
    InsertAfter { delay_ms: i64 },
    Expire { upto_ms: i64 },
    Pass { millis: i64 },
    Clear,
}

/// Times near every boundary at which the wheel does something different.
fn extreme_ms() -> impl Strategy<Value = i64> {
    let around = |centre: i64| (-3_i64..=3).prop_map(move |by| centre.saturating_add(by));
    prop_oneof![
        around(i64::MIN),
        around(i64::MAX),
        around(0),
        around(1 << 32),
        around(-(1 << 32)),
        around(i64::from(u32::MAX) << 31),
        any::<i64>(),
    ]
}

/// Spans that exercise each level.
fn span_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        0_i64..3,
        0_i64..300,
        0_i64..20_000,
        0_i64..2_000_000,
        0_i64..100_000_000,
        0_i64..6_000_000_000,
        (0_u32..40, -1_i64..=1).prop_map(|(bit, by)| ((1_i64 << bit) + by).max(0)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => span_ms().prop_map(|delay_ms| Step::InsertAfter { delay_ms }),
        5 => (-10_000_i64..0).prop_map(|delay_ms| Step::InsertAfter { delay_ms }),
        5 => extreme_ms().prop_map(|due_ms| Step::Insert { due_ms }),
        30 => span_ms().prop_map(|millis| Step::Pass { millis }),
        3 => (-5_000_i64..0).prop_map(|millis| Step::Pass { millis }),
        1 => extreme_ms().prop_map(|upto_ms| Step::Expire { upto_ms }),
        1 => Just(Step::Clear),
    ]
}

fn start_ms() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1_700_000_000_000_i64..1_800_000_000_000, 1 => extreme_ms()]
}

/// Takes what is due at `upto_ms` out of the model.
fn expire_model(model: &mut Model, upto_ms: i64) -> Vec<(i64, u64, u32)> {
    let (due, rest) = std::mem::take(model)
        .into_iter()
        .partition(|timer| timer.0 <= upto_ms);
    *model = rest;
    let due: Model = due;
    due.into_iter().collect()
}

fn run(start_ms: i64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut wheel = Wheel::new(start_ms);
    let mut model = Model::new();
    let mut position_ms = start_ms;
    let mut out = Vec::new();

    for (number, step) in steps.into_iter().enumerate() {
        // Offsets that do not rise, so that the order within a millisecond is the wheel's own work.
        let offset = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let topic = number as u32;
        let upto_ms = match step {
            Step::Insert { due_ms } => {
                wheel.insert(Timer {
                    due_ms,
                    topic,
                    offset,
                });
                model.insert((due_ms, offset, topic));
                None
            }
            Step::InsertAfter { delay_ms } => {
                let due_ms = position_ms.saturating_add(delay_ms);
                wheel.insert(Timer {
                    due_ms,
                    topic,
                    offset,
                });
                model.insert((due_ms, offset, topic));
                None
            }
            Step::Expire { upto_ms } => Some(upto_ms),
            Step::Pass { millis } => Some(position_ms.saturating_add(millis)),
            Step::Clear => {
                wheel.clear();
                model.clear();
                None
            }
        };
        if let Some(upto_ms) = upto_ms {
            out.clear();
            wheel.expire(upto_ms, &mut out);
            let expected = if upto_ms < position_ms {
                Vec::new()
            } else {
                expire_model(&mut model, upto_ms)
            };
            let actual: Vec<_> = out.iter().map(|t| (t.due_ms, t.offset, t.topic)).collect();
            prop_assert_eq!(actual, expected, "expire to {}", upto_ms);
            position_ms = position_ms.max(upto_ms);
        }
        prop_assert_eq!(wheel.len(), model.len());
        prop_assert_eq!(wheel.is_empty(), model.is_empty());
        prop_assert_eq!(wheel.position_ms(), position_ms);
        prop_assert_eq!(wheel.next_due_ms(), model.first().map(|timer| timer.0));
    }

    // Nothing is lost: the end of time brings out the rest.
    out.clear();
    wheel.expire(i64::MAX, &mut out);
    prop_assert_eq!(out.len(), model.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_sorted_set(
        start_ms in start_ms(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(start_ms, steps)?;
    }

    /// Follows `next_due_ms` from wake-up to wake-up as the leader does.
    #[test]
    fn waking_at_next_due_brings_each_timer_on_time(
        start_ms in start_ms(),
        delays_ms in prop::collection::vec(span_ms(), 1..100),
    ) {
        let mut wheel = Wheel::new(start_ms);
        for (offset, delay_ms) in delays_ms.iter().enumerate() {
            wheel.insert(Timer {
                due_ms: start_ms.saturating_add(*delay_ms),
                topic: 0,
                offset: offset as u64,
            });
        }
        let mut came = 0;
        let mut out = Vec::new();
        while let Some(due_ms) = wheel.next_due_ms() {
            out.clear();
            wheel.expire(due_ms, &mut out);
            prop_assert!(!out.is_empty());
            for timer in &out {
                prop_assert_eq!(timer.due_ms, due_ms);
            }
            came += out.len();
        }
        prop_assert_eq!(came, delays_ms.len());
    }
}

/// mxsm/rocketmq-rust#9154: a timer at the boundary of a tick was released before its time.
#[test]
fn a_timer_at_the_edge_of_any_slot_comes_at_its_millisecond_and_not_before() {
    for start_ms in [0, 1, 255, 1_763_000_000_123, -5_000_000_000] {
        for bit in 0..40 {
            for by in -1..=1 {
                // An edge of the slots of every level, and of the epochs.
                let edge_ms = ((start_ms >> bit) + 1) << bit;
                let due_ms = (edge_ms + by).max(start_ms + 1);
                let mut wheel = Wheel::new(start_ms);
                let timer = Timer {
                    due_ms,
                    topic: 0,
                    offset: 0,
                };
                wheel.insert(timer);
                let mut out = Vec::new();
                wheel.expire(due_ms - 1, &mut out);
                assert!(out.is_empty(), "{due_ms} from {start_ms} is early");
                assert_eq!(wheel.next_due_ms(), Some(due_ms));
                wheel.expire(due_ms, &mut out);
                assert_eq!(out, [timer], "{due_ms} from {start_ms}");
            }
        }
    }
}

#[test]
fn a_timer_inserted_twice_comes_out_twice() {
    let mut wheel = Wheel::new(0);
    let timer = Timer {
        due_ms: 1_000_000,
        topic: 1,
        offset: 7,
    };
    wheel.insert(timer);
    wheel.insert(timer);
    let mut out = Vec::new();
    wheel.expire(999_999, &mut out);
    assert!(out.is_empty());
    wheel.expire(1_000_000, &mut out);
    assert_eq!(out, [timer, timer]);
}

#[test]
fn expire_appends() {
    let mut wheel = Wheel::new(0);
    let early = Timer {
        due_ms: 5,
        topic: 0,
        offset: 9,
    };
    let later = Timer {
        due_ms: 6,
        topic: 0,
        offset: 1,
    };
    wheel.insert(later);
    wheel.insert(early);
    let mut out = vec![later];
    wheel.expire(10, &mut out);
    assert_eq!(out, [later, early, later]);
}

#[test]
fn levels_reach_beyond_forty_days() {
    let mut wheel = Wheel::new(0);
    for offset in 0..10_000 {
        wheel.insert(Timer {
            due_ms: 40 * 86_400_000,
            topic: 0,
            offset,
        });
    }
    assert!(wheel.epochs.is_empty());
}

/// Fills a wheel with `count` timers spread evenly over `span_ms`.
fn filled(count: u64, span_ms: u64) -> Wheel {
    let start_ms = 1_763_000_000_000;
    let mut wheel = Wheel::new(start_ms);
    for offset in 0..count {
        // A multiplicative hash spreads the due times without a random source.
        let spread = offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) % span_ms;
        wheel.insert(Timer {
            due_ms: start_ms + 1 + spread as i64,
            topic: 3,
            offset,
        });
    }
    wheel
}

#[test]
fn a_million_timers_take_little_memory() {
    for span_ms in [
        1,
        1_000,
        60_000,
        3_600_000,
        30 * 86_400_000,
        90 * 86_400_000,
    ] {
        let count = 1_000_000;
        let bytes_each = filled(count, span_ms).bytes() as f64 / count as f64;
        assert!(
            bytes_each <= 24.0,
            "{bytes_each:.1} bytes for each timer over {span_ms} ms"
        );
    }
    let count = 1_000;
    let bytes = filled(count, 3_600_000).bytes();
    assert!(bytes <= 400_000, "{bytes} bytes for {count} timers");
}

#[test]
fn memory_is_given_back_after_a_burst() {
    let mut wheel = filled(500_000, 3_600_000);
    let mut out = Vec::new();
    wheel.expire(wheel.position_ms() + 1_800_000, &mut out);
    wheel.expire(i64::MAX, &mut out);
    assert_eq!(out.len(), 500_000);
    assert!(
        wheel.bytes() < 200_000,
        "{} bytes held by an empty wheel",
        wheel.bytes()
    );
}
