//! `Run`: events of one topic that were due when they arrived, neighbours in offset.
//!
//! Key: partition (4) · topic (4) · due time (8, sortable) · first offset (8).
//! Value: count, a varint. However many events a batch brings that are due at once, its topic costs
//! one such record.

use super::{field, from_sortable, sortable};
use crate::types::{PartitionNumber, TopicNumber};
use crate::varint::{Malformed, put_u64, take_u64};

/// Length of a run's key, bytes.
pub const KEY_LEN: usize = 24;

/// The key of a run.
#[must_use]
pub fn key(
    partition: PartitionNumber,
    topic: TopicNumber,
    due_ms: i64,
    first_offset: u64,
) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..8].copy_from_slice(&topic.to_be_bytes());
    key[8..16].copy_from_slice(&sortable(due_ms));
    key[16..].copy_from_slice(&first_offset.to_be_bytes());
    key
}

/// Topic, due time and first offset of a run's key.
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

/// The value of a run of `count` events.
#[must_use]
pub fn encode(count: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(3);
    put_u64(&mut out, count);
    out
}

/// The number of events in a run.
pub fn decode(mut value: &[u8]) -> Result<u64, Malformed> {
    take_u64(&mut value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn key_order_is_due_order(a: (u32, i64, u64), b: (u32, i64, u64)) {
            prop_assert_eq!(a.cmp(&b), key(5, a.0, a.1, a.2).cmp(&key(5, b.0, b.1, b.2)));
            prop_assert_eq!(decode_key(&key(5, a.0, a.1, a.2)), Ok(a));
            prop_assert_eq!(decode(&encode(a.2)), Ok(a.2));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = decode(&bytes);
            if let Ok((topic, due_ms, first_offset)) = decode_key(&bytes) {
                prop_assert_eq!(&key(0, topic, due_ms, first_offset)[4..], &bytes[4..]);
            }
        }
    }
}
