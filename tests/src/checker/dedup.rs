//! C6: an id is a register that goes from absent to one offset, and stays.
//!
//! A publish that skips deduplication may add one more offset each.

use std::collections::BTreeSet;

use crate::history::{Publish, Reply};

use super::index::At;
use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut positions: std::collections::HashMap<&str, BTreeSet<(i32, i64)>> = Default::default();
    for (event, _, _) in index.sightings() {
        positions
            .entry(&event.id)
            .or_default()
            .insert((event.partition, event.offset));
    }
    let mut violations = Vec::new();
    for (id, attempts) in &index.publishes {
        violations.extend(accepted_again(id, attempts));
        violations.extend(refused_without_cause(id, attempts));

        let mut seen = positions.remove(id).unwrap_or_default();
        let mut allowed = 0;
        for attempt in attempts {
            match attempt.op.reply {
                Some(Reply::Stored { partition, offset }) => {
                    seen.extend(offset.map(|offset| (partition, offset)));
                    allowed += usize::from(attempt.op.allow_duplicate);
                }
                None => allowed += usize::from(attempt.op.allow_duplicate),
                Some(Reply::Duplicate | Reply::Refused { .. }) => {}
            }
        }
        allowed += usize::from(attempts.iter().any(|it| !it.op.allow_duplicate));
        if violations.is_empty() && seen.len() > allowed {
            violations.push(Violation {
                rule: Rule::Dedup,
                message: format!("id {id:?} lies at {seen:?}, at most {allowed} was accepted"),
                evidence: attempts.iter().map(|it| it.line).collect(),
            });
        }
    }
    violations
}

/// A publish that began after the id was accepted must not be accepted.
fn accepted_again(id: &str, attempts: &[At<'_, Publish>]) -> Option<Violation> {
    let accepted = || {
        attempts.iter().filter(|it| {
            !it.op.allow_duplicate && matches!(it.op.reply, Some(Reply::Stored { .. }))
        })
    };
    let mut pairs = accepted().zip(accepted().skip(1));
    pairs.next().map(|(first, second)| Violation {
        rule: Rule::Dedup,
        message: format!("id {id:?} was accepted twice"),
        evidence: vec![first.line, second.line],
    })
}

/// "Duplicate" needs another publish of the id, begun before the reply, that may have been stored.
fn refused_without_cause(id: &str, attempts: &[At<'_, Publish>]) -> Option<Violation> {
    let refused = attempts
        .iter()
        .filter(|it| it.op.reply == Some(Reply::Duplicate));
    let stored = |it: &At<'_, Publish>| matches!(it.op.reply, None | Some(Reply::Stored { .. }));
    for refusal in refused {
        let cause = attempts.iter().any(|it| {
            it.line != refusal.line && stored(it) && it.record.t_inv_us <= refusal.record.t_ret_us
        });
        if !cause {
            return Some(Violation {
                rule: Rule::Dedup,
                message: format!("id {id:?} was called a duplicate, but was never accepted"),
                evidence: attempts.iter().map(|it| it.line).collect(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn accepted_twice() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .publish("a", 0)
            .deliver_and_ack("a")
            .drained();
        it.breaks(Rule::Dedup);
    }

    #[test]
    fn a_poisoned_id() {
        let mut it = Scenario::subscribed();
        it.publish_refused("a").publish_duplicate("a");
        it.breaks(Rule::Dedup);
    }

    #[test]
    fn a_duplicate_of_an_accepted_one() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .publish_duplicate("a")
            .deliver_and_ack("a")
            .drained()
            .clean();
    }

    #[test]
    fn a_retry_of_an_unknown_one() {
        let mut it = Scenario::subscribed();
        it.publish_unknown("a")
            .publish_duplicate("a")
            .deliver_and_ack("a")
            .drained()
            .clean();
        let mut it = Scenario::subscribed();
        it.publish_unknown("a")
            .publish("a", 0)
            .deliver_and_ack("a")
            .drained()
            .clean();
    }

    #[test]
    fn two_offsets_of_one_id() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .deliver_changed("a", |seen| seen.offset += 1);
        it.ack_last().drained().breaks(Rule::Dedup);
    }

    #[test]
    fn duplicates_on_request() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .publish_again("a")
            .deliver_and_ack("a");
        it.drained().clean();
    }
}
