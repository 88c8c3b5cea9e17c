//! C5: a redelivery has a reason, and after an answer counted nothing comes again.
//!
//! Reasons are a nack, an answer that did not come in time or whose outcome nobody knows, a member
//! that went, and another leader. An answer to what an earlier leader sent may come while the next
//! delivery is on its way already, so deliveries count from when they were handed out. That none of an
//! earlier leader leaves when another one leads is the rule of `lease.rs`.

use super::{Evidence, Rule};
use crate::history::{AnswerCall, Delivery, Excuse, Outcome};
use std::collections::BTreeMap;

type Event<'a> = (&'a str, u64);

pub(super) fn check(evidence: &Evidence<'_>) {
    let mut answers: BTreeMap<Event<'_>, Vec<&AnswerCall>> = BTreeMap::new();
    for answer in &evidence.records.answers {
        let event = (answer.group.as_str(), answer.key.offset);
        answers.entry(event).or_default().push(answer);
    }
    let mut before: BTreeMap<Event<'_>, &Delivery> = BTreeMap::new();
    let mut deliveries: Vec<&Delivery> = evidence.records.deliveries.iter().collect();
    deliveries.sort_by_key(|delivery| delivery.handed_us);
    for delivery in deliveries {
        let event = (delivery.group.as_str(), delivery.key.offset);
        let answers = answers.get(&event).map_or(&[][..], Vec::as_slice);
        let counted = answers.iter().find(|answer| {
            answer.success
                && answer.outcome == Outcome::Done(true)
                && answer.span.returned_us < delivery.handed_us
        });
        if let Some(counted) = counted {
            evidence.verdict.add(
                Rule::Duplicate,
                format!(
                    "{} was sent again after an answer counted: {counted:?}, then {delivery:?}",
                    event.1
                ),
            );
        }
        if let Some(before) = before.insert(event, delivery)
            && !has_reason(evidence, before, delivery, answers)
        {
            evidence.verdict.add(
                Rule::Duplicate,
                format!(
                    "{} was sent again without a reason: {before:?}, then {delivery:?}",
                    event.1
                ),
            );
        }
    }
}

fn has_reason(
    evidence: &Evidence<'_>,
    before: &Delivery,
    again: &Delivery,
    answers: &[&AnswerCall],
) -> bool {
    if before.reign != again.reign {
        return true;
    }
    let nacked = answers
        .iter()
        .any(|answer| answer.attempt == before.attempt && !answer.success);
    let is_late = again.handed_us - before.handed_us >= evidence.ack_timeout_us;
    let is_gone = || {
        let gone = Excuse::MemberGone {
            group: before.group.clone(),
            member: before.member,
        };
        let between = before.handed_us..=again.sent_us;
        let mut excuses = evidence.records.excuses.iter();
        excuses.any(|(at_us, excuse)| between.contains(at_us) && *excuse == gone)
    };
    nacked || is_late || is_gone()
}
