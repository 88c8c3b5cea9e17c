//! C6: an id is accepted once within its window, called a duplicate only when it was published
//! before, and is not poisoned by a publish that was refused.
//!
//! That the log refuses what it must refuse, and nothing else, is checked with every entry by
//! [`crate::oracle::Ledger`]. Here clients' answers are held against what they asked.

use super::{Evidence, Rule};
use crate::history::Outcome;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) {
    // When each id was first published by a call that was not refused.
    let mut first_us: BTreeMap<&str, Vec<(usize, i64)>> = BTreeMap::new();
    for (number, call) in evidence.records.publishes.iter().enumerate() {
        if call.outcome == Outcome::Refused {
            continue;
        }
        for event in call.events.iter().filter(|event| !event.allow_duplicate) {
            let calls = first_us.entry(&event.id).or_default();
            calls.push((number, call.span.invoked_us));
        }
    }
    for (number, call) in evidence.records.publishes.iter().enumerate() {
        let Outcome::Done(published) = &call.outcome else {
            continue;
        };
        for (slot, known) in published.duplicates.iter().zip(&published.known_offsets) {
            let Some(event) = call.events.get(*slot as usize) else {
                evidence
                    .verdict
                    .add(Rule::Dedup, format!("{call:?} has no event {slot}"));
                continue;
            };
            let same_batch = (call.events.iter().take(*slot as usize))
                .any(|other| other.id == event.id && !other.allow_duplicate);
            let published_before = first_us.get(event.id.as_str()).is_some_and(|calls| {
                calls
                    .iter()
                    .any(|(other, at_us)| *other != number && *at_us < call.span.returned_us)
            });
            if !same_batch && !published_before {
                evidence.verdict.add(
                    Rule::Dedup,
                    format!(
                        "{} was called a duplicate, but nobody published it before",
                        event.id
                    ),
                );
            }
            let stored = evidence.model.events.get(*known as usize);
            if stored.is_none_or(|stored| stored.id != event.id) {
                evidence.verdict.add(
                    Rule::Dedup,
                    format!(
                        "{} was called a duplicate of event {known}, which is {stored:?}",
                        event.id
                    ),
                );
            }
        }
    }
}
