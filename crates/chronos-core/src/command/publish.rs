//! `Publish`: events to accept.
//!
//! ```text
//! count u32 · dedup_ttl_ms u64                                          12 bytes, little-endian
//! schedule_ms i64 · body position u32 · body len u24 · flags u8 ·
//! id position u24 · id len u8 · topic position u24 · topic len u8 ·
//! crc32c u32                                                            28 bytes, once per event
//! bodies                                                                as received, end to end
//! window_ms u64                                                         only with bit 31 of the count
//! ```
//!
//! Ids are remembered for the window if there is one, else for as long as the partition remembers
//! any: dedup_ttl_ms.
//!
//! Flags: bit 0 the id may be known already, bit 1 the body does not say when the event is due, bit 2
//! the body says when it expires, bits 4 to 7 the priority.
//!
//! A body is the event as the client encoded it. Nothing here reads it: the slot says where the
//! message id and the topic stand within it. Slots have a fixed size, so one event is two small
//! reads; the checksum covers the slot but for the body's position, and the body, so a damaged event condemns only itself.

use super::DecodeError;
use bytes::{BufMut, Bytes, BytesMut};

/// Length of the header, bytes.
pub const HEADER_LEN: usize = 12;
/// Length of a slot, bytes.
pub const SLOT_LEN: usize = 28;
/// Upper bound of a body's length, bytes (24 bits hold it).
pub const MAX_BODY_LEN: usize = (1 << 24) - 1;

/// Set in the count: the section ends with a window of its own.
const HAS_WINDOW: u32 = 1 << 31;

const ALLOW_DUPLICATE: u8 = 1;
const STAMPED: u8 = 2;
const EXPIRES: u8 = 4;
const PRIORITY_SHIFT: u32 = 4;

/// The highest priority; 0 is the lowest, and what an event has that asks for none.
pub const MAX_PRIORITY: u8 = 9;

/// What delivery must know of an event without reading its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The body does not say when the event is due: whoever sends it must.
    pub stamped: bool,
    /// The body says until when the event may be delivered.
    pub expires: bool,
    /// Goes before events of lower priority that are due at the same time, 0 to 9.
    pub priority: u8,
}

impl Options {
    const fn to_bits(self) -> u8 {
        let stamped = if self.stamped { STAMPED } else { 0 };
        let expires = if self.expires { EXPIRES } else { 0 };
        stamped | expires | self.priority << PRIORITY_SHIFT
    }

    const fn from_bits(bits: u8) -> Self {
        Self {
            stamped: bits & STAMPED != 0,
            expires: bits & EXPIRES != 0,
            priority: bits >> PRIORITY_SHIFT,
        }
    }
}

/// Where an event's parts stand, all checked to lie within the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When the client wants the event, Unix milliseconds.
    pub schedule_ms: i64,
    /// Where the body starts, counted from the end of the slots, bytes.
    pub body_position: u32,
    /// Length of the body, bytes.
    pub body_len: u32,
    /// Accept the event even if its message id is known, and do not remember the id.
    pub allow_duplicate: bool,
    /// What delivery must know.
    pub options: Options,
    /// Position and length of the message id within the body, bytes.
    pub id: (u32, u8),
    /// Position and length of the topic within the body, bytes.
    pub topic: (u32, u8),
    /// CRC32C of the slot before this field, without the body's position, and of the body.
    pub checksum: u32,
}

impl Slot {
    /// Reads a slot. Use [`Slot::verify`] to check it against its body.
    #[must_use]
    pub fn decode(bytes: &[u8; SLOT_LEN]) -> Self {
        let word = |at| u32::from_le_bytes(super::le(bytes, at));
        let (body, id, topic) = (word(12), word(16), word(20));
        Self {
            schedule_ms: i64::from_le_bytes(super::le(bytes, 0)),
            body_position: word(8),
            body_len: body & 0xff_ffff,
            allow_duplicate: (body >> 24) as u8 & ALLOW_DUPLICATE != 0,
            options: Options::from_bits((body >> 24) as u8),
            id: (id & 0xff_ffff, (id >> 24) as u8),
            topic: (topic & 0xff_ffff, (topic >> 24) as u8),
            checksum: word(24),
        }
    }

    /// Whether slot and body belong together and are undamaged.
    #[must_use]
    pub fn verify(bytes: &[u8; SLOT_LEN], body: &[u8]) -> bool {
        let slot = Self::decode(bytes);
        body.len() == slot.body_len as usize && slot.checksum == checksum(bytes, body)
    }

    /// The message id within the event's body.
    #[must_use]
    pub fn id_of<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        part(body, self.id)
    }

    /// The topic within the event's body.
    #[must_use]
    pub fn topic_of<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        part(body, self.topic)
    }
}

fn part(body: &[u8], (position, len): (u32, u8)) -> Option<&[u8]> {
    body.get(position as usize..position as usize + usize::from(len))
}

/// Of everything but the body's position, which changes when the event is carried to another entry.
fn checksum(slot: &[u8; SLOT_LEN], body: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&slot[..8]), &slot[12..SLOT_LEN - 4]);
    crc32c::crc32c_append(head, body)
}

/// Where slot number `slot` starts, counted from the start of the section's payload, bytes.
#[must_use]
pub const fn slot_position(slot: u32) -> u32 {
    HEADER_LEN as u32 + slot * SLOT_LEN as u32
}

/// An event to add: its parts are ranges of its body.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// When the client wants it, Unix milliseconds.
    pub schedule_ms: i64,
    /// The event as the client encoded it, at most [`MAX_BODY_LEN`] bytes.
    pub body: &'a [u8],
    /// Position and length of the message id within the body, bytes.
    pub id: (u32, u8),
    /// Position and length of the topic within the body, bytes.
    pub topic: (u32, u8),
    /// Accept it even if its message id is known.
    pub allow_duplicate: bool,
}

/// Builds a publish section.
#[derive(Debug, Default)]
pub struct Builder {
    slots: BytesMut,
    bodies: BytesMut,
}

impl Builder {
    /// A section with room for `events` events of `bytes` bytes together.
    #[must_use]
    pub fn new(events: usize, bytes: usize) -> Self {
        Self {
            slots: BytesMut::with_capacity(HEADER_LEN + events * SLOT_LEN + bytes),
            bodies: BytesMut::with_capacity(bytes),
        }
    }

    /// Adds an event.
    pub fn push(&mut self, event: NewEvent<'_>) {
        self.push_with(event, Options::default());
    }

    /// Adds an event with options.
    pub fn push_with(&mut self, event: NewEvent<'_>, options: Options) {
        debug_assert!(event.body.len() <= MAX_BODY_LEN && options.priority <= MAX_PRIORITY);
        let packed = |(position, len): (u32, u8)| position & 0xff_ffff | u32::from(len) << 24;
        let flags = options.to_bits() | (u8::from(event.allow_duplicate) * ALLOW_DUPLICATE);
        let mut slot = [0u8; SLOT_LEN];
        slot[0..8].copy_from_slice(&event.schedule_ms.to_le_bytes());
        slot[8..12].copy_from_slice(&(self.bodies.len() as u32).to_le_bytes());
        slot[12..16]
            .copy_from_slice(&(event.body.len() as u32 | u32::from(flags) << 24).to_le_bytes());
        slot[16..20].copy_from_slice(&packed(event.id).to_le_bytes());
        slot[20..24].copy_from_slice(&packed(event.topic).to_le_bytes());
        let checksum = checksum(&slot, event.body);
        slot[24..28].copy_from_slice(&checksum.to_le_bytes());
        if self.slots.is_empty() {
            self.slots.put_bytes(0, HEADER_LEN);
        }
        self.slots.put_slice(&slot);
        self.bodies.put_slice(event.body);
    }

    /// Number of events so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.slots.len().saturating_sub(HEADER_LEN) / SLOT_LEN) as u32
    }

    /// Size of the section so far, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() + self.bodies.len()
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The section. Ids accepted by it are remembered for `dedup_ttl_ms`.
    #[must_use]
    pub fn finish(self, dedup_ttl_ms: u64) -> Bytes {
        self.finish_with(dedup_ttl_ms, None)
    }

    /// The section. Ids accepted by it are remembered for `window_ms` if it is given, while the
    /// partition remembers others for `dedup_ttl_ms`.
    #[must_use]
    pub fn finish_with(mut self, dedup_ttl_ms: u64, window_ms: Option<u64>) -> Bytes {
        let mut count = self.count();
        if let Some(window_ms) = window_ms {
            count |= HAS_WINDOW;
            self.bodies.put_u64_le(window_ms);
        }
        if self.slots.is_empty() {
            self.slots.put_bytes(0, HEADER_LEN);
        }
        self.slots[0..4].copy_from_slice(&count.to_le_bytes());
        self.slots[4..12].copy_from_slice(&dedup_ttl_ms.to_le_bytes());
        self.slots.put_slice(&self.bodies);
        self.slots.freeze()
    }
}

/// A publish section, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// How long accepted ids are remembered, milliseconds.
    pub dedup_ttl_ms: u64,
    /// How long the ids of this section are remembered, if not as long as the others, milliseconds.
    pub window_ms: Option<u64>,
    slots: &'a [[u8; SLOT_LEN]],
    bodies: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads a section's payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, rest) = payload
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(DecodeError::Malformed("publish ends in its header"))?;
        let flagged = u32::from_le_bytes(super::le(header, 0));
        let (window_ms, rest) = match flagged & HAS_WINDOW {
            0 => (None, rest),
            _ => {
                let (rest, window) = rest
                    .split_last_chunk()
                    .ok_or(DecodeError::Malformed("publish ends in its window"))?;
                (Some(u64::from_le_bytes(*window)), rest)
            }
        };
        let count = (flagged & !HAS_WINDOW) as usize;
        let (slots, bodies) = count
            .checked_mul(SLOT_LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(DecodeError::Malformed("publish ends in its slots"))?;
        Ok(Self {
            dedup_ttl_ms: u64::from_le_bytes(super::le(header, 4)),
            window_ms,
            slots: slots.as_chunks().0,
            bodies,
        })
    }

    /// Number of events.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The slots and bodies in order. Each part of a slot is checked to lie within its body.
    pub fn events(&self) -> impl Iterator<Item = Result<(Slot, &'a [u8]), DecodeError>> + use<'a> {
        let bodies = self.bodies;
        self.slots.iter().map(move |bytes| {
            let slot = Slot::decode(bytes);
            let start = slot.body_position as usize;
            let body = bodies
                .get(start..start + slot.body_len as usize)
                .ok_or(DecodeError::Malformed("an event runs past the end"))?;
            if slot.id_of(body).is_none() || slot.topic_of(body).is_none() {
                return Err(DecodeError::Malformed("an id or topic runs past its event"));
            }
            Ok((slot, body))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_come_back_and_damage_is_seen() {
        let mut builder = Builder::new(2, 32);
        let event = NewEvent {
            schedule_ms: 1_700_000_000_123,
            body: b"..id-1..topic..payload",
            id: (2, 4),
            topic: (8, 5),
            allow_duplicate: false,
        };
        builder.push(event);
        builder.push(NewEvent {
            schedule_ms: -1,
            body: b"x",
            id: (0, 1),
            topic: (1, 0),
            allow_duplicate: true,
        });
        assert_eq!(builder.count(), 2);
        let payload = builder.finish(99);
        let publish = Publish::decode(&payload).unwrap();
        assert_eq!((publish.count(), publish.dedup_ttl_ms), (2, 99));
        let events: Vec<_> = publish.events().map(Result::unwrap).collect();
        let (slot, body) = events[0];
        assert_eq!((slot.schedule_ms, body), (event.schedule_ms, event.body));
        assert_eq!(
            (slot.id_of(body), slot.topic_of(body)),
            (Some(&b"id-1"[..]), Some(&b"topic"[..]))
        );
        assert!(events[1].0.allow_duplicate && !slot.allow_duplicate);
        assert_eq!(slot.options, Options::default());

        // Every bit of a slot and its body is covered by the checksum, but for the body's position:
        // another one is another body.
        let at = slot_position(0) as usize;
        let raw: [u8; SLOT_LEN] = payload[at..at + SLOT_LEN].try_into().unwrap();
        assert!(Slot::verify(&raw, body));
        for bit in (0..SLOT_LEN * 8).filter(|bit| !(64..96).contains(bit)) {
            let mut damaged = raw;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!Slot::verify(&damaged, body), "bit {bit}");
        }
        for bit in 0..body.len() * 8 {
            let mut damaged = body.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!Slot::verify(&raw, &damaged), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn options_come_back(stamped: bool, expires: bool, priority in 0..=MAX_PRIORITY, allow_duplicate: bool) {
            let options = Options { stamped, expires, priority };
            let mut builder = Builder::default();
            let event = NewEvent { schedule_ms: 1, body: b"x", id: (0, 1), topic: (1, 0), allow_duplicate };
            builder.push_with(event, options);
            let payload = builder.finish(0);
            let (slot, _) = Publish::decode(&payload).unwrap().events().next().unwrap().unwrap();
            prop_assert_eq!((slot.options, slot.allow_duplicate), (options, allow_duplicate));
        }
    }

    #[test]
    fn a_window_of_its_own_comes_back() {
        let mut builder = Builder::default();
        builder.push(NewEvent {
            schedule_ms: 1,
            body: b"body",
            id: (0, 4),
            topic: (0, 0),
            allow_duplicate: false,
        });
        let payload = builder.finish_with(9, Some(77));
        let publish = Publish::decode(&payload).unwrap();
        assert_eq!((publish.dedup_ttl_ms, publish.window_ms), (9, Some(77)));
        assert_eq!(publish.count(), 1);
        let events: Vec<_> = publish.events().map(Result::unwrap).collect();
        assert_eq!(events[0].1, b"body");
        for cut in 0..payload.len() {
            let ok = Publish::decode(&payload[..cut])
                .and_then(|p| p.events().collect::<Result<Vec<_>, _>>());
            assert!(ok.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn truncated_sections_are_refused() {
        let mut builder = Builder::new(1, 8);
        builder.push(NewEvent {
            schedule_ms: 1,
            body: b"body",
            id: (0, 4),
            topic: (0, 0),
            allow_duplicate: false,
        });
        let payload = builder.finish(0);
        for cut in 0..payload.len() {
            let ok = Publish::decode(&payload[..cut])
                .and_then(|p| p.events().collect::<Result<Vec<_>, _>>());
            assert!(ok.is_err(), "cut at {cut}");
        }
    }

    /// Events of random parts, some of which overlap.
    fn section(events: &[(i64, Vec<u8>, bool)]) -> Bytes {
        let mut builder = Builder::new(events.len(), 0);
        for (schedule_ms, body, allow_duplicate) in events {
            let len = body.len() as u8;
            builder.push(NewEvent {
                schedule_ms: *schedule_ms,
                body,
                id: (0, len),
                topic: (u32::from(len / 2), len / 3),
                allow_duplicate: *allow_duplicate,
            });
        }
        builder.finish(7)
    }

    fn any_event() -> impl Strategy<Value = (i64, Vec<u8>, bool)> {
        (
            any::<i64>(),
            prop::collection::vec(any::<u8>(), 0..20),
            any::<bool>(),
        )
    }

    proptest! {
        #[test]
        fn events_come_back_in_order(events in prop::collection::vec(any_event(), 0..6)) {
            let payload = section(&events);
            let publish = Publish::decode(&payload).unwrap();
            prop_assert_eq!(publish.count() as usize, events.len());
            for (found, (schedule_ms, body, allow_duplicate)) in publish.events().zip(&events) {
                let (slot, found) = found.unwrap();
                prop_assert_eq!((slot.schedule_ms, found), (*schedule_ms, body.as_slice()));
                prop_assert_eq!(slot.allow_duplicate, *allow_duplicate);
                prop_assert_eq!(slot.id_of(found), Some(body.as_slice()));
            }
        }

        #[test]
        fn damaged_sections_are_refused_or_read(
            events in prop::collection::vec(any_event(), 0..4),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut payload = section(&events).to_vec();
            for (at, byte) in damage {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            if let Ok(publish) = Publish::decode(&payload) {
                for (slot, body) in publish.events().flatten() {
                    prop_assert!(slot.id_of(body).is_some() && slot.topic_of(body).is_some());
                }
            }
        }
    }
}
