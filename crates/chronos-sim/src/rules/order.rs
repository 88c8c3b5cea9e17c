//! C8: within a leader's time, the first deliveries of a group come in due order.

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
        let stream = (delivery.group.as_str(), delivery.term);
        if let Some(before) = last.insert(stream, delivery.key)
            && before > delivery.key
        {
            evidence.verdict.add(
                Rule::Order,
                format!(
                    "group {} was sent {before:?} before {:?}",
                    delivery.group, delivery.key
                ),
            );
        }
    }
}
