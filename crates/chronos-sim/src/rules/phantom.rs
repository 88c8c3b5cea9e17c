//! C1: what is delivered or stored was published, byte for byte, and was not refused.

use super::{Evidence, Rule};
use crate::history::{NewEvent, Outcome};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) {
    // No two events have the same bytes, but one may be published again.
    let mut published: BTreeMap<&Bytes, (&NewEvent, bool)> = BTreeMap::new();
    for call in &evidence.records.publishes {
        for event in &call.events {
            let may_exist = call.outcome != Outcome::Refused;
            published.entry(&event.body).or_insert((event, false)).1 |= may_exist;
        }
    }
    for (offset, event) in evidence.model.events.iter().enumerate() {
        match published.get(&event.body) {
            None => evidence.verdict.add(
                Rule::Phantom,
                format!("nobody published event {offset}: {:?}", event.body),
            ),
            // The call may be under way still.
            Some((_, false)) => evidence.verdict.add(
                Rule::Phantom,
                format!(
                    "event {offset} ({}) is stored, though its publish was refused",
                    event.id
                ),
            ),
            Some((known, true)) => {
                if (known.schedule_ms, &known.id) != (event.published_ms, &event.id) {
                    evidence.verdict.add(
                        Rule::Phantom,
                        format!(
                            "event {offset} is stored as {event:?}, but published as {known:?}"
                        ),
                    );
                }
            }
        }
    }
    for delivery in &evidence.records.deliveries {
        if !published.contains_key(&delivery.body) {
            evidence.verdict.add(
                Rule::Phantom,
                format!("nobody published what {delivery:?} brought"),
            );
        }
    }
}
