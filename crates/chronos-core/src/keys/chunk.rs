//! `Chunk`: the events of one log entry that were scheduled into one time bucket of one topic.
//!
//! Key: partition (4) · topic (4) · level (1) · bucket (8, sortable) · first offset of the entry (8).
//! Value: count, then each event in due order as the distance of its due time from the one before
//! (the first from the bucket's start) and the zigzag distance of its offset from the one before
//! (the first from the key's offset). A thousand neighbours cost about three bytes each.
//!
//! Buckets get wider the further ahead they are, as the slots of a hierarchical timing wheel do, so
//! that a batch spread over months is some thirty chunks and not a thousand. Once written a chunk
//! stays where it is: who reads a stretch of time asks every level for the buckets that overlap it.

use super::{field, from_sortable, sortable};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use crate::varint::{Malformed, put_i64, put_u64, take_i64, take_u64};

/// Widths of the levels' buckets as powers of two, in milliseconds: about 16 s, 35 min, 3 days, 1 year.
const SHIFTS: [u32; LEVELS as usize] = [14, 21, 28, 35];

/// Number of levels.
pub const LEVELS: u8 = 4;

/// A level is used for events that are at most this many of its buckets ahead, as a power of two.
const REACH_SHIFT: u32 = 7;

/// Width of a bucket of the finest level, milliseconds.
pub const BUCKET_MS: i64 = 1 << SHIFTS[0];

/// The number of the finest level's bucket that holds a due time.
#[must_use]
pub const fn bucket_of(due_ms: i64) -> i64 {
    due_ms >> SHIFTS[0]
}

/// When a bucket of the finest level starts, Unix milliseconds. Saturates at the ends of time.
#[must_use]
pub const fn bucket_start_ms(bucket: i64) -> i64 {
    bucket.saturating_mul(BUCKET_MS)
}

/// A stretch of time whose events are kept together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    /// How wide it is: an index of the levels, 0 is the finest.
    pub level: u8,
    /// Counts the buckets of the level since 1970.
    pub number: i64,
}

impl Bucket {
    /// The bucket of a level that holds a due time.
    #[must_use]
    pub fn holding(level: u8, due_ms: i64) -> Self {
        Self {
            level,
            number: due_ms >> SHIFTS[usize::from(level)],
        }
    }

    /// The bucket into which an event goes that is accepted at `now_ms`.
    #[must_use]
    pub fn accepting(due_ms: i64, now_ms: i64) -> Self {
        let ahead_ms = due_ms.saturating_sub(now_ms);
        let reaches = |shift: &u32| ahead_ms < 1 << (shift + REACH_SHIFT);
        let level = SHIFTS.iter().position(reaches).unwrap_or(SHIFTS.len() - 1);
        Self::holding(level as u8, due_ms)
    }

    /// When it starts, Unix milliseconds. Saturates at the ends of time.
    #[must_use]
    pub fn start_ms(self) -> i64 {
        self.number
            .saturating_mul(1 << SHIFTS[usize::from(self.level)])
    }
}

/// Length of a chunk's key, bytes.
pub const KEY_LEN: usize = 25;

/// The key of a chunk; with offset 0, the lowest key of its bucket.
#[must_use]
pub fn key(
    partition: PartitionNumber,
    topic: TopicNumber,
    bucket: Bucket,
    first_offset: u64,
) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..8].copy_from_slice(&topic.to_be_bytes());
    key[8] = bucket.level;
    key[9..17].copy_from_slice(&sortable(bucket.number));
    key[17..].copy_from_slice(&first_offset.to_be_bytes());
    key
}

/// Topic, bucket and first offset of a chunk's key.
pub fn decode_key(key: &[u8]) -> Result<(TopicNumber, Bucket, u64), Malformed> {
    if key.len() != KEY_LEN || key[8] >= LEVELS {
        return Err(Malformed);
    }
    let number = from_sortable(field(key, 9).ok_or(Malformed)?);
    Ok((
        u32::from_be_bytes(field(key, 4).ok_or(Malformed)?),
        Bucket {
            level: key[8],
            number,
        },
        u64::from_be_bytes(field(key, 17).ok_or(Malformed)?),
    ))
}

/// Packs due keys of one bucket, in ascending order, into a value.
#[must_use]
pub fn encode(bucket: Bucket, first_offset: u64, due: &[DueKey]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + 4 * due.len());
    put_u64(&mut out, due.len() as u64);
    let (mut last_ms, mut last_offset) = (bucket.start_ms(), first_offset);
    for key in due {
        put_u64(&mut out, key.due_ms.wrapping_sub(last_ms) as u64);
        put_i64(&mut out, key.offset.wrapping_sub(last_offset) as i64);
        (last_ms, last_offset) = (key.due_ms, key.offset);
    }
    out
}

/// How many events a chunk holds, from its value.
pub fn count(mut value: &[u8]) -> Result<u64, Malformed> {
    take_u64(&mut value)
}

/// Calls `visit` with each due key of a chunk in ascending order.
pub fn decode(
    bucket: Bucket,
    first_offset: u64,
    mut value: &[u8],
    mut visit: impl FnMut(DueKey),
) -> Result<(), Malformed> {
    let count = take_u64(&mut value)?;
    let (mut due_ms, mut offset) = (bucket.start_ms(), first_offset);
    for _ in 0..count {
        due_ms = due_ms.wrapping_add(take_u64(&mut value)? as i64);
        offset = offset.wrapping_add(take_i64(&mut value)? as u64);
        visit(DueKey::new(due_ms, offset));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_bucket() -> impl Strategy<Value = Bucket> {
        (0..LEVELS, -1_000_000i64..1 << 20).prop_map(|(level, number)| Bucket { level, number })
    }

    proptest! {
        #[test]
        fn chunks_come_back(bucket in any_bucket(), first in 0u64..1 << 60, mut events: Vec<(u16, u16)>) {
            events.sort_unstable();
            let due: Vec<_> = events.iter()
                .map(|(ms, o)| DueKey::new(bucket.start_ms() + i64::from(*ms) % BUCKET_MS, first + u64::from(*o)))
                .collect();
            let value = encode(bucket, first, &due);
            let mut back = Vec::new();
            decode(bucket, first, &value, |key| back.push(key)).unwrap();
            prop_assert_eq!(back, due);
            prop_assert_eq!(decode_key(&key(1, 2, bucket, first)), Ok((2, bucket, first)));
        }

        #[test]
        fn any_bytes_are_refused_or_read(mut bytes: Vec<u8>) {
            bytes.truncate(64);
            let _ = decode(Bucket { level: 0, number: 0 }, 0, &bytes, |_| ());
            let _ = decode_key(&bytes);
        }

        #[test]
        fn key_order_is_time_order(a in (any::<u32>(), any_bucket(), any::<u64>()),
                                   b in (any::<u32>(), any_bucket(), any::<u64>())) {
            prop_assert_eq!(a.cmp(&b), key(5, a.0, a.1, a.2).cmp(&key(5, b.0, b.1, b.2)));
        }

        #[test]
        fn a_bucket_holds_what_goes_into_it(due_ms: i64, now_ms: i64) {
            let bucket = Bucket::accepting(due_ms, now_ms);
            prop_assert!(bucket.start_ms() <= due_ms);
            prop_assert_eq!(Bucket::holding(bucket.level, due_ms), bucket);
        }
    }

    #[test]
    fn far_events_go_to_wide_buckets() {
        let level = |ahead_ms: i64| Bucket::accepting((1i64 << 41) + ahead_ms, 1 << 41).level;
        let hour_ms = 3_600_000;
        assert_eq!(level(1), 0);
        assert_eq!(level(hour_ms), 1);
        assert_eq!(level(24 * 30 * hour_ms), 2);
        assert_eq!(level(24 * 365 * 5 * hour_ms), 3);
        assert_eq!(Bucket::accepting(i64::MAX, 0).level, 3);
        assert_eq!(Bucket::accepting(0, i64::MAX).level, 0);
    }
}
