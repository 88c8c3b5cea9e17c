//! A leader that was paused or cut off sends nothing once another one leads.

use super::{Evidence, Rule};

pub(super) fn check(evidence: &Evidence<'_>) {
    let mut leaders = evidence.records.leaders.clone();
    leaders.sort_unstable();
    for delivery in &evidence.records.deliveries {
        let began = leaders.partition_point(|(at_us, _)| *at_us < delivery.sent_us);
        let latest = leaders[..began].iter().map(|(_, term)| *term).max();
        if latest > Some(delivery.term) {
            evidence.verdict.add(
                Rule::Lease,
                format!(
                    "node {} sent event {} as leader of term {} at {} us, when term {latest:?} had begun",
                    delivery.node, delivery.key.offset, delivery.term, delivery.sent_us
                ),
            );
        }
    }
}
