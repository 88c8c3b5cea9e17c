//! C3: no event is sent before its time, by the clock of the node that sends it.
//!
//! A redelivery goes by the time since the delivery that failed: a clock that was set back in the
//! meantime does not take back that the event was due.

use super::{Evidence, Rule};
use crate::history::Outcome;
use chronos_core::command::change::Action;
use chronos_core::partition::Verdict;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) {
    // An event that was moved or fired, perhaps without an answer, has more than one time at which
    // it may have been due; C11 says which.
    let mut earliest: BTreeMap<&str, i64> = BTreeMap::new();
    for change in &evidence.records.changes {
        let took_effect = match &change.outcome {
            Outcome::Refused | Outcome::Done(None) => false,
            Outcome::Unknown => true,
            Outcome::Done(Some(changed)) => {
                matches!(changed.verdict, Verdict::Rescheduled | Verdict::Fired)
            }
        };
        let at_ms = match change.action {
            Action::Reschedule(at_ms) => at_ms,
            Action::FireNow => i64::MIN,
            Action::Get | Action::Cancel => continue,
        };
        if took_effect {
            let known = earliest.entry(&change.id).or_insert(at_ms);
            *known = at_ms.min(*known);
        }
    }
    for delivery in (evidence.records.deliveries.iter()).filter(|delivery| delivery.attempt == 1) {
        let Some(event) = evidence.model.events.get(delivery.key.offset as usize) else {
            continue;
        };
        let moved_ms = earliest.get(event.id.as_str()).copied().unwrap_or(i64::MAX);
        let due_ms = event.published_ms.min(moved_ms);
        if delivery.clock_ms < due_ms {
            evidence.verdict.add(
                Rule::Early,
                format!(
                    "event {} is due at {due_ms}, but node {} sent it when its clock showed {}: {delivery:?}, {event:?}",
                    delivery.key.offset, delivery.node, delivery.clock_ms
                ),
            );
        }
    }
}
