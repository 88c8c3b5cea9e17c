//! `Batch`: where the events of one log entry stand in the log.
//!
//! Key: partition (4) · first offset (8, big-endian).
//! Value: log index, leader time and term of the entry, earliest and latest schedule_ts, then one
//! span for each stretch of accepted events: section position, first slot, slots in the section,
//! count. All numbers are varints. A duplicate that was refused leaves a gap between spans, so
//! offsets stay contiguous.

use crate::types::PartitionNumber;
use crate::varint::{Malformed, put_i64, put_u64, take_i64, take_u32, take_u64};

/// A stretch of accepted events: neighbours in the section and in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the publish section starts in the entry's body, bytes.
    pub section_position: u32,
    /// Events in that section, refused ones included.
    pub section_count: u32,
    /// Slot of the first event of the stretch.
    pub first_slot: u32,
    /// Events in the stretch.
    pub count: u32,
}

/// Where the events of one log entry stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first event.
    pub first_offset: u64,
    /// Index of the log entry.
    pub log_index: u64,
    /// The leader's clock when it proposed the entry, Unix milliseconds.
    pub now_ms: i64,
    /// The leader's term.
    pub term: u64,
    /// Earliest and latest schedule_ts among the events, Unix milliseconds.
    pub schedule_ms: (i64, i64),
    /// The accepted events, in offset order.
    pub spans: Vec<Span>,
}

/// One event's place within its log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where the publish section starts in the entry's body, bytes.
    pub section_position: u32,
    /// Events in that section.
    pub section_count: u32,
    /// The event's slot.
    pub slot: u32,
}

impl Batch {
    /// Number of events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.count)).sum()
    }

    /// The place of an event, if the entry holds it.
    #[must_use]
    pub fn place(&self, offset: u64) -> Option<Place> {
        let mut ahead = offset.checked_sub(self.first_offset)?;
        for span in &self.spans {
            if ahead < u64::from(span.count) {
                return Some(Place {
                    section_position: span.section_position,
                    section_count: span.section_count,
                    slot: span.first_slot.checked_add(ahead as u32)?,
                });
            }
            ahead -= u64::from(span.count);
        }
        None
    }

    /// The value to store under [`key`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 8 * self.spans.len());
        put_u64(&mut out, self.log_index);
        put_i64(&mut out, self.now_ms);
        put_u64(&mut out, self.term);
        put_i64(&mut out, self.schedule_ms.0);
        put_i64(&mut out, self.schedule_ms.1);
        put_u64(&mut out, self.spans.len() as u64);
        for span in &self.spans {
            put_u64(&mut out, u64::from(span.section_position));
            put_u64(&mut out, u64::from(span.section_count));
            put_u64(&mut out, u64::from(span.first_slot));
            put_u64(&mut out, u64::from(span.count));
        }
        out
    }

    /// Reads a key and its value.
    pub fn decode(key: &[u8], mut value: &[u8]) -> Result<Self, Malformed> {
        let first_offset = u64::from_be_bytes(super::field(key, 4).ok_or(Malformed)?);
        let input = &mut value;
        let log_index = take_u64(input)?;
        let now_ms = take_i64(input)?;
        let term = take_u64(input)?;
        let schedule_ms = (take_i64(input)?, take_i64(input)?);
        let count = take_u64(input)?;
        let mut spans = Vec::new();
        for _ in 0..count {
            spans.push(Span {
                section_position: take_u32(input)?,
                section_count: take_u32(input)?,
                first_slot: take_u32(input)?,
                count: take_u32(input)?,
            });
        }
        Ok(Self {
            first_offset,
            log_index,
            now_ms,
            term,
            schedule_ms,
            spans,
        })
    }
}

/// The key of the entry whose first event has this offset.
#[must_use]
pub fn key(partition: PartitionNumber, first_offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&first_offset.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_places_across_spans_and_comes_back() {
        let batch = Batch {
            first_offset: 100,
            log_index: 7,
            now_ms: 1_700_000_000_000,
            term: 3,
            schedule_ms: (-5, 1_700_000_000_001),
            spans: vec![
                Span {
                    section_position: 32,
                    section_count: 5,
                    first_slot: 0,
                    count: 2,
                },
                Span {
                    section_position: 32,
                    section_count: 5,
                    first_slot: 4,
                    count: 1,
                },
                Span {
                    section_position: 900,
                    section_count: 3,
                    first_slot: 0,
                    count: 3,
                },
            ],
        };
        assert_eq!(
            Batch::decode(&key(9, 100), &batch.encode()),
            Ok(batch.clone())
        );
        let slots: Vec<_> = (99..107)
            .map(|o| batch.place(o).map(|p| (p.section_position, p.slot)))
            .collect();
        assert_eq!(
            slots,
            [
                None,
                Some((32, 0)),
                Some((32, 1)),
                Some((32, 4)),
                Some((900, 0)),
                Some((900, 1)),
                Some((900, 2)),
                None
            ]
        );
        assert_eq!(batch.count(), 6);
        for cut in 0..batch.encode().len() {
            assert_eq!(
                Batch::decode(&key(9, 100), &batch.encode()[..cut]),
                Err(Malformed)
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(
            key: Vec<u8>,
            value in prop_oneof![
                any::<Vec<u8>>(),
                // Mostly valid: small numbers, then a few spans.
                prop::collection::vec(0_u8..5, 6..40),
            ],
            offset: u64,
        ) {
            let _ = Batch::decode(&key, &value);
            if let Ok(batch) = Batch::decode(&super::key(9, 100), &value) {
                prop_assert_eq!(batch.place(batch.count().saturating_add(100)), None);
                let _ = batch.place(offset);
                let again = Batch::decode(&super::key(9, 100), &batch.encode());
                prop_assert_eq!(again, Ok(batch));
            }
        }

        #[test]
        fn key_order_is_offset_order(a: (u32, u64), b: (u32, u64)) {
            prop_assert_eq!(a.cmp(&b), super::key(a.0, a.1).cmp(&super::key(b.0, b.1)));
        }
    }
}
