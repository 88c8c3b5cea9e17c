//! `Carry` and `Moved`: events that are still needed go to the end of the log, so that its beginning
//! can be removed.
//!
//! Two commands, one after the other. `Carry` brings the events once more, as a publish section of
//! [`super::publish`] byte for byte; applying it changes nothing. Once that entry is durable, `Moved`
//! says that these offsets stand there from now on. So wherever the log may lose its end, the index
//! never points at an entry that the log does not have.
//!
//! `Moved`, all varints:
//!
//! ```text
//! log index of the `Carry` entry · position of its section · events in it
//! number of ranges of first offsets whose places are removed · for each: distance, length
//! number of stretches of events · for each: distance of the first offset, count,
//!     now_ms and term of the entry that accepted them, earliest and latest schedule_ts
//! number of topics · for each: number, due time up to which chunks and runs are removed, and overrides
//! number of events whose versions are removed · for each: distance of the offset
//! offset below which events may have been carried
//! ```

use super::DecodeError;
use super::publish::{HEADER_LEN, SLOT_LEN};
use crate::types::TopicNumber;
use crate::varint::{put_i64, put_u64, take_i64, take_u32, take_u64};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;

/// Builds the section of a `Carry` command out of stored slots and bodies.
#[derive(Debug, Default)]
pub struct Builder {
    slots: BytesMut,
    bodies: BytesMut,
}

impl Builder {
    /// Adds an event with the slot it has in the log. The checksum stays as it is: a damaged event
    /// stays a damaged event.
    pub fn push(&mut self, slot: &[u8; SLOT_LEN], body: &[u8]) {
        let mut slot = *slot;
        slot[8..12].copy_from_slice(&(self.bodies.len() as u32).to_le_bytes());
        self.slots.put_slice(&slot);
        self.bodies.put_slice(body);
    }

    /// Number of events so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.slots.len() / SLOT_LEN) as u32
    }

    /// Size of the section so far, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.slots.len() + self.bodies.len()
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The section.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let mut section = BytesMut::with_capacity(self.len());
        section.put_u32_le(self.count());
        section.put_u64_le(0);
        section.put_slice(&self.slots);
        section.put_slice(&self.bodies);
        section.freeze()
    }
}

/// A stretch of carried events: neighbours in offset that one entry had accepted, and neighbours in
/// the `Carry` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Offset of the first.
    pub first_offset: u64,
    /// How many.
    pub count: u32,
    /// The leader's clock when they were accepted, Unix milliseconds.
    pub now_ms: i64,
    /// Its term.
    pub term: u64,
    /// Earliest and latest schedule_ts at publish among them, Unix milliseconds.
    pub schedule_ms: (i64, i64),
}

/// Up to where the due order of a topic is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// The topic.
    pub topic: TopicNumber,
    /// Runs and whole chunks of events due before this go, Unix milliseconds.
    pub before_ms: i64,
    /// Overrides of events due before this go: no chunk that is left speaks of them.
    pub overrides_before_ms: i64,
}

/// Where carried events stand from now on, and what nobody needs any longer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Log index of the entry with the `Carry` section.
    pub log_index: u64,
    /// Where that section starts in the entry's body, bytes.
    pub section_position: u32,
    /// Events in the section.
    pub section_count: u32,
    /// Ranges of first offsets: their entries' places are removed. Ascending.
    pub removed: Vec<Range<u64>>,
    /// The carried events, ascending, in the order of the section's slots.
    pub stretches: Vec<Stretch>,
    /// Topics whose past is forgotten.
    pub forgotten: Vec<Forgotten>,
    /// Events that are gone and whose versions nobody asks for. Ascending.
    pub versions: Vec<u64>,
    /// Every event that was ever carried has an offset below this.
    pub carried_upto: u64,
}

impl Moved {
    /// The section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.log_index);
        put_u64(&mut out, u64::from(self.section_position));
        put_u64(&mut out, u64::from(self.section_count));
        put_u64(&mut out, self.removed.len() as u64);
        let mut last = 0;
        for range in &self.removed {
            put_u64(&mut out, range.start.wrapping_sub(last));
            put_u64(&mut out, range.end.wrapping_sub(range.start));
            last = range.end;
        }
        put_u64(&mut out, self.stretches.len() as u64);
        let mut last = 0;
        for stretch in &self.stretches {
            put_u64(&mut out, stretch.first_offset.wrapping_sub(last));
            put_u64(&mut out, u64::from(stretch.count));
            put_i64(&mut out, stretch.now_ms);
            put_u64(&mut out, stretch.term);
            put_i64(&mut out, stretch.schedule_ms.0);
            put_i64(&mut out, stretch.schedule_ms.1);
            last = stretch.first_offset;
        }
        put_u64(&mut out, self.forgotten.len() as u64);
        for forgotten in &self.forgotten {
            put_u64(&mut out, u64::from(forgotten.topic));
            put_i64(&mut out, forgotten.before_ms);
            put_i64(&mut out, forgotten.overrides_before_ms);
        }
        put_u64(&mut out, self.versions.len() as u64);
        let mut last = 0;
        for offset in &self.versions {
            put_u64(&mut out, offset.wrapping_sub(last));
            last = *offset;
        }
        put_u64(&mut out, self.carried_upto);
        out
    }

    /// Reads a section.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let mut moved = Self {
            log_index: take_u64(input)?,
            section_position: take_u32(input)?,
            section_count: take_u32(input)?,
            ..Self::default()
        };
        let mut last = 0_u64;
        for _ in 0..take_u64(input)? {
            let start = last.wrapping_add(take_u64(input)?);
            let end = start.wrapping_add(take_u64(input)?);
            moved.removed.push(start..end);
            last = end;
        }
        let mut last = 0_u64;
        for _ in 0..take_u64(input)? {
            let first_offset = last.wrapping_add(take_u64(input)?);
            moved.stretches.push(Stretch {
                first_offset,
                count: take_u32(input)?,
                now_ms: take_i64(input)?,
                term: take_u64(input)?,
                schedule_ms: (take_i64(input)?, take_i64(input)?),
            });
            last = first_offset;
        }
        for _ in 0..take_u64(input)? {
            moved.forgotten.push(Forgotten {
                topic: take_u32(input)?,
                before_ms: take_i64(input)?,
                overrides_before_ms: take_i64(input)?,
            });
        }
        let mut last = 0_u64;
        for _ in 0..take_u64(input)? {
            last = last.wrapping_add(take_u64(input)?);
            moved.versions.push(last);
        }
        moved.carried_upto = take_u64(input)?;
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::publish::{self, NewEvent, Publish, Slot};
    use proptest::prelude::*;

    #[test]
    fn carried_events_are_what_they_were() {
        let mut events = publish::Builder::new(3, 64);
        for body in [&b"first"[..], b"second", b"third"] {
            events.push(NewEvent {
                schedule_ms: 7,
                body,
                id: (0, 2),
                topic: (2, 3),
                allow_duplicate: false,
            });
        }
        let section = events.finish(9);
        let (slots, bodies) = section[HEADER_LEN..].split_at(3 * SLOT_LEN);
        let slots = slots.as_chunks::<SLOT_LEN>().0;
        let mut carry = Builder::default();
        for slot in &slots[1..] {
            let Slot {
                body_position,
                body_len,
                ..
            } = Slot::decode(slot);
            carry.push(slot, &bodies[body_position as usize..][..body_len as usize]);
        }
        assert_eq!(carry.count(), 2);
        let len = carry.len();
        let section = carry.finish();
        assert_eq!(section.len(), len);
        let again = Publish::decode(&section).unwrap();
        let bodies: Vec<_> = again.events().map(|event| event.unwrap().1).collect();
        assert_eq!(bodies, [&b"second"[..], b"third"]);
        let carried = section[HEADER_LEN..].as_chunks::<SLOT_LEN>().0;
        assert!(Slot::verify(&carried[0], b"second") && Slot::verify(&carried[1], b"third"));
        assert_eq!(
            Slot::decode(&carried[1]).checksum,
            Slot::decode(&slots[2]).checksum
        );
    }

    prop_compose! {
        fn stretch()(first_offset: u64, count: u32, now_ms: i64, term: u64, schedule_ms: (i64, i64)) -> Stretch {
            Stretch { first_offset, count, now_ms, term, schedule_ms }
        }
    }

    prop_compose! {
        fn moved()(
            (log_index, section_position, section_count) in any::<(u64, u32, u32)>(),
            removed in prop::collection::vec(any::<Range<u64>>(), 0..4),
            stretches in prop::collection::vec(stretch(), 0..4),
            forgotten in prop::collection::vec(any::<(u32, i64, i64)>(), 0..3),
            versions: Vec<u64>, carried_upto: u64,
        ) -> Moved {
            let forgotten = forgotten.into_iter().map(|(topic, before_ms, overrides_before_ms)| {
                Forgotten { topic, before_ms, overrides_before_ms }
            });
            Moved {
                log_index, section_position, section_count, removed, stretches,
                forgotten: forgotten.collect(), versions, carried_upto,
            }
        }
    }

    proptest! {
        #[test]
        fn a_move_comes_back(moved in moved()) {
            let section = moved.encode();
            prop_assert_eq!(Moved::decode(&section), Ok(moved));
            for cut in 0..section.len() {
                prop_assert!(Moved::decode(&section[..cut]).is_err());
            }
        }
    }
}
