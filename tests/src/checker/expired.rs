//! C16: nothing is received after its end, but for what was on its way.

use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let published = index.published();
    let in_flight_ms = i64::try_from(index.settings.in_flight_ms).unwrap_or(i64::MAX);
    let late = index.deliveries.values().flatten().filter_map(|delivery| {
        let event = &delivery.op.event;
        let end_ms = published.get(&(event.partition, event.offset))?;
        let end_ms = end_ms.publish.op.expires_at;
        let after_ms = delivery.record.wall_ret_ms.saturating_sub(end_ms);
        (end_ms != 0 && after_ms > in_flight_ms).then(|| Violation {
            rule: Rule::Expired,
            message: format!(
                "event {:?} reached {} {after_ms} ms after its end",
                event.id, delivery.op.member.group
            ),
            evidence: vec![delivery.line],
        })
    });
    late.collect()
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn long_after_its_end() {
        let mut it = Scenario::subscribed();
        it.expiring_in(10).publish("a", 0).pass_ms(2_011);
        it.deliver_and_ack("a").drained().breaks(Rule::Expired);
    }

    #[test]
    fn on_its_way_when_it_ended() {
        let mut it = Scenario::subscribed();
        it.expiring_in(10).publish("a", 0).pass_ms(1_000);
        it.deliver_and_ack("a").drained().clean();
    }
}
