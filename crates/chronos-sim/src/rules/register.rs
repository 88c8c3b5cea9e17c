//! C11: the calls on each event, and its deliveries, have an order that explains every answer.

use super::{Evidence, Rule};
use crate::history::{ChangeCall, Outcome};
use crate::register::{self, Answer, Call, Operation};
use chronos_core::command::change::Action;
use chronos_core::keys::change::State;
use chronos_core::partition::{Changed, Verdict};
use std::collections::BTreeMap;

/// Calls on one event that are looked at together, at most. The search is over their orders.
const MOST_CALLS: usize = 24;

pub(super) fn check(evidence: &Evidence<'_>) {
    let mut offsets: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (offset, event) in (0..).zip(&evidence.model.events) {
        offsets.entry(&event.id).or_default().push(offset);
    }
    let mut histories: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for change in &evidence.records.changes {
        match offsets.get(change.id.as_str()).map(Vec::as_slice) {
            // An id that several events had: which one an unanswered call meant is not known.
            Some([offset]) => {
                if let Some(operation) = operation(change) {
                    histories.entry(*offset).or_default().push(operation);
                }
            }
            _ => continue,
        }
    }
    for delivery in &evidence.records.deliveries {
        if let Some(history) = histories.get_mut(&delivery.key.offset) {
            history.push(Operation {
                call: Call::Deliver,
                answer: Answer::Fired,
                // It was released at any time before it was sent.
                invoked_us: i64::MIN,
                returned_us: delivery.sent_us,
                wall_ms: delivery.clock_ms,
            });
        }
    }
    for (offset, mut history) in histories {
        // The first delivery says all that later ones say.
        let first = history
            .iter()
            .filter(|operation| operation.call == Call::Deliver);
        let first_us = first.map(|operation| operation.returned_us).min();
        history.retain(|operation| {
            operation.call != Call::Deliver || Some(operation.returned_us) == first_us
        });
        history.dedup_by_key(|operation| (operation.call, operation.returned_us));
        let Some(event) = evidence.model.events.get(offset as usize) else {
            continue;
        };
        if history.len() > MOST_CALLS {
            continue;
        }
        if let Err(impossible) = register::check(event.published_ms, &history) {
            evidence
                .verdict
                .add(Rule::Register, format!("event {offset}: {impossible}"));
        }
    }
}

fn operation(change: &ChangeCall) -> Option<Operation> {
    let call = match change.action {
        Action::Get => Call::Get,
        Action::Cancel => Call::Cancel,
        Action::Reschedule(at_ms) => Call::Reschedule(at_ms),
        Action::FireNow => Call::FireNow,
    };
    let answer = match &change.outcome {
        Outcome::Refused | Outcome::Done(None) => return None,
        Outcome::Unknown => Answer::Unknown,
        Outcome::Done(Some(changed)) => answer(changed)?,
    };
    Some(Operation {
        call,
        answer,
        invoked_us: change.span.invoked_us,
        returned_us: change.span.returned_us,
        wall_ms: change.clock_ms,
    })
}

fn answer(changed: &Changed) -> Option<Answer> {
    Some(match changed.verdict {
        Verdict::Found => match changed.version.state {
            State::Cancelled => Answer::AlreadyCancelled,
            _ if changed.fired => Answer::AlreadyFired,
            _ => Answer::Scheduled(changed.version.schedule_ms),
        },
        Verdict::Cancelled => Answer::Cancelled,
        Verdict::Rescheduled => Answer::Rescheduled,
        Verdict::Fired => Answer::Fired,
        Verdict::AlreadyFired => Answer::AlreadyFired,
        Verdict::AlreadyCancelled => Answer::AlreadyCancelled,
        Verdict::VersionMismatch | Verdict::NotFound => return None,
    })
}
