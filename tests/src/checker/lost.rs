//! C2: each stored event that fell due was settled by each group it was meant for.
//!
//! Settled means acknowledged, or failed as often as `-max-retries` allows and then dead-lettered. The rule speaks about groups that were drained: that had a live member with
//! credit until nothing more came. A stored event that is not yet due is the business of C12.

use std::collections::HashMap;

use crate::history::{Deliver, Outcome, Publish, Subscribe};

use super::index::{At, Stored};
use super::{Index, Rule, Violation, failures, paused};

/// A new group's start is not seen to the millisecond from outside.
const START_MARGIN_MS: i64 = 200;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = unsettled(index);
    violations.extend(dead_letters_missing(index));
    violations
}

fn unsettled(index: &Index<'_>) -> Vec<Violation> {
    let mut by_id: HashMap<(&str, &str), Vec<At<'_, Deliver>>> = HashMap::new();
    for (key, deliveries) in &index.deliveries {
        for delivery in deliveries {
            by_id
                .entry((key.0, &delivery.op.event.id))
                .or_default()
                .push(*delivery);
        }
    }
    let mut violations = Vec::new();
    for (group, subscriptions) in &index.subscriptions {
        let Some((drain_line, drained)) = index.drained.get(group) else {
            continue;
        };
        for event in &index.stored {
            let publish = event.publish.op;
            if event.known.t_ret_us > drained.t_inv_us
                || publish.schedule_ts > drained.wall_inv_ms
                || !covers(index, subscriptions, event)
                || may_have_expired(publish, drained.wall_inv_ms)
                || paused::may_have_dropped(index, group, event)
            {
                continue;
            }
            let at_offset = event
                .offset
                .and_then(|offset| index.deliveries.get(&(*group, event.partition, offset)));
            let deliveries = match (at_offset, event.offset) {
                (Some(deliveries), _) => deliveries.as_slice(),
                (None, Some(_)) => &[],
                (None, None) => by_id
                    .get(&(*group, &publish.id))
                    .map_or(&[][..], Vec::as_slice),
            };
            let most = usize::try_from(index.settings.max_attempts).unwrap_or(usize::MAX);
            if deliveries.iter().any(|it| settled(index, it))
                || failures::count(index, deliveries).possible >= most
            {
                continue;
            }
            let what = match deliveries.len() {
                0 => "never delivered".to_string(),
                times => format!("delivered {times} times, never settled, and not redelivered"),
            };
            let mut evidence = vec![event.publish.line];
            for delivery in deliveries {
                evidence.push(delivery.line);
                evidence.extend(index.acks_of(delivery.op).iter().map(|ack| ack.line));
            }
            evidence.push(*drain_line);
            violations.push(Violation {
                rule: Rule::Lost,
                message: format!("event {:?} was lost to group {group:?}: {what}", publish.id),
                evidence,
            });
        }
    }
    violations
}

fn settled(index: &Index<'_>, delivery: &At<'_, Deliver>) -> bool {
    let acked = |outcome| matches!(outcome, Outcome::Ok | Outcome::Info);
    let mut acks = index.acks_of(delivery.op).iter();
    acks.any(|it| it.op.success && acked(it.record.outcome))
}

/// An event with an end is owed until then.
fn may_have_expired(publish: &Publish, at_ms: i64) -> bool {
    publish.expires_at != 0 && publish.expires_at <= at_ms
}

/// Whether the group was promised this event.
fn covers(index: &Index<'_>, subscriptions: &[At<'_, Subscribe>], event: &Stored<'_>) -> bool {
    let publish = event.publish.op;
    let wanted = subscriptions.iter().any(|it| {
        (it.op.topic.is_empty() || it.op.topic == publish.topic)
            && (it.op.partition < 0 || it.op.partition == event.partition)
    });
    let Some(first) = subscriptions
        .iter()
        .find(|it| it.record.outcome == Outcome::Ok)
    else {
        return false;
    };
    wanted
        && match subscriptions[0].op.start_offset {
            0 => true,
            -1 => {
                event.publish.record.t_inv_us > first.record.t_ret_us
                    || publish.schedule_ts > first.record.wall_ret_ms + START_MARGIN_MS
                    || first_of_topic(index, &subscriptions[0])
            }
            start => event.offset.is_some_and(|offset| offset >= start),
        }
}

/// The first group of a topic also gets what fired while nobody was there.
fn first_of_topic(index: &Index<'_>, made: &At<'_, Subscribe>) -> bool {
    index.subscriptions.values().all(|others| {
        others[0].op.member.group == made.op.member.group
            || (others[0].op.topic != made.op.topic && !others[0].op.topic.is_empty())
            || others[0].record.t_inv_us > made.record.t_ret_us
    })
}

/// What was nacked at its last attempt must be among the dead letters that the server counts.
fn dead_letters_missing(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, record, count) in &index.dead_letters {
        let since_us = index
            .faults
            .iter()
            .map(|(_, fault)| fault.t_ret_us)
            .filter(|end_us| *end_us <= record.t_inv_us)
            .max()
            .unwrap_or(0);
        let most = usize::try_from(index.settings.max_attempts).unwrap_or(usize::MAX);
        let (mut exhausted, mut evidence) = (0, vec![*line]);
        for deliveries in index.deliveries.values() {
            let nacked_before = |delivery: &&At<'_, Deliver>| {
                index.acks_of(delivery.op).iter().any(|ack| {
                    ack.record.t_inv_us >= since_us && ack.record.t_ret_us <= record.t_inv_us
                })
            };
            let before: Vec<_> = deliveries.iter().filter(nacked_before).copied().collect();
            if failures::count(index, &before).certain >= most {
                exhausted += 1;
                evidence.extend(before.last().map(|delivery| delivery.line));
            }
        }
        if *count < exhausted {
            violations.push(Violation {
                rule: Rule::Lost,
                message: format!(
                    "{exhausted} events used up their attempts, but {count} are dead letters"
                ),
                evidence,
            });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn an_event_that_never_came() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .publish("b", 0)
            .deliver_and_ack("a")
            .drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn an_event_that_was_nacked_and_never_came_back() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .nack_last()
            .pass_ms(60_000)
            .drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn an_event_that_came_back() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver("a", 1)
            .nack_last()
            .pass_ms(100)
            .deliver("a", 2)
            .ack_last();
        it.drained().clean();
    }

    #[test]
    fn an_event_whose_attempts_are_used_up() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0);
        for attempt in 1..=5 {
            it.deliver("a", attempt).nack_last();
        }
        it.drained().dead_letters(1).clean();
    }

    #[test]
    fn a_dead_letter_that_was_dropped() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0);
        for attempt in 1..=5 {
            it.deliver("a", attempt).nack_last();
        }
        it.drained().dead_letters(0).breaks(Rule::Lost);
    }

    #[test]
    fn a_duplicate_reply_proves_the_unknown_publish() {
        let mut it = Scenario::subscribed();
        it.publish_unknown("a")
            .publish_duplicate("a")
            .pass_ms(2_000)
            .drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn an_unknown_publish_may_be_nowhere() {
        let mut it = Scenario::subscribed();
        it.publish_unknown("a").pass_ms(2_000).drained().clean();
    }

    #[test]
    fn an_unknown_publish_seen_by_one_group_is_owed_to_the_other() {
        let mut it = Scenario::subscribed();
        it.subscribe("other", "m2", 0)
            .publish_unknown("a")
            .deliver_and_ack("a")
            .drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn an_event_that_expired_is_not_owed_and_one_that_did_not_is() {
        let mut it = Scenario::subscribed();
        it.expiring_in(5).publish("a", 0).pass_ms(2_000).drained();
        it.clean();
        let mut it = Scenario::subscribed();
        it.expiring_in(9_000)
            .publish("a", 0)
            .pass_ms(2_000)
            .drained();
        it.breaks(Rule::Lost);
    }

    #[test]
    fn a_group_that_starts_later_is_not_owed_what_fired_before() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_and_ack("a")
            .pass_ms(5_000)
            .subscribe("late", "m2", -1);
        it.drained().clean();
    }

    #[test]
    fn a_group_that_starts_later_is_owed_what_is_still_to_fire() {
        let mut it = Scenario::subscribed();
        it.publish("a", 9_000)
            .subscribe("late", "m2", -1)
            .pass_ms(9_000)
            .deliver_and_ack("a");
        it.drained().breaks(Rule::Lost);
    }

    #[test]
    fn an_event_not_yet_due_is_not_lost() {
        let mut it = Scenario::subscribed();
        it.publish("a", 90_000).pass_ms(5_000).drained().clean();
    }
}
