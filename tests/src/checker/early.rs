//! C3: nothing is received before its schedule_ts.
//!
//! Client and server share one clock here, so no allowance is made.

use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let early = index.deliveries.values().flatten().filter_map(|delivery| {
        let early_ms = delivery
            .op
            .event
            .schedule_ts
            .saturating_sub(delivery.record.wall_ret_ms);
        (early_ms > 0).then(|| Violation {
            rule: Rule::Early,
            message: format!(
                "event {:?} reached {} {early_ms} ms early",
                delivery.op.event.id, delivery.op.member.group
            ),
            evidence: vec![delivery.line],
        })
    });
    early.collect()
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn one_millisecond_early() {
        let mut it = Scenario::subscribed();
        it.publish("a", 500)
            .pass_ms(499)
            .deliver_and_ack("a")
            .drained();
        it.breaks(Rule::Early);
    }

    #[test]
    fn on_the_millisecond() {
        let mut it = Scenario::subscribed();
        it.publish("a", 500)
            .pass_ms(500)
            .deliver_and_ack("a")
            .drained()
            .clean();
    }
}
