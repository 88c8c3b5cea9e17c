//! C17: a group that is paused receives nothing, but for what was on its way; and what fell due while
//! a pause dropped never comes.

use crate::history::Pause;

use super::index::{At, Stored};
use super::{Index, Rule, Violation};

/// How far from the ends of a pause an event must fall due for the pause to be sure of it.
const MARGIN_MS: i64 = 500;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let published = index.published();
    let in_flight_us = index.settings.in_flight_ms * 1_000;
    let mut violations = Vec::new();
    for pause in &index.pauses {
        let (from_us, to_us) = (pause.record.t_inv_us, pause.record.t_ret_us);
        let all = index.deliveries.values().flatten();
        for delivery in all.filter(|it| it.op.member.group == pause.op.group) {
            let event = &delivery.op.event;
            let at_us = delivery.record.t_ret_us;
            let held = at_us > from_us + in_flight_us && at_us < to_us;
            let stored = published.get(&(event.partition, event.offset));
            let dropped = at_us > from_us && stored.is_some_and(|it| was_dropped(index, pause, it));
            if held || dropped {
                let what = match dropped {
                    true => "though a pause had dropped it",
                    false => "while it was paused",
                };
                violations.push(Violation {
                    rule: Rule::Paused,
                    message: format!("event {:?} reached {:?} {what}", event.id, pause.op.group),
                    evidence: vec![pause.line, delivery.line],
                });
            }
        }
    }
    violations
}

/// Whether an event certainly fell due while the pause dropped what fell due.
fn was_dropped(index: &Index<'_>, pause: &At<'_, Pause>, event: &Stored<'_>) -> bool {
    let (earliest_ms, latest_ms) = event.due_ms();
    let existed = |first: &At<'_, _>| first.record.t_ret_us < pause.record.t_inv_us;
    let subscriptions = index.subscriptions.get(pause.op.group.as_str());
    pause.op.drops
        && subscriptions
            .and_then(|all| all.first())
            .is_some_and(existed)
        && earliest_ms > pause.record.wall_inv_ms + MARGIN_MS
        && latest_ms < pause.record.wall_ret_ms - MARGIN_MS
}

/// Whether a pause may have dropped an event for a group.
pub(super) fn may_have_dropped(index: &Index<'_>, group: &str, event: &Stored<'_>) -> bool {
    let (earliest_ms, latest_ms) = event.due_ms();
    index.pauses.iter().any(|pause| {
        pause.op.drops
            && pause.op.group == group
            && latest_ms >= pause.record.wall_inv_ms - MARGIN_MS
            && earliest_ms <= pause.record.wall_ret_ms + MARGIN_MS
    })
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn received_while_it_is_paused() {
        let mut it = Scenario::subscribed();
        it.publish("a", 2_500).pause(false, 2_600);
        // The scenario writes the pause first, and goes back into it.
        it.pass_ms(-50).deliver_and_ack("a").pass_ms(100).drained();
        it.breaks(Rule::Paused);
    }

    #[test]
    fn received_when_it_goes_on() {
        let mut it = Scenario::subscribed();
        it.publish("a", 2_500).pause(false, 5_000);
        it.deliver_and_ack("a").drained().clean();
    }

    #[test]
    fn held_and_lost() {
        let mut it = Scenario::subscribed();
        it.publish("a", 2_500).pause(false, 5_000).drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn dropped_and_gone() {
        let mut it = Scenario::subscribed();
        it.publish("a", 2_500).pause(true, 5_000).drained().clean();
    }

    #[test]
    fn dropped_and_received_all_the_same() {
        let mut it = Scenario::subscribed();
        it.publish("a", 2_500).pause(true, 5_000);
        it.deliver_and_ack("a").drained().breaks(Rule::Paused);
    }

    #[test]
    fn a_pause_drops_nothing_that_falls_due_later() {
        let mut it = Scenario::subscribed();
        it.publish("a", 9_000).pause(true, 5_000).pass_ms(5_000);
        it.drained().breaks(Rule::Lost);
    }
}
