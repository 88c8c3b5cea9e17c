//! C12: what the server counts equals what the clients' history implies.
//!
//! Seen from outside, a rebuild of the server's state from the history is two numbers for each
//! partition: how many events are stored, and how many of them are not yet due. They are compared
//! whenever they were read, before and after restarts alike.

use super::{Index, Rule, Violation};

/// How long an event may count as pending after it fell due.
const FIRING_MS: i64 = 2_000;

/// How long before its time an event may count as fired: a server may write its firing ahead.
const AHEAD_MS: i64 = 100;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for read in &index.partition_states {
        let (mut stored, mut pending) = (Bounds::default(), Bounds::default());
        let (inv_ms, ret_ms) = (read.record.wall_inv_ms, read.record.wall_ret_ms);
        for event in index
            .stored
            .iter()
            .filter(|it| it.partition == read.op.partition)
        {
            let due_ms = event.publish.op.schedule_ts;
            let certain = event.known.t_ret_us <= read.record.t_inv_us;
            if event.publish.record.t_inv_us <= read.record.t_ret_us {
                stored.add(certain, true);
                pending.add(
                    certain && due_ms > ret_ms + AHEAD_MS,
                    due_ms > inv_ms - FIRING_MS,
                );
            }
        }
        for publish in &index.unproven {
            if index.partition_of(publish.op) == read.op.partition
                && publish.record.t_inv_us <= read.record.t_ret_us
            {
                stored.add(false, true);
                pending.add(false, publish.op.schedule_ts > inv_ms - FIRING_MS);
            }
        }
        for (what, bounds, count) in [
            ("stored", stored, read.op.last_offset + 1),
            ("pending", pending, read.op.active_timers),
        ] {
            if count < bounds.least || count > bounds.most {
                violations.push(Violation {
                    rule: Rule::Counts,
                    message: format!(
                        "partition {} counts {count} events {what}, the history says {} to {}",
                        read.op.partition, bounds.least, bounds.most
                    ),
                    evidence: vec![read.line],
                });
            }
        }
    }
    violations
}

#[derive(Clone, Copy, Default)]
struct Bounds {
    least: i64,
    most: i64,
}

impl Bounds {
    fn add(&mut self, certain: bool, possible: bool) {
        self.least += i64::from(certain);
        self.most += i64::from(certain || possible);
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn counts_that_agree() {
        let mut it = Scenario::bare();
        it.partition_state(0, -1)
            .publish("a", 0)
            .publish("b", 90_000)
            .publish_refused("c");
        it.pass_ms(5_000)
            .partition_state(1, 1)
            .fault(100)
            .partition_state(1, 1)
            .clean();
    }

    #[test]
    fn a_timer_forgotten_by_a_restart() {
        let mut it = Scenario::bare();
        it.publish("a", 90_000)
            .partition_state(1, 0)
            .fault(100)
            .partition_state(0, 0);
        it.breaks(Rule::Counts);
    }

    #[test]
    fn an_event_stored_twice() {
        let mut it = Scenario::bare();
        it.publish("a", 0).pass_ms(5_000).partition_state(0, 1);
        it.breaks(Rule::Counts);
    }

    #[test]
    fn an_unknown_publish_counts_either_way() {
        let mut it = Scenario::bare();
        it.publish_unknown("a")
            .pass_ms(5_000)
            .partition_state(0, 0)
            .clean();
        let mut it = Scenario::bare();
        it.publish_unknown("a")
            .pass_ms(5_000)
            .partition_state(0, -1)
            .clean();
    }
}
