//! What holds after every entry, whatever it brought.

use super::Effects;
use crate::types::DueKey;

/// Checks what came of an entry. `next_offset` is the partition's before the entry.
///
/// - The horizon never moves back.
/// - Nothing is added to the due order at or below the horizon before the entry, so the order up to
///   a horizon never changes once it is reached.
/// - What is due on arrival is released by its own entry; what is due later is not.
/// - Nothing may be delivered later than it is due.
/// - Each accepted event has one due key, and the offsets leave no gap.
pub(super) fn check(effects: &Effects, next_offset: u64) {
    assert!(
        effects.horizon >= effects.horizon_before,
        "the horizon moved back"
    );

    let mut offsets = Vec::new();
    for timer in &effects.timers {
        let key = DueKey::new(timer.due_ms, timer.offset);
        assert!(key > effects.horizon, "{key:?} is a timer, but released");
        offsets.push(timer.offset);
    }
    for run in &effects.runs {
        assert!(
            run.first() > effects.horizon_before,
            "{run:?} is below the horizon"
        );
        assert!(
            run.last() <= effects.horizon,
            "{run:?} is due, but not released"
        );
        assert!(run.ready_ms <= run.due_ms, "{run:?} waits though it is due");
        offsets.extend(run.first_offset..run.first_offset + run.count);
    }
    let in_order = |runs: &[super::Run]| runs[0].last() < runs[1].first();
    assert!(
        effects.runs.windows(2).all(in_order),
        "runs out of due order"
    );

    offsets.sort_unstable();
    let end = next_offset + offsets.len() as u64;
    assert!(
        offsets.into_iter().eq(next_offset..end),
        "offsets leave a gap"
    );
    let in_batch = effects.batch.as_ref().map_or(0, |batch| batch.count());
    assert_eq!(
        end - next_offset,
        in_batch,
        "events without a place in the log"
    );
}
