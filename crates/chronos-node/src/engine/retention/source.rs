//! Reading events as they are stored, to be written elsewhere as they are.

use super::RetentionError;
use crate::engine::events::Events;
use chronos_core::command::carry::Builder;
use chronos_core::command::publish::Slot;
use chronos_core::keys::batch::Batch;
use chronos_core::partition::carrying;

/// The log of a partition.
pub struct Source<'a> {
    events: &'a Events,
}

impl<'a> Source<'a> {
    /// Reads through the partition's reader.
    pub fn new(events: &'a Events) -> Self {
        Self { events }
    }

    /// Length of an event's slot and body, bytes.
    pub fn stored_bytes(&mut self, batch: &Batch, offset: u64) -> Result<u64, RetentionError> {
        let mut builder = Builder::default();
        let before = builder.len();
        carrying::Source::add(self, batch, offset, 1, &mut builder)?;
        Ok((builder.len() - before) as u64)
    }
}

impl carrying::Source for Source<'_> {
    type Error = RetentionError;

    fn add(
        &mut self,
        batch: &Batch,
        first: u64,
        count: u32,
        to: &mut Builder,
    ) -> Result<(i64, i64), RetentionError> {
        let (mut times, mut from) = ((i64::MAX, i64::MIN), first);
        let end = first + u64::from(count);
        while from < end {
            let read = self.events.stored(batch, from, (end - from) as usize)?;
            from += read.len() as u64;
            for (slot, body) in read.parts() {
                let schedule_ms = Slot::decode(slot).schedule_ms;
                times = (times.0.min(schedule_ms), times.1.max(schedule_ms));
                // A slot that does not say where its body is was damaged, and so is the event.
                to.push(slot, &body.unwrap_or_default());
            }
        }
        Ok(times)
    }
}
