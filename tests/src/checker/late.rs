//! C4: a first delivery comes within the bound, counted from the moment nothing stood in its way.
//!
//! In the way may be: its time, its publish, the group's subscription, a lack of credit, a fault.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Member, Op};

use super::{Index, Lateness, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let bound_ms = i64::try_from(index.settings.late_bound_ms).unwrap_or(i64::MAX);
    let late = samples(index)
        .into_iter()
        .filter(|(_, lateness_ms)| *lateness_ms > bound_ms);
    late.map(|(line, lateness_ms)| Violation {
        rule: Rule::Late,
        message: format!("a delivery came {lateness_ms} ms late with nothing in its way"),
        evidence: vec![line],
    })
    .collect()
}

pub(super) fn lateness(index: &Index<'_>) -> Lateness {
    Lateness::of(
        samples(index)
            .into_iter()
            .map(|(_, lateness_ms)| lateness_ms)
            .collect(),
    )
}

/// Position and lateness of each first delivery.
fn samples(index: &Index<'_>) -> Vec<(usize, i64)> {
    let known_wall_ms: HashMap<(i32, i64), i64> = index
        .stored
        .iter()
        .filter_map(|it| Some(((it.partition, it.offset?), it.known.wall_ret_ms)))
        .collect();
    let mut groups: BTreeMap<&str, Vec<Step<'_>>> = BTreeMap::new();
    for (line, record) in index.records.iter().enumerate() {
        let step = Step {
            at_us: record.t_ret_us,
            wall_ms: record.wall_ret_ms,
            line,
            op: &record.op,
        };
        match &record.op {
            Op::Subscribe(it) => groups.entry(&it.member.group).or_default().push(step),
            Op::Gone(it) => groups.entry(&it.group).or_default().push(step),
            Op::Deliver(it) => groups.entry(&it.member.group).or_default().push(step),
            Op::Ack(it) => groups.entry(&it.member.group).or_default().push(step),
            _ => {}
        }
    }
    let mut samples = Vec::new();
    for steps in groups.values_mut() {
        steps.sort_by_key(|step| (step.at_us, step.line));
        let mut credit = Credit::default();
        for step in steps.iter() {
            if let Op::Deliver(delivery) = step.op
                && delivery.attempt == 1
                && let Some(known_ms) =
                    known_wall_ms.get(&(delivery.event.partition, delivery.event.offset))
                && let Some(free_since_ms) = credit.free_since_ms
            {
                let fault_end_ms = index
                    .faults
                    .iter()
                    .filter(|(_, fault)| fault.t_inv_us <= step.at_us)
                    .map(|(_, fault)| fault.wall_ret_ms)
                    .max()
                    .unwrap_or(i64::MIN);
                let free_ms = delivery
                    .event
                    .schedule_ts
                    .max(*known_ms)
                    .max(free_since_ms)
                    .max(fault_end_ms);
                samples.push((step.line, step.wall_ms.saturating_sub(free_ms).max(0)));
            }
            credit.take(step);
        }
    }
    samples
}

struct Step<'h> {
    at_us: u64,
    wall_ms: i64,
    line: usize,
    op: &'h Op,
}

/// A lower bound of the credit that a group has; it counts against nobody when it is wrong.
#[derive(Default)]
struct Credit<'h> {
    members: HashMap<&'h Member, i64>,
    in_flight: HashMap<&'h str, (&'h Member, i32, i64)>,
    free_since_ms: Option<i64>,
}

impl<'h> Credit<'h> {
    fn take(&mut self, step: &Step<'h>) {
        match step.op {
            Op::Subscribe(it) => {
                self.members.insert(&it.member, i64::from(it.credits));
            }
            Op::Gone(it) => {
                self.members.remove(it);
                self.in_flight.retain(|_, (member, _, _)| *member != it);
            }
            Op::Deliver(it) => {
                let event = (it.event.partition, it.event.offset);
                self.in_flight
                    .retain(|_, (_, partition, offset)| (*partition, *offset) != event);
                self.in_flight
                    .insert(&it.delivery_id, (&it.member, event.0, event.1));
            }
            Op::Ack(it) => {
                self.in_flight.remove(it.delivery_id.as_str());
            }
            _ => {}
        }
        let in_flight = i64::try_from(self.in_flight.len()).unwrap_or(i64::MAX);
        if self.members.values().sum::<i64>() <= in_flight {
            self.free_since_ms = None;
        } else if self.free_since_ms.is_none() || matches!(step.op, Op::Gone(_) | Op::Subscribe(_))
        {
            self.free_since_ms = Some(step.wall_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn a_delivery_beyond_the_bound() {
        let mut it = Scenario::subscribed();
        it.publish("a", 100)
            .pass_ms(100 + 20_001)
            .deliver_and_ack("a")
            .drained();
        it.breaks(Rule::Late);
    }

    #[test]
    fn a_delivery_that_waited_for_credit() {
        let mut it = Scenario::with_credits(1);
        it.publish("a", 0)
            .publish("b", 0)
            .deliver("a", 1)
            .pass_ms(29_000)
            .ack_last();
        it.deliver_and_ack("b").drained().clean();
    }

    #[test]
    fn a_delivery_that_waited_for_a_member() {
        let mut it = Scenario::subscribed();
        it.gone()
            .publish("a", 0)
            .pass_ms(60_000)
            .subscribe("g", "m", 0)
            .deliver_and_ack("a");
        it.drained().clean();
    }

    #[test]
    fn a_delivery_after_a_fault() {
        let mut it = Scenario::subscribed();
        it.publish("a", 100)
            .fault(60_000)
            .subscribe("g", "m", 0)
            .deliver_and_ack("a");
        it.drained().clean();
    }
}
