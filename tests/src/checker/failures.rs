//! How often an event's deliveries to a group failed: what counts towards its dead letter.
//!
//! A nack counts, and so does a delivery that was not answered in time. One that was lost with its
//! member or in a fault does not.

use crate::history::{Deliver, Outcome};

use super::Index;
use super::index::At;

/// Bounds of a count that clients cannot know exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// Nacks that were confirmed.
    pub(super) certain: usize,
    /// Everything that may have counted.
    pub(super) possible: usize,
}

/// The failures among `deliveries`, all of one event to one group.
pub(super) fn count(index: &Index<'_>, deliveries: &[At<'_, Deliver>]) -> Failures {
    let timeout_us = index.settings.ack_timeout_ms * 1_000;
    let mut failures = Failures::default();
    for delivery in deliveries {
        let acks = index.acks_of(delivery.op);
        if let Some(nack) = acks.iter().find(|ack| !ack.op.success) {
            failures.certain += usize::from(nack.record.outcome == Outcome::Ok);
            failures.possible += 1;
        } else if acks.is_empty() {
            let received_us = delivery.record.t_ret_us;
            let end_us = received_us.saturating_add(timeout_us / 2);
            let lost = index.gone_within(&delivery.op.member, received_us, end_us)
                || index.fault_within(received_us, end_us);
            failures.possible += usize::from(!lost);
        }
    }
    failures
}
