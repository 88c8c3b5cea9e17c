//! C14: after the heal, publishes succeed again and every replica catches up.

use crate::history::{Outcome, Records};
use crate::world::World;

/// Whether a publish that began after `since_us` succeeded.
#[must_use]
pub fn has_published(records: &Records, since_us: i64) -> bool {
    records
        .publishes
        .iter()
        .any(|call| call.span.invoked_us >= since_us && matches!(call.outcome, Outcome::Done(_)))
}

/// A node that does not run, or has not applied all that any replica did.
#[must_use]
pub fn laggard(world: &World) -> Option<u64> {
    let last = world.ledger.len().checked_sub(1);
    let is_behind = |number: u64| {
        let process = world.node(number).and_then(|node| node.process());
        let applied = process.and_then(|process| process.partition.lock().applied());
        applied.map(|applied| applied.index) < last
    };
    let mut numbers = world.nodes().into_iter().map(|node| node.number);
    numbers.find(|number| is_behind(*number))
}
