//! C8: within the time of a leader, the first deliveries to a member come in due order.

use super::{Evidence, Rule};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) {
    let mut last = BTreeMap::new();
    for delivery in evidence
        .records
        .deliveries
        .iter()
        .filter(|delivery| delivery.attempt == 1)
    {
        let stream = (delivery.group.as_str(), delivery.member, delivery.reign);
        // Who accepts an event when another is due already may send it at once: the horizon is a
        // little ahead of the clock, and the order of those is not promised.
        if let Some(before) = last.insert(stream, delivery)
            && before.key > delivery.key
            && delivery.key.due_ms <= before.clock_ms
        {
            evidence.verdict.add(
                Rule::Order,
                format!(
                    "member {} of group {} was sent {:?} before {:?}",
                    delivery.member, delivery.group, before.key, delivery.key
                ),
            );
        }
    }
}
