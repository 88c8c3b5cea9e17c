//! C13: in mode `periodic` a power loss takes what was answered in the last moments, nothing older,
//! and nothing that was answered as durable. Whatever else ends a process takes nothing.
//!
//! A node alone shows it: its log is all there is. What it lost is taken out of the log that is held
//! against replicas, and what clients were told in the time that is lost counts as not known.

use super::{Rule, Verdict};
use crate::history::{Outcome, Records, Span};
use crate::node::Ended;
use crate::oracle::Model;
use crate::world::World;
use std::borrow::Cow;

/// The only node of a cluster has opened its log, which ends with entry `last`.
pub fn opened(world: &World, node: u64, last: Option<u64>, ended: Ended) {
    let len = last.map_or(0, |last| last + 1);
    let Some(since_us) = world.ledger.lose_beyond(len) else {
        return;
    };
    world.say(
        &format_args!("n{node}"),
        format_args!("has lost entries from {len} on"),
    );
    if !ended.power {
        let text = format!("node {node} has lost entry {len} though it had power all the time");
        world.verdict.add(Rule::Mode, text);
    }
    let age_us = ended.at_us - since_us;
    if age_us > world.plan.window_us() {
        let text =
            format!("node {node} has lost entry {len}, which was {age_us} us old when it ended");
        world.verdict.add(Rule::Mode, text);
    }
    world.history.records().losses.push(Span {
        invoked_us: since_us,
        returned_us: world.time.now_us(),
    });
}

/// What was answered as durable is in the log.
pub fn check(verdict: &Verdict, records: &Records, model: &Model) {
    for call in records.publishes.iter().filter(|call| call.durable) {
        let Outcome::Done(published) = &call.outcome else {
            continue;
        };
        let accepted = (0..).zip(&call.events);
        let accepted = accepted.filter(|(slot, _)| !published.duplicates.contains(slot));
        for (offset, (_, event)) in (published.first_offset..).zip(accepted) {
            let stored = model.events.get(offset as usize);
            if stored.is_none_or(|stored| stored.body != event.body) {
                let text = format!(
                    "{} was answered as durable at offset {offset}, where the log has {stored:?}",
                    event.id
                );
                verdict.add(Rule::Mode, text);
            }
        }
    }
}

/// The records as they look to who knows what was lost.
#[must_use]
pub fn without_lost(records: &Records) -> Cow<'_, Records> {
    if records.losses.is_empty() {
        return Cow::Borrowed(records);
    }
    let losses = &records.losses;
    let mut kept = records.clone();
    for call in &mut kept.publishes {
        forget(losses, &mut call.span, &mut call.outcome);
    }
    for call in &mut kept.changes {
        forget(losses, &mut call.span, &mut call.outcome);
    }
    for call in &mut kept.groups {
        forget(losses, &mut call.span, &mut call.outcome);
    }
    for call in &mut kept.answers {
        forget(losses, &mut call.span, &mut call.outcome);
    }
    let is_lost = |at_us: i64| {
        let during = |loss: &Span| loss.invoked_us <= at_us && at_us <= loss.returned_us;
        losses.iter().any(during)
    };
    kept.deliveries
        .retain(|delivery| !is_lost(delivery.sent_us));
    Cow::Owned(kept)
}

/// What was answered of a time that is lost is not known any more.
fn forget<T>(losses: &[Span], span: &mut Span, outcome: &mut Outcome<T>) {
    let overlaps =
        |loss: &Span| span.invoked_us <= loss.returned_us && loss.invoked_us <= span.returned_us;
    if matches!(outcome, Outcome::Done(_)) && losses.iter().any(overlaps) {
        *outcome = Outcome::Unknown;
        span.returned_us = i64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSS: Span = Span {
        invoked_us: 100,
        returned_us: 200,
    };

    #[test]
    fn what_overlaps_a_loss_is_not_known() {
        let outcome_of = |invoked_us, returned_us, mut outcome: Outcome<()>| {
            let mut span = Span {
                invoked_us,
                returned_us,
            };
            forget(&[LOSS], &mut span, &mut outcome);
            (outcome, span.returned_us)
        };
        let done = || Outcome::Done(());
        assert_eq!(outcome_of(10, 99, done()), (Outcome::Done(()), 99));
        assert_eq!(outcome_of(201, 300, done()), (Outcome::Done(()), 300));
        let unknown = (Outcome::Unknown, i64::MAX);
        assert_eq!(outcome_of(10, 100, done()), unknown);
        assert_eq!(outcome_of(150, 160, done()), unknown);
        assert_eq!(outcome_of(200, 300, done()), unknown);
        let refused = outcome_of(150, 160, Outcome::Refused);
        assert_eq!(refused, (Outcome::Refused, 160));
    }
}
