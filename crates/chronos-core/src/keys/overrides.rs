//! `Override`: where the due order differs from what the chunks say.
//!
//! Key: partition (4) · topic (4) · due time (8, sortable) · offset (8).
//! Value: one byte. 0: the event is in a chunk with this due time and is no longer due then. 1: the
//! event is due then, though no chunk says so. A chunk is never rewritten because one of its events
//! was cancelled or moved; who reads a stretch of time reads its overrides beside its chunks.

use super::{field, from_sortable, sortable};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use crate::varint::Malformed;

/// What is different at a due key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// A chunk names the key; the event is not due then.
    Gone,
    /// No chunk names the key; the event is due then.
    Here,
}

impl Override {
    /// The value to store.
    #[must_use]
    pub fn encode(self) -> [u8; 1] {
        [match self {
            Override::Gone => 0,
            Override::Here => 1,
        }]
    }

    /// Reads a value.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        match value {
            [0] => Ok(Override::Gone),
            [1] => Ok(Override::Here),
            _ => Err(Malformed),
        }
    }
}

/// Length of a key, bytes.
pub const KEY_LEN: usize = 24;

/// The key for an event of a topic.
#[must_use]
pub fn key(partition: PartitionNumber, topic: TopicNumber, due: DueKey) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..8].copy_from_slice(&topic.to_be_bytes());
    key[8..16].copy_from_slice(&sortable(due.due_ms));
    key[16..].copy_from_slice(&due.offset.to_be_bytes());
    key
}

/// Topic and due key of a key.
pub fn decode_key(key: &[u8]) -> Result<(TopicNumber, DueKey), Malformed> {
    if key.len() != KEY_LEN {
        return Err(Malformed);
    }
    Ok((
        u32::from_be_bytes(field(key, 4).ok_or(Malformed)?),
        DueKey::new(
            from_sortable(field(key, 8).ok_or(Malformed)?),
            u64::from_be_bytes(field(key, 16).ok_or(Malformed)?),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn key_order_is_due_order(a: (u32, u32, i64, u64), b: (u32, u32, i64, u64)) {
            let key_of = |k: (u32, u32, i64, u64)| key(k.0, k.1, DueKey::new(k.2, k.3));
            prop_assert_eq!(a.cmp(&b), key_of(a).cmp(&key_of(b)));
            prop_assert_eq!(decode_key(&key_of(a)), Ok((a.1, DueKey::new(a.2, a.3))));
        }

        #[test]
        fn any_bytes_are_refused_or_read(key: Vec<u8>, value: Vec<u8>) {
            let _ = decode_key(&key);
            if let Ok(found) = Override::decode(&value) {
                prop_assert_eq!(found.encode().to_vec(), value);
            }
        }
    }
}
