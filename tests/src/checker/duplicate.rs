//! C5: a redelivery has a reason, and nothing comes again once its ack was confirmed.
//!
//! Reasons are a nack, the ack timeout, a member that went, and a fault.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Deliver, Outcome};

use super::index::At;
use super::{Index, Rule, Violation, failures, redriven};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for deliveries in index.deliveries.values() {
        for delivery in deliveries {
            if let Some(earlier) = ids.insert(&delivery.op.delivery_id, delivery.line) {
                let what = format!("delivery id {:?} was used twice", delivery.op.delivery_id);
                violations.push(violation(what, &[earlier, delivery.line]));
            }
            if delivery.op.attempt < 1 {
                let what = format!("{} carries attempt {}", name(delivery), delivery.op.attempt);
                violations.push(violation(what, &[delivery.line]));
            }
        }
        for pair in deliveries.windows(2) {
            violations.extend(judge(index, &pair[0], &pair[1]));
        }
        violations.extend(after_last_attempt(index, deliveries));
        violations.extend(after_ack(index, deliveries));
    }
    violations
}

/// How many redeliveries had which reason.
pub(super) fn reasons(index: &Index<'_>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for deliveries in index.deliveries.values() {
        for pair in deliveries.windows(2) {
            let name = match reason(index, &pair[0], &pair[1]) {
                Some(Reason::Fault) => "fault",
                Some(Reason::Gone) => "member gone",
                Some(Reason::Nack) => "nack",
                Some(Reason::Timeout) => "ack timeout",
                None => "none",
            };
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    counts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Fault,
    Gone,
    Nack,
    Timeout,
}

fn reason(index: &Index<'_>, first: &At<'_, Deliver>, second: &At<'_, Deliver>) -> Option<Reason> {
    let (from_us, to_us) = (first.record.t_ret_us, second.record.t_ret_us);
    let nacked = index
        .acks_of(first.op)
        .iter()
        .any(|ack| !ack.op.success && ack.record.t_inv_us <= to_us);
    // On a busy machine the first may have been received long after it was sent.
    let timeout_us = index.settings.ack_timeout_ms * 1_000;
    let timed_out = to_us.saturating_sub(from_us) + timeout_us / 2 >= timeout_us;
    if index.fault_within(from_us, to_us) {
        Some(Reason::Fault)
    } else if index.gone_within(&first.op.member, from_us, to_us) {
        Some(Reason::Gone)
    } else if nacked {
        Some(Reason::Nack)
    } else if timed_out {
        Some(Reason::Timeout)
    } else {
        None
    }
}

fn judge(
    index: &Index<'_>,
    first: &At<'_, Deliver>,
    second: &At<'_, Deliver>,
) -> Option<Violation> {
    let evidence = [first.line, second.line];
    let (before, after) = (first.op.attempt, second.op.attempt);
    let attempts = format!("from attempt {before} to {after}");
    match reason(index, first, second) {
        None => Some(violation(
            format!("{} came again without a reason", name(second)),
            &evidence,
        )),
        Some(Reason::Nack | Reason::Timeout) if after <= before => Some(violation(
            format!("{} went {attempts}", name(second)),
            &evidence,
        )),
        Some(Reason::Gone) if after < before => Some(violation(
            format!("{} fell back {attempts}", name(second)),
            &evidence,
        )),
        // A crash may forget attempts that were never settled.
        Some(_) => None,
    }
}

/// A delivery after as many confirmed nacks as make a dead letter.
fn after_last_attempt(index: &Index<'_>, deliveries: &[At<'_, Deliver>]) -> Option<Violation> {
    let most = usize::try_from(index.settings.max_attempts).unwrap_or(usize::MAX);
    for (at, delivery) in deliveries.iter().enumerate().skip(most) {
        // A letter that is redriven has its attempts anew.
        let budgets = 1 + redriven::times(index, delivery);
        if failures::count(index, &deliveries[..at]).certain >= most.saturating_mul(budgets) {
            let what = format!("{} came again after its last attempt", name(delivery));
            return Some(violation(what, &[deliveries[at - 1].line, delivery.line]));
        }
    }
    None
}

/// Deliveries after a confirmed ack. One that had a reason to be sent before the ack was confirmed
/// may still have been on its way.
fn after_ack(index: &Index<'_>, deliveries: &[At<'_, Deliver>]) -> Option<Violation> {
    let in_flight_us = index.settings.in_flight_ms * 1_000;
    for (at, delivery) in deliveries.iter().enumerate() {
        let Some(ack) = confirmed(index, delivery, deliveries.get(at + 1)) else {
            continue;
        };
        for later in &deliveries[at + 1..] {
            let after_us = later.record.t_ret_us.saturating_sub(ack.t_ret_us);
            let sent_before = after_us <= in_flight_us
                && match reason(index, delivery, later) {
                    Some(Reason::Fault) => index.fault_within(ack.t_inv_us, ack.t_ret_us),
                    Some(_) => true,
                    None => false,
                };
            if later.record.t_ret_us > ack.t_ret_us && !sent_before {
                let what = format!("{} came again after its ack was confirmed", name(later));
                let acks = index.acks_of(delivery.op).iter().map(|it| it.line);
                let mut evidence = vec![delivery.line];
                evidence.extend(acks.chain([later.line]));
                return Some(violation(what, &evidence));
            }
        }
    }
    None
}

/// The confirmed ack of a delivery, if it was still the current one when the ack was sent. An ack
/// that comes too late is answered like any other and promises nothing.
fn confirmed<'h>(
    index: &Index<'h>,
    delivery: &At<'h, Deliver>,
    next: Option<&At<'h, Deliver>>,
) -> Option<&'h crate::history::Record> {
    let received_us = delivery.record.t_ret_us;
    let timeout_us = index.settings.ack_timeout_ms * 1_000;
    let ack = index
        .acks_of(delivery.op)
        .iter()
        .find(|ack| ack.op.success && ack.record.outcome == Outcome::Ok)?
        .record;
    let current = next.is_none_or(|it| it.record.t_ret_us > ack.t_inv_us)
        && ack.t_ret_us.saturating_sub(received_us) < timeout_us / 2
        && !index.gone_within(&delivery.op.member, received_us, ack.t_ret_us)
        && !index.fault_within(received_us, ack.t_ret_us);
    current.then_some(ack)
}

fn name(delivery: &At<'_, Deliver>) -> String {
    let event = &delivery.op.event;
    format!(
        "event {:?} ({}/{}) of group {:?}",
        event.id, event.partition, event.offset, delivery.op.member.group
    )
}

fn violation(message: String, evidence: &[usize]) -> Violation {
    Violation {
        rule: Rule::Duplicate,
        message,
        evidence: evidence.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn again_without_a_reason() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .pass_ms(10)
            .deliver("a", 2)
            .ack_last()
            .drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn again_after_the_timeout() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .pass_ms(30_000)
            .deliver("a", 2)
            .ack_last();
        it.drained().clean();
    }

    #[test]
    fn again_after_the_member_went() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .gone()
            .subscribe("g", "m2", 0)
            .deliver("a", 1);
        it.ack_last().drained().clean();
    }

    #[test]
    fn again_after_the_ack_was_confirmed() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .pass_ms(30_000)
            .deliver("a", 2)
            .drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn again_after_a_crash_that_followed_the_confirmed_ack() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .fault(100)
            .deliver("a", 1)
            .drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn again_after_a_crash_that_swallowed_the_ack() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .fault(100)
            .deliver("a", 1)
            .ack_last()
            .drained();
        it.clean();
    }

    #[test]
    fn an_attempt_that_does_not_grow() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .nack_last()
            .deliver("a", 1)
            .ack_last()
            .drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn more_attempts_than_allowed() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0);
        for attempt in 1..=5 {
            it.deliver("a", attempt).nack_last();
        }
        it.deliver("a", 6).ack_last().drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn a_delivery_lost_with_its_member_does_not_count() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0).deliver("a", 1).gone();
        it.subscribe("g", "m", 0);
        for attempt in 2..=6 {
            it.deliver("a", attempt).nack_last();
        }
        it.drained().dead_letters(1).clean();
    }

    #[test]
    fn two_members_at_once() {
        let mut it = Scenario::subscribed();
        it.subscribe("g", "m2", 0)
            .publish("a", 0)
            .deliver_to("g", "m", "a", 1);
        it.deliver_to("g", "m2", "a", 1).ack_last().drained();
        it.breaks(Rule::Duplicate);
    }
}
