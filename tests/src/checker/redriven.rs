//! C18: a dead letter that is redriven comes to its group again, until it is processed or has used up
//! its attempts once more.

use crate::history::{Deliver, Outcome};

use super::index::At;
use super::{Index, Rule, Violation, failures};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let most = usize::try_from(index.settings.max_attempts).unwrap_or(usize::MAX);
    let mut violations = Vec::new();
    for redrive in index
        .redrives
        .iter()
        .filter(|it| it.record.outcome == Outcome::Ok)
    {
        let group = redrive.op.group.as_str();
        let Some((drain_line, drained)) = index.drained.get(group) else {
            continue;
        };
        if drained.t_inv_us < redrive.record.t_ret_us {
            continue;
        }
        for (partition, offset) in &redrive.op.events {
            let all = index.deliveries.get(&(group, *partition, *offset));
            let all = all.map_or(&[][..], Vec::as_slice);
            let begin_us = redrive.record.t_inv_us;
            let first = all.partition_point(|it| it.record.t_ret_us <= begin_us);
            let again = &all[first..];
            let processed = again.iter().any(|it| {
                let mut acks = index.acks_of(it.op).iter();
                acks.any(|ack| ack.op.success && ack.record.outcome != Outcome::Fail)
            });
            if processed || failures::count(index, again).possible >= most {
                continue;
            }
            let mut evidence = vec![redrive.line];
            evidence.extend(again.iter().map(|it| it.line).chain([*drain_line]));
            violations.push(Violation {
                rule: Rule::Redriven,
                message: format!(
                    "event {partition}/{offset} was redriven to {group:?}, came {} times and was \
                     not settled",
                    again.len()
                ),
                evidence,
            });
        }
    }
    violations
}

/// How often an event had been redriven to its group before a delivery.
pub(super) fn times(index: &Index<'_>, delivery: &At<'_, Deliver>) -> usize {
    let event = (delivery.op.event.partition, delivery.op.event.offset);
    let before = |it: &&At<'_, crate::history::Redrive>| {
        it.op.group == delivery.op.member.group
            && it.record.t_inv_us < delivery.record.t_ret_us
            && it.op.events.contains(&event)
    };
    index.redrives.iter().filter(before).count()
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    fn dead() -> Scenario {
        let mut it = Scenario::subscribed();
        it.publish("a", 0);
        for attempt in 1..=5 {
            it.deliver("a", attempt).nack_last();
        }
        it
    }

    #[test]
    fn a_letter_that_does_not_come_again() {
        let mut it = dead();
        it.redrive_last().pass_ms(5_000).drained();
        it.breaks(Rule::Redriven);
    }

    #[test]
    fn a_letter_that_comes_and_is_processed() {
        let mut it = dead();
        it.redrive_last().pass_ms(5).deliver("a", 6).ack_last();
        it.drained().clean();
    }

    #[test]
    fn a_letter_that_dies_again_and_one_attempt_too_many() {
        let mut it = dead();
        it.redrive_last().pass_ms(5);
        for attempt in 6..=10 {
            it.deliver("a", attempt).nack_last();
        }
        it.drained().clean();
        it.deliver("a", 11).ack_last().drained();
        it.breaks(Rule::Duplicate);
    }

    #[test]
    fn a_letter_that_was_processed_and_comes_again() {
        let mut it = dead();
        it.redrive_last().pass_ms(5).deliver("a", 6).ack_last();
        it.fault(10).deliver("a", 7).ack_last().drained();
        it.breaks(Rule::Duplicate);
    }
}
