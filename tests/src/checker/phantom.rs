//! C1: each delivered or replayed event was published, with the same content, and not refused.

use crate::history::{Reply, Seen};

use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (event, line, record) in index.sightings() {
        let attempts = index
            .publishes
            .get(event.id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let stored = |reply: &Option<Reply>| matches!(reply, None | Some(Reply::Stored { .. }));
        let mut candidates = attempts
            .iter()
            .filter(|it| it.record.t_inv_us <= record.t_ret_us && stored(&it.op.reply));
        let origin = candidates.clone().find(|it| {
            let op = it.op;
            (&op.topic, op.schedule_ts, op.hash) == (&event.topic, event.schedule_ts, event.hash)
        });
        if origin.is_some() {
            continue;
        }
        let (message, evidence) = match candidates.next().or(attempts.first()) {
            Some(publish) => (
                format!(
                    "{} differs from everything published under its id",
                    name(event)
                ),
                vec![publish.line, line],
            ),
            None => (format!("{} was never published", name(event)), vec![line]),
        };
        violations.push(Violation {
            rule: Rule::Phantom,
            message,
            evidence,
        });
    }
    violations
}

fn name(event: &Seen) -> String {
    format!(
        "event {:?} at {}/{}",
        event.id, event.partition, event.offset
    )
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn an_event_nobody_published() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0).deliver_and_ack("a").drained().clean();
        it.deliver_unpublished("ghost", 1);
        it.breaks(Rule::Phantom);
    }

    #[test]
    fn a_changed_payload() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_changed("a", |seen| seen.hash ^= 1)
            .ack_last()
            .drained();
        it.breaks(Rule::Phantom);
    }

    #[test]
    fn a_changed_time() {
        let mut it = Scenario::subscribed();
        it.publish("a", 0)
            .deliver_changed("a", |seen| seen.schedule_ts -= 1)
            .ack_last();
        it.drained().breaks(Rule::Phantom);
    }

    #[test]
    fn an_event_that_was_refused() {
        let mut it = Scenario::subscribed();
        it.publish_refused("a").deliver_unpublished("a", 0);
        it.breaks(Rule::Phantom);
    }

    #[test]
    fn an_unknown_publish_may_show_up() {
        let mut it = Scenario::subscribed();
        it.publish_unknown("a")
            .deliver_and_ack("a")
            .drained()
            .clean();
    }
}
