//! What a group asks of stored events to put them in order: priorities from their slots, keys from
//! their bodies.

use super::events::{Events, ReadError};
use crate::delivery::Lookup;
use chronos_core::command::publish::{self, SLOT_LEN, Slot};
use chronos_core::types::TopicNumber;
use chronos_proto::raw::scan_event;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Events {
    /// Takes note of topics that have events with priorities.
    pub fn prioritize(&self, topics: impl IntoIterator<Item = TopicNumber>) {
        let mut topics = topics.into_iter().peekable();
        if topics.peek().is_some() {
            self.prioritized.write().extend(topics);
        }
    }

    /// The slots of neighbouring events, without their bodies. They are not verified: a damaged one
    /// changes the order, and the event is found out when it is read to be sent.
    fn slots(
        &self,
        first: u64,
        count: u64,
        visit: &mut dyn FnMut(u64, Slot),
    ) -> Result<(), ReadError> {
        let mut at = first;
        while at < first + count {
            let batch = self.batch_of(at)?;
            let place = batch.place(at).ok_or(ReadError::Missing {
                partition: self.partition,
                offset: at,
            })?;
            let most = (first + count - at) as usize;
            let together = super::events::neighbours(&batch, at, place, most);
            let slots = self.wal.read_body_at(
                batch.log_index,
                place.section_position + publish::slot_position(place.slot),
                (together * SLOT_LEN) as u32,
            )?;
            for slot in slots.as_chunks::<SLOT_LEN>().0 {
                visit(at, Slot::decode(slot));
                at += 1;
            }
        }
        Ok(())
    }
}

impl Lookup for Events {
    fn has_priorities(&self, topic: TopicNumber) -> bool {
        self.prioritized.read().contains(&topic)
    }

    fn priorities(&self, first: u64, count: u64) -> Vec<u8> {
        let mut priorities = vec![0; count as usize];
        let read = self.slots(first, count, &mut |offset, slot| {
            if let Some(priority) = priorities.get_mut((offset - first) as usize) {
                *priority = slot.options.priority;
            }
        });
        if let Err(error) = read {
            // Whoever is to get the event meets the same error, and it is dealt with there.
            tracing::debug!(%error, "cannot read priorities");
        }
        priorities
    }

    fn keys(&self, offsets: &[u64]) -> Vec<u64> {
        let mut keys = Vec::with_capacity(offsets.len());
        self.read(offsets, &mut |offset, read| {
            let mut hasher = DefaultHasher::new();
            match &read {
                Ok(event) => match scan_event(&event.body) {
                    Ok(fields) => fields.routing_key().hash(&mut hasher),
                    Err(_) => offset.hash(&mut hasher),
                },
                Err(_) => offset.hash(&mut hasher),
            }
            keys.push(hasher.finish());
        });
        keys
    }

    fn topic(&self, offset: u64) -> Option<Vec<u8>> {
        let mut topic = None;
        self.read(&[offset], &mut |_, read| {
            topic = read.ok().map(|event| event.topic().to_vec());
        });
        topic
    }
}
