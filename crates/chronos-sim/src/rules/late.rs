//! C4: after the heal, what is due is settled by every group before long.

use crate::oracle::Model;
use chronos_core::types::DueKey;

/// An event that is due by a clock that shows `now_ms`, and a group that has not settled it.
#[must_use]
pub fn overdue(model: &Model, now_ms: i64) -> Option<(String, DueKey)> {
    for group in &model.groups {
        for (offset, event) in (0..).zip(&model.events) {
            let Some(key) = model.key_of(offset) else {
                continue;
            };
            let is_due = event.wanted_ms <= now_ms;
            if is_due && group.is_for(event, offset) && !group.has_settled(key) {
                return Some((group.created.name.clone(), key));
            }
        }
    }
    None
}
