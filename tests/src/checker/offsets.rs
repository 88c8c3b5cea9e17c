//! C7: an offset names one event for ever, grows in the order of publishes, and leaves no hole.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Outcome, Publish, ReplayRange, Reply};

use super::index::At;
use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = named_twice(index);
    violations.extend(out_of_order(index));
    violations.extend(holes(index));
    violations
}

fn named_twice(index: &Index<'_>) -> Vec<Violation> {
    let mut names: HashMap<(i32, i64), (&str, usize, bool)> = HashMap::new();
    let mut violations = Vec::new();
    let published = published(index)
        .map(|(partition, offset, at)| ((partition, offset), at.op.id.as_str(), at.line, true));
    let seen = index.sightings().map(|(event, line, _)| {
        (
            (event.partition, event.offset),
            event.id.as_str(),
            line,
            false,
        )
    });
    for (position, id, line, told) in published.chain(seen) {
        match names.get(&position) {
            None => {
                names.insert(position, (id, line, told));
            }
            Some((other, earlier, other_told)) if *other != id || (told && *other_told) => {
                violations.push(Violation {
                    rule: Rule::Offsets,
                    message: format!("{}/{} names {other:?} and {id:?}", position.0, position.1),
                    evidence: vec![*earlier, line],
                });
            }
            Some(_) => {}
        }
    }
    violations
}

fn out_of_order(index: &Index<'_>) -> Vec<Violation> {
    let mut partitions: BTreeMap<i32, Vec<(i64, At<'_, Publish>)>> = BTreeMap::new();
    for (partition, offset, at) in published(index) {
        partitions.entry(partition).or_default().push((offset, at));
    }
    let mut violations = Vec::new();
    for publishes in partitions.values_mut() {
        let mut by_return = publishes.clone();
        by_return.sort_by_key(|(_, at)| at.record.t_ret_us);
        publishes.sort_by_key(|(_, at)| at.record.t_inv_us);
        let mut returned = by_return.into_iter().peekable();
        let mut greatest: Option<(i64, usize)> = None;
        for (offset, at) in publishes.iter() {
            while let Some((done, it)) =
                returned.next_if(|(_, it)| it.record.t_ret_us < at.record.t_inv_us)
            {
                greatest = greatest.max(Some((done, it.line)));
            }
            if let Some((earlier, line)) = greatest
                && earlier >= *offset
            {
                violations.push(Violation {
                    rule: Rule::Offsets,
                    message: format!("offset {offset} was given out after {earlier}"),
                    evidence: vec![line, at.line],
                });
            }
        }
    }
    violations
}

fn holes(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for replay in &index.replays {
        let ReplayRange::Offsets { start, .. } = replay.op.range else {
            continue;
        };
        let offsets = replay.op.events.iter().map(|event| event.offset);
        let hole = offsets
            .enumerate()
            .find(|(at, offset)| *offset > start + *at as i64);
        if let (Some((at, offset)), Outcome::Ok) = (hole, replay.record.outcome) {
            violations.push(Violation {
                rule: Rule::Offsets,
                message: format!("offset {} is missing before {offset}", start + at as i64),
                evidence: vec![replay.line],
            });
        }
    }
    violations
}

/// Every offset that a reply named.
fn published<'h>(index: &Index<'h>) -> impl Iterator<Item = (i32, i64, At<'h, Publish>)> {
    index
        .publishes
        .values()
        .flatten()
        .filter_map(|at| match at.op.reply {
            Some(Reply::Stored {
                partition,
                offset: Some(offset),
            }) => Some((partition, offset, *at)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn an_offset_given_out_twice() {
        let mut it = Scenario::bare();
        it.publish("a", 0).offset_is(0).publish("b", 0);
        it.breaks(Rule::Offsets);
    }

    #[test]
    fn an_offset_given_out_of_order() {
        let mut it = Scenario::bare();
        it.offset_is(5)
            .publish("a", 0)
            .pass_ms(1)
            .offset_is(2)
            .publish("b", 0);
        it.breaks(Rule::Offsets);
    }

    #[test]
    fn an_offset_that_changes_its_event() {
        let mut it = Scenario::bare();
        it.publish_unknown("a").publish_unknown("b");
        it.replay_of(&["a"]).replay_of(&["b"]);
        it.breaks_among(&[Rule::Offsets, Rule::Replay]);
    }

    #[test]
    fn a_hole() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .offset_is(2)
            .publish("b", 0)
            .replay_of(&["a", "b"]);
        it.breaks(Rule::Offsets);
    }

    #[test]
    fn offsets_in_order() {
        let mut it = Scenario::bare();
        it.publish("a", 0)
            .publish("b", 0)
            .replay_of(&["a", "b"])
            .clean();
    }
}
