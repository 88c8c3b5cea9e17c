//! Taking the live events of the log's oldest entries to its end, a step at a time.
//!
//! A step covers whole entries: the places of all their events are replaced together, by those of the
//! events that are carried and by nothing for the others. So a step that never happens, because the
//! leader fell in between, leaves everything where it was.

use super::live::visit_places;
use crate::command::carry::{Builder, Moved, Stretch};
use crate::keys::batch::Batch;
use crate::store::{Store, StoreError};
use crate::types::PartitionNumber;
use bytes::Bytes;
use roaring::RoaringTreemap;
use std::ops::ControlFlow;

/// A step looks at so many entries at most.
const STEP_ENTRIES: usize = 16 * 1024;

/// Reads stored events.
pub trait Source {
    /// Why it cannot.
    type Error: From<StoreError>;

    /// Adds `count` events of an entry from offset `first` on, as they are stored. Returns the
    /// earliest and latest schedule_ts among them.
    fn add(
        &mut self,
        batch: &Batch,
        first: u64,
        count: u32,
        to: &mut Builder,
    ) -> Result<(i64, i64), Self::Error>;
}

/// What a step is to look at.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The partition.
    pub partition: PartitionNumber,
    /// Offset to begin at.
    pub from: u64,
    /// Events from here on stand in later entries.
    pub upto: u64,
    /// Events that stand in entries up to this one are carried.
    pub last_index: u64,
    /// A step is large enough with so many bytes of events.
    pub step_bytes: usize,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// The section of the `Carry` command; `None` when nothing of these entries is live.
    pub section: Option<Bytes>,
    /// Events in it.
    pub events: u32,
    /// What is to be said once the section is durable, but for where it stands.
    pub moved: Moved,
    /// Offset from which the next step looks on.
    pub next: u64,
}

/// The next step; `None` when there are no more.
pub fn next_step<T: Source>(
    store: &impl Store,
    scope: Scope,
    live: &RoaringTreemap,
    source: &mut T,
) -> Result<Option<Step>, T::Error> {
    let mut carry = Builder::default();
    let mut moved = Moved::default();
    let (mut next, mut seen, mut failed) = (scope.upto, 0, None);
    // Whether entries that stay lie between the last one that goes and this one.
    let mut apart = true;
    visit_places(
        store,
        scope.partition,
        scope.from..scope.upto,
        &mut |batch| {
            if carry.len() >= scope.step_bytes || seen == STEP_ENTRIES {
                next = batch.first_offset;
                return ControlFlow::Break(());
            }
            if batch.log_index > scope.last_index {
                apart = true;
                return ControlFlow::Continue(());
            }
            seen += 1;
            let end = batch.first_offset + 1;
            match moved.removed.last_mut().filter(|_| !apart) {
                Some(range) => range.end = end,
                None => moved.removed.push(batch.first_offset..end),
            }
            apart = false;
            moved.carried_upto = batch.first_offset + batch.count();
            match add_live(&batch, live, &mut carry, &mut moved.stretches, source) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        },
    )?;
    if let Some(error) = failed {
        return Err(error);
    }
    if seen == 0 {
        return Ok(None);
    }
    moved.section_count = carry.count();
    Ok(Some(Step {
        events: carry.count(),
        section: (!carry.is_empty()).then(|| carry.finish()),
        moved,
        next,
    }))
}

fn add_live<T: Source>(
    batch: &Batch,
    live: &RoaringTreemap,
    carry: &mut Builder,
    stretches: &mut Vec<Stretch>,
    source: &mut T,
) -> Result<(), T::Error> {
    let end = batch.first_offset + batch.count();
    let mut from = batch.first_offset;
    while let Some((first, count)) = next_stretch(live, from, end) {
        let schedule_ms = source.add(batch, first, count, carry)?;
        stretches.push(Stretch {
            first_offset: first,
            count,
            now_ms: batch.now_ms,
            term: batch.term,
            schedule_ms,
        });
        from = first + u64::from(count);
    }
    Ok(())
}

/// The next offsets in `from..end` that follow each other in a set: the first and how many.
fn next_stretch(set: &RoaringTreemap, from: u64, end: u64) -> Option<(u64, u32)> {
    let rank = match from.checked_sub(1) {
        Some(before) => set.rank(before),
        None => 0,
    };
    let first = set.select(rank).filter(|first| *first < end)?;
    let mut count = 1;
    while first + count < end && set.contains(first + count) {
        count += 1;
    }
    Some((first, count as u32))
}
