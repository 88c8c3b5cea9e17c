//! Where events stand in the log.

use crate::keys::batch::{self, Batch};
use crate::keys::meta::{self, Kind};
use crate::store::{Family, Store, StoreError};
use crate::types::PartitionNumber;
use crate::varint::take_u64;
use std::ops::ControlFlow;

const DAMAGED: StoreError = StoreError::Damaged {
    family: Family::Batch,
    reason: "the place of a log entry is malformed",
};

/// How often the floor is looked for while events are being carried at the same time.
const MOST_LOOKS: usize = 16;

/// Visits where events stand in the log, by the offsets of entries' first events.
pub fn visit_places(
    store: &impl Store,
    partition: PartitionNumber,
    offsets: std::ops::Range<u64>,
    visit: &mut dyn FnMut(Batch) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let from = batch::key(partition, offsets.start);
    let to = batch::key(partition, offsets.end);
    let mut damaged = false;
    store.scan(
        Family::Batch,
        &from,
        &to,
        &mut |key, value| match Batch::decode(key, value) {
            Ok(batch) => visit(batch),
            Err(_) => {
                damaged = true;
                ControlFlow::Break(())
            }
        },
    )?;
    if damaged { Err(DAMAGED) } else { Ok(()) }
}

/// The lowest log index at which the index knows an event to stand: a replica may remove its own log
/// below this, as far as a durable checkpoint covers it. `None` when it knows of no event.
///
/// Reads the places of all events that were ever carried, and one more. May be asked beside the
/// partition. While events are being carried it may be lower than it could be, never higher.
pub fn floor_of_places(
    store: &impl Store,
    partition: PartitionNumber,
) -> Result<Option<u64>, StoreError> {
    // Events that were never carried stand in the order of their offsets. Which those are changes in
    // the very write that moves others, so it must be the same before and after the look.
    let mut carried_upto = carried_upto(store, partition)?;
    for _ in 0..MOST_LOOKS {
        let mut floor = None;
        let mut lower = |batch: Batch| {
            floor = Some(floor.unwrap_or(batch.log_index).min(batch.log_index));
        };
        visit_places(store, partition, 0..carried_upto, &mut |batch| {
            lower(batch);
            ControlFlow::Continue(())
        })?;
        visit_places(store, partition, carried_upto..u64::MAX, &mut |batch| {
            lower(batch);
            ControlFlow::Break(())
        })?;
        let before = std::mem::replace(&mut carried_upto, self::carried_upto(store, partition)?);
        if carried_upto == before {
            return Ok(floor);
        }
    }
    Ok(Some(0))
}

fn carried_upto(store: &impl Store, partition: PartitionNumber) -> Result<u64, StoreError> {
    let key = meta::key(partition, Kind::Carried, 0);
    let Some(value) = store.get(Family::Meta, &key)? else {
        return Ok(0);
    };
    take_u64(&mut value.as_slice()).map_err(|_| StoreError::Damaged {
        family: Family::Meta,
        reason: "how far events were carried is malformed",
    })
}
