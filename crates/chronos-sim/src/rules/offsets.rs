//! C7: an offset names one event, for clients and on every replica; what was answered before a call
//! began has lower offsets than what comes of it; offsets have no hole.

use super::{Evidence, Rule, Verdict};
use crate::history::Outcome;
use crate::node::{Process, read};
use crate::oracle::Model;

pub(super) fn check(evidence: &Evidence<'_>) {
    let mut done: Vec<(i64, i64, u64, u64)> = Vec::new();
    for call in &evidence.records.publishes {
        if let Outcome::Done(published) = &call.outcome
            && published.accepted > 0
        {
            let first = published.first_offset;
            let end = first + u64::from(published.accepted);
            done.push((call.span.invoked_us, call.span.returned_us, first, end));
        }
    }
    let mut by_return = done.clone();
    by_return.sort_unstable_by_key(|(_, returned_us, ..)| *returned_us);
    done.sort_unstable_by_key(|(invoked_us, ..)| *invoked_us);
    let (mut returned, mut greatest) = (by_return.into_iter().peekable(), 0);
    for (invoked_us, _, first, _) in done {
        while let Some((.., end)) = returned.next_if(|(_, at_us, ..)| *at_us < invoked_us) {
            greatest = greatest.max(end);
        }
        if first < greatest {
            evidence.verdict.add(
                Rule::Offsets,
                format!("offset {first} was given out after offset {}", greatest - 1),
            );
        }
    }
}

/// Reads every event back from a replica's own log, which may have given up what nobody needs.
pub fn dump(verdict: &Verdict, process: &Process, model: &Model) {
    for (offset, event) in (0..).zip(&model.events) {
        match read(&process.store, &process.wal, offset) {
            Ok(stored) if stored.body == event.body => {}
            Ok(stored) => verdict.add(
                Rule::Offsets,
                format!(
                    "{process} has {:?} as event {offset}, not {:?}",
                    stored.body, event.body
                ),
            ),
            Err(error) if error.is_gone() && model.is_over(offset) => {}
            Err(error) => verdict.add(
                Rule::Offsets,
                format!("{process} cannot read event {offset}: {error}"),
            ),
        }
    }
}
