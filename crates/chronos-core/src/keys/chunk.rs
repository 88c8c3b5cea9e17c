//! `Chunk`: the events of one log entry that were scheduled into one time bucket of one topic.
//!
//! Key: partition (4) · topic (4) · bucket (8, sortable) · first offset of the log entry (8).
//! Value: count, then each event in due order as the distance of its due time from the one before
//! (the first from the bucket's start) and the zigzag distance of its offset from the one before
//! (the first from the key's offset). A thousand neighbours cost about three bytes each.

use super::{field, from_sortable, sortable};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use crate::varint::{Malformed, put_i64, put_u64, take_i64, take_u64};

/// Width of a bucket as a power of two: 2^14 ms, about 16 s.
const BUCKET_SHIFT: u32 = 14;

/// Width of a time bucket, milliseconds.
pub const BUCKET_MS: i64 = 1 << BUCKET_SHIFT;

/// The bucket that holds a due time.
#[must_use]
pub const fn bucket_of(due_ms: i64) -> i64 {
    due_ms >> BUCKET_SHIFT
}

/// When a bucket starts, Unix milliseconds. Saturates at the ends of time.
#[must_use]
pub const fn bucket_start_ms(bucket: i64) -> i64 {
    bucket.saturating_mul(BUCKET_MS)
}

/// Length of a chunk's key, bytes.
pub const KEY_LEN: usize = 24;

/// The key of a chunk; with offset 0, the lowest key of its bucket.
#[must_use]
pub fn key(
    partition: PartitionNumber,
    topic: TopicNumber,
    bucket: i64,
    first_offset: u64,
) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..8].copy_from_slice(&topic.to_be_bytes());
    key[8..16].copy_from_slice(&sortable(bucket));
    key[16..].copy_from_slice(&first_offset.to_be_bytes());
    key
}

/// Topic, bucket and first offset of a chunk's key.
pub fn decode_key(key: &[u8]) -> Result<(TopicNumber, i64, u64), Malformed> {
    if key.len() != KEY_LEN {
        return Err(Malformed);
    }
    Ok((
        u32::from_be_bytes(field(key, 4).ok_or(Malformed)?),
        from_sortable(field(key, 8).ok_or(Malformed)?),
        u64::from_be_bytes(field(key, 16).ok_or(Malformed)?),
    ))
}

/// Packs due keys of one bucket, in ascending order, into a value.
#[must_use]
pub fn encode(bucket: i64, first_offset: u64, due: &[DueKey]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + 4 * due.len());
    put_u64(&mut out, due.len() as u64);
    let (mut last_ms, mut last_offset) = (bucket_start_ms(bucket), first_offset);
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
    bucket: i64,
    first_offset: u64,
    mut value: &[u8],
    mut visit: impl FnMut(DueKey),
) -> Result<(), Malformed> {
    let count = take_u64(&mut value)?;
    let (mut due_ms, mut offset) = (bucket_start_ms(bucket), first_offset);
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

    proptest! {
        #[test]
        fn chunks_come_back(bucket in -1_000_000i64..1 << 40, first in 0u64..1 << 60,
                            mut events: Vec<(u16, u16)>) {
            events.sort_unstable();
            let due: Vec<_> = events.iter()
                .map(|(ms, o)| DueKey::new(bucket_start_ms(bucket) + i64::from(*ms) % BUCKET_MS, first + u64::from(*o)))
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
            let _ = decode(0, 0, &bytes, |_| ());
            let _ = decode_key(&bytes);
        }

        #[test]
        fn key_order_is_time_order(a: (u32, i64, u64), b: (u32, i64, u64)) {
            prop_assert_eq!(a.cmp(&b), key(5, a.0, a.1, a.2).cmp(&key(5, b.0, b.1, b.2)));
        }
    }
}
