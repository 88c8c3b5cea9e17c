//! C15: in a group with key order, no event is received while another one of its key is under way:
//! received, and neither processed nor given up nor over.
//!
//! The rule is about groups whose members all asked for key order. A crash ends what was under way.

use std::collections::BTreeMap;

use crate::history::Deliver;

use super::index::At;
use super::{Index, Rule, Violation};

/// A delivery, and until when it kept its key.
struct Held<'i, 'h> {
    delivery: &'i At<'h, Deliver>,
    until_us: u64,
    /// Its event's end, Unix milliseconds.
    end_ms: i64,
}

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let published = index.published();
    let mut lanes: BTreeMap<_, Vec<Held<'_, '_>>> = BTreeMap::new();
    for ((group, partition, offset), deliveries) in &index.deliveries {
        let Some(event) = published.get(&(*partition, *offset)) else {
            continue;
        };
        if !index.is_in_key_order(group) {
            continue;
        }
        let settled_us = settled_us(index, deliveries);
        let lane = lanes.entry((group, partition, event.key())).or_default();
        lane.extend(deliveries.iter().map(|delivery| Held {
            delivery,
            until_us: settled_us.min(next_fault_us(index, delivery)),
            end_ms: match event.publish.op.expires_at {
                0 => i64::MAX,
                end_ms => end_ms,
            },
        }));
    }
    let mut violations = Vec::new();
    for ((group, _, key), mut lane) in lanes {
        lane.sort_by_key(|held| (held.delivery.record.t_ret_us, held.delivery.line));
        for (at, held) in lane.iter().enumerate() {
            let later = &held.delivery;
            let (id, now_us) = (&later.op.event.id, later.record.t_ret_us);
            let under_way = |it: &&Held<'_, '_>| {
                it.delivery.op.event.id != *id
                    && it.until_us > now_us
                    && it.end_ms > later.record.wall_ret_ms
            };
            if let Some(other) = lane[..at].iter().find(under_way) {
                let before = &other.delivery.op.event.id;
                violations.push(Violation {
                    rule: Rule::Keys,
                    message: format!(
                        "event {id:?} reached {group:?} while {before:?} of key {key:?} was under way"
                    ),
                    evidence: vec![other.delivery.line, later.line],
                });
            }
        }
    }
    violations
}

/// When an event was processed, or failed for the last time, as far as a client can tell.
fn settled_us(index: &Index<'_>, deliveries: &[At<'_, Deliver>]) -> u64 {
    let timeout_us = index.settings.ack_timeout_ms * 1_000;
    let acks = || deliveries.iter().flat_map(|it| index.acks_of(it.op));
    let processed = acks().filter(|ack| ack.op.success);
    let processed_us = processed.map(|ack| ack.record.t_inv_us).min();
    let mut failures_us: Vec<u64> = deliveries
        .iter()
        .map(|delivery| match index.acks_of(delivery.op).first() {
            Some(ack) => ack.record.t_inv_us,
            None => delivery.record.t_ret_us + timeout_us / 2,
        })
        .collect();
    failures_us.sort_unstable();
    let most = usize::try_from(index.settings.max_attempts).unwrap_or(usize::MAX);
    let given_up_us = failures_us.get(most.saturating_sub(1)).copied();
    let settled = processed_us.into_iter().chain(given_up_us).min();
    settled.unwrap_or(u64::MAX)
}

fn next_fault_us(index: &Index<'_>, delivery: &At<'_, Deliver>) -> u64 {
    let faults = index.faults.iter().map(|(_, fault)| fault);
    faults
        .filter(|fault| fault.t_ret_us >= delivery.record.t_ret_us)
        .map(|fault| fault.t_inv_us)
        .min()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    fn two_of_a_key() -> Scenario {
        let mut it = Scenario::in_key_order();
        it.with_key("k").publish("a", 0).publish("b", 0);
        it
    }

    #[test]
    fn the_next_while_the_first_is_unanswered() {
        let mut it = two_of_a_key();
        it.deliver("a", 1).pass_ms(1).deliver("b", 1).ack_last();
        it.pass_ms(30_000).deliver("a", 2).ack_last().drained();
        it.breaks(Rule::Keys);
    }

    #[test]
    fn the_next_while_the_first_waits_for_its_retry() {
        let mut it = two_of_a_key();
        it.deliver("a", 1).nack_last().deliver_and_ack("b");
        it.deliver("a", 2).ack_last().drained();
        it.breaks(Rule::Keys);
    }

    #[test]
    fn one_after_the_other() {
        let mut it = two_of_a_key();
        it.with_key("l").publish("c", 0);
        it.deliver("a", 1).nack_last().deliver_and_ack("c");
        it.deliver("a", 2).ack_last().deliver_and_ack("b");
        it.drained().clean();
    }

    #[test]
    fn the_next_after_the_first_was_given_up() {
        let mut it = two_of_a_key();
        for attempt in 1..=5 {
            it.deliver("a", attempt).nack_last();
        }
        it.deliver_and_ack("b").drained().clean();
    }

    #[test]
    fn the_next_after_the_first_expired() {
        let mut it = Scenario::in_key_order();
        it.with_key("k").expiring_in(5).publish("a", 0);
        it.expiring_in(90_000).publish("b", 0);
        it.deliver("a", 1).nack_last().pass_ms(5);
        it.deliver_and_ack("b").drained().clean();
    }

    #[test]
    fn the_first_again_after_a_crash_that_lost_its_answer() {
        let mut it = two_of_a_key();
        it.deliver("a", 1).pass_ms(1);
        it.fault(10).deliver("b", 1).ack_last();
        it.deliver("a", 2).ack_last().drained().clean();
    }
}
