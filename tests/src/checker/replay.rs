//! C10: a replay returns everything acknowledged in its range, once, in the order of the log, and
//! the same when it is repeated.

use std::collections::{HashMap, HashSet};

use crate::history::{Outcome, Replay, ReplayRange, Seen};

use super::index::At;
use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut earlier: HashMap<(i32, ReplayRange), &At<'_, Replay>> = HashMap::new();
    for replay in &index.replays {
        violations.extend(shape(replay));
        if replay.record.outcome != Outcome::Ok {
            continue;
        }
        violations.extend(missing(index, replay));
        let before = earlier.insert((replay.op.partition, replay.op.range), replay);
        violations.extend(before.and_then(|before| changed(before, replay)));
    }
    violations
}

fn shape(replay: &At<'_, Replay>) -> Option<Violation> {
    let events = &replay.op.events;
    let disorder = events
        .windows(2)
        .find(|pair| pair[0].offset >= pair[1].offset);
    if let Some(pair) = disorder {
        let what = format!("offset {} followed {}", pair[1].offset, pair[0].offset);
        return Some(violation(what, &[replay.line]));
    }
    let outside = events.iter().find(|event| {
        event.partition != replay.op.partition
            || !within(replay.op.range, event.offset, event.schedule_ts)
    });
    if let Some(event) = outside {
        let what = format!("{:?} lies outside {:?}", event.id, replay.op.range);
        return Some(violation(what, &[replay.line]));
    }
    None
}

fn missing(index: &Index<'_>, replay: &At<'_, Replay>) -> Option<Violation> {
    let ids: HashSet<&str> = replay
        .op
        .events
        .iter()
        .map(|event| event.id.as_str())
        .collect();
    let offsets: HashSet<i64> = replay.op.events.iter().map(|event| event.offset).collect();
    let expected = index.stored.iter().filter(|it| {
        it.partition == replay.op.partition && it.known.t_ret_us <= replay.record.t_inv_us
    });
    for event in expected {
        let publish = event.publish.op;
        let (asked, found) = match event.offset {
            Some(offset) => (
                within(replay.op.range, offset, publish.schedule_ts),
                offsets.contains(&offset),
            ),
            // Without an offset only a range over everything, or over times, must hold it.
            None => (
                match replay.op.range {
                    ReplayRange::Offsets { start, count } => {
                        start == 0 && (replay.op.events.len() as i64) < count
                    }
                    ReplayRange::Times { .. } => within(replay.op.range, 0, publish.schedule_ts),
                },
                ids.contains(publish.id.as_str()),
            ),
        };
        if asked && !found {
            let what = format!(
                "{:?} ({:?}) is missing from a replay",
                publish.id, event.offset
            );
            return Some(violation(what, &[event.publish.line, replay.line]));
        }
    }
    None
}

fn changed(before: &At<'_, Replay>, after: &At<'_, Replay>) -> Option<Violation> {
    let same = |event: &Seen| after.op.events.contains(event);
    let gone = match after.op.range {
        ReplayRange::Offsets { .. } => !after.op.events.starts_with(&before.op.events),
        ReplayRange::Times { .. } => !before.op.events.iter().all(same),
    };
    gone.then(|| {
        violation(
            "a repeated replay differs".to_string(),
            &[before.line, after.line],
        )
    })
}

fn within(range: ReplayRange, offset: i64, schedule_ts: i64) -> bool {
    match range {
        ReplayRange::Offsets { start, count } => {
            offset >= start && offset < start.saturating_add(count)
        }
        ReplayRange::Times { start_ms, end_ms } => (start_ms..=end_ms).contains(&schedule_ts),
    }
}

fn violation(message: String, evidence: &[usize]) -> Violation {
    Violation {
        rule: Rule::Replay,
        message,
        evidence: evidence.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn everything_once_in_order() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .publish("b", 90_000)
            .replay_of(&["a", "b"])
            .replay_of(&["a", "b"]);
        it.publish("c", 0).replay_of(&["a", "b", "c"]).clean();
    }

    #[test]
    fn one_missing_at_the_end() {
        let mut it = Scenario::bare();
        it.publish("a", 0).publish("b", 0).replay_of(&["a"]);
        it.breaks(Rule::Replay);
    }

    #[test]
    fn one_missing_in_a_range_of_times() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .publish("b", 500)
            .publish("c", 900)
            .replay_times(&["c"], 400, 1_000);
        it.breaks(Rule::Replay);
    }

    #[test]
    fn one_outside_a_range_of_times() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .publish("b", 500)
            .replay_times(&["a", "b"], 400, 1_000);
        it.breaks(Rule::Replay);
    }

    #[test]
    fn one_twice() {
        let mut it = Scenario::bare();
        it.publish("a", 0).replay_of(&["a", "a"]);
        it.breaks(Rule::Replay);
    }

    #[test]
    fn a_broken_off_replay_owes_nothing() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .publish("b", 0)
            .replay_broken_off(&["a"])
            .clean();
    }
}
