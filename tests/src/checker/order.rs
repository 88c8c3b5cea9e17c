//! C8: a member receives first attempts in the order (schedule_ts, higher priority, offset). In a
//! group with key order that holds for the events of each key, whoever receives them.
//!
//! The rule speaks about pairs that were both stored before either was due: what is published late
//! falls due late. It starts afresh when a member goes or the server fails, for then deliveries
//! that nobody received are sent again. It says nothing of what is received during a fault, in which
//! a lead may pass from one node to another.

use std::collections::BTreeMap;

use super::{Index, Rule, Violation};

/// A server may fix the order of what falls due a little ahead of the time.
const AHEAD_MS: i64 = 100;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let published = index.published();
    let mut streams: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for delivery in index.deliveries.values().flatten() {
        let known = published.get(&(delivery.op.event.partition, delivery.op.event.offset));
        if let (1, Some(known)) = (delivery.op.attempt, known) {
            let member = &delivery.op.member;
            let receiver = match index.is_in_key_order(&member.group) {
                true => known.key(),
                false => member.member.as_str(),
            };
            let stream = (member.group.as_str(), receiver, known.partition);
            streams.entry(stream).or_default().push((
                delivery,
                known.known.wall_ret_ms,
                known.publish.op.priority,
            ));
        }
    }
    let mut violations = Vec::new();
    for ((group, ..), mut deliveries) in streams {
        deliveries.sort_by_key(|(delivery, ..)| (delivery.record.t_ret_us, delivery.line));
        let mut breaks_us: Vec<u64> = index
            .gone
            .iter()
            .filter(|(it, _)| it.group == group)
            .flat_map(|(_, gone)| gone.iter().map(|it| it.record.t_inv_us))
            .chain(index.faults.iter().map(|(_, fault)| fault.t_inv_us))
            .collect();
        breaks_us.sort_unstable();
        let mut breaks_us = breaks_us.into_iter().peekable();
        let mut greatest: Option<((i64, i32, i64), i64, usize)> = None;
        for (delivery, known_ms, priority) in deliveries {
            while breaks_us
                .next_if(|at_us| *at_us <= delivery.record.t_ret_us)
                .is_some()
            {
                greatest = None;
            }
            if index.fault_within(delivery.record.t_ret_us, delivery.record.t_ret_us) {
                continue;
            }
            let event = &delivery.op.event;
            let key = (event.schedule_ts, -priority, event.offset);
            let ahead = |known_ms: i64| known_ms + AHEAD_MS < key.0;
            if !ahead(known_ms) {
                continue;
            }
            match greatest {
                Some((before, before_known_ms, line)) if before > key => {
                    if ahead(before_known_ms) {
                        violations.push(Violation {
                            rule: Rule::Order,
                            message: format!("{before:?} came before {key:?}"),
                            evidence: vec![line, delivery.line],
                        });
                    }
                }
                _ => greatest = Some((key, known_ms, delivery.line)),
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn the_later_one_first() {
        let mut it = Scenario::subscribed();
        it.publish("a", 1_000).publish("b", 2_000).pass_ms(2_000);
        it.deliver_and_ack("b").deliver_and_ack("a").drained();
        it.breaks(Rule::Order);
    }

    #[test]
    fn equal_times_go_by_offset() {
        let mut it = Scenario::subscribed();
        it.publish("a", 1_000).publish("b", 1_000).pass_ms(1_000);
        it.deliver_and_ack("a")
            .deliver_and_ack("b")
            .drained()
            .clean();
    }

    #[test]
    fn the_lower_priority_first() {
        let mut it = Scenario::subscribed();
        it.with_priority(1).publish("a", 1_000);
        it.with_priority(7).publish("b", 1_000).pass_ms(1_000);
        it.deliver_and_ack("a").deliver_and_ack("b").drained();
        it.breaks(Rule::Order);
    }

    #[test]
    fn higher_priorities_go_first() {
        let mut it = Scenario::subscribed();
        it.with_priority(1).publish("a", 1_000);
        it.with_priority(7).publish("b", 1_000).pass_ms(1_000);
        it.deliver_and_ack("b").deliver_and_ack("a").drained();
        it.clean();
    }

    #[test]
    fn a_key_that_waits_is_overtaken_by_others_only() {
        let mut it = Scenario::in_key_order();
        it.with_key("k").publish("a", 1_000).publish("b", 1_100);
        it.with_key("l").publish("c", 1_200).pass_ms(1_200);
        it.deliver_and_ack("c").deliver_and_ack("a");
        it.deliver_and_ack("b").drained().clean();
        let mut it = Scenario::in_key_order();
        it.with_key("k").publish("a", 1_000).publish("b", 1_100);
        it.pass_ms(1_100).deliver_and_ack("b").deliver_and_ack("a");
        it.drained().breaks(Rule::Order);
    }

    #[test]
    fn a_late_publish_comes_late() {
        let mut it = Scenario::subscribed();
        it.publish("b", 2_000)
            .pass_ms(2_000)
            .deliver_and_ack("b")
            .publish("a", -1_500);
        it.deliver_and_ack("a").drained().clean();
    }

    #[test]
    fn a_crash_starts_afresh() {
        let mut it = Scenario::subscribed();
        it.publish("a", 1_000)
            .publish("b", 2_000)
            .pass_ms(2_000)
            .deliver_and_ack("b")
            .fault(10);
        it.deliver_and_ack("a").drained().clean();
    }

    #[test]
    fn a_lead_may_pass_on_within_a_fault() {
        let mut it = Scenario::subscribed();
        it.publish("a", 1_000).publish("b", 2_000).pass_ms(2_000);
        it.fault_around(1_000).pass_ms(1);
        it.deliver_and_ack("b").deliver_and_ack("a");
        it.pass_ms(2_000).drained().clean();
    }
}
