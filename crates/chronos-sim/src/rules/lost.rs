//! C2: what was accepted is in the log; what fell due was settled by every group it is for, after a
//! delivery that was answered, or is a dead letter.

use super::{Evidence, Rule};
use crate::history::Outcome;
use std::collections::BTreeSet;

/// A delivery that is younger at the end of a run may have been answered, and the answer not be
/// written down yet, microseconds.
const LATELY_US: i64 = 10_000_000;

pub(super) fn check(evidence: &Evidence<'_>) {
    let model = evidence.model;
    for call in &evidence.records.publishes {
        let Outcome::Done(published) = &call.outcome else {
            continue;
        };
        let accepted = (0..).zip(&call.events);
        let accepted = accepted.filter(|(slot, _)| !published.duplicates.contains(slot));
        for (offset, (_, event)) in (published.first_offset..).zip(accepted) {
            let stored = model.events.get(offset as usize);
            if stored.is_none_or(|stored| stored.body != event.body) {
                evidence.verdict.add(
                    Rule::Lost,
                    format!(
                        "{} was accepted as event {offset}, where the log has {stored:?}",
                        event.id
                    ),
                );
            }
        }
    }
    let answered: BTreeSet<(&str, u64)> = (evidence.records.answers.iter())
        .filter(|answer| answer.success && answer.outcome != Outcome::Refused)
        .map(|answer| (answer.group.as_str(), answer.key.offset))
        .collect();
    let lately_us = evidence.ended_us - LATELY_US;
    let under_way: BTreeSet<(&str, u64)> = (evidence.records.deliveries.iter())
        .filter(|delivery| delivery.sent_us > lately_us)
        .map(|delivery| (delivery.group.as_str(), delivery.key.offset))
        .collect();
    for group in &model.groups {
        for (offset, event) in (0..).zip(&model.events) {
            let Some(key) = model.key_of(offset).filter(|key| *key <= model.horizon()) else {
                continue;
            };
            if !group.is_for(event, offset) || key <= group.began {
                continue;
            }
            let name = group.created.name.as_str();
            let is_known = answered.contains(&(name, offset))
                || group.dead.contains(&offset)
                || under_way.contains(&(name, offset));
            if group.has_settled(key) && !is_known {
                evidence.verdict.add(
                    Rule::Lost,
                    format!("group {name} has settled event {offset} at {key:?}, but nobody got it and said so"),
                );
            }
        }
    }
}
