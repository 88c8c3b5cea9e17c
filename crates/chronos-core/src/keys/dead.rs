//! `Dead`: events that a group could not process, kept until somebody redrives or removes them.
//!
//! Key: partition (4) · group (4) · number (8), counting up in the group.
//! Value: due time, offset, attempts, when it was given up, the last reason, when it first failed, how
//! often it was redriven.
//!
//! An edited letter has a second record. Key: that of the letter · log index of the edit (8).
//! Value: the event to deliver, as a client would encode it.

use crate::types::{DueKey, GroupNumber, PartitionNumber};
use crate::varint::{
    Malformed, put_bytes, put_i64, put_u64, take_i64, take_string, take_u32, take_u64,
};

/// An event that a group gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub key: DueKey,
    /// Deliveries it ever had.
    pub attempts: u32,
    /// The leader's clock when the last one failed, Unix milliseconds.
    pub at_ms: i64,
    /// What the consumer said of the last failure, or that it did not answer.
    pub reason: String,
    /// When its first delivery failed, Unix milliseconds.
    pub first_ms: i64,
    /// How often it was redriven.
    pub redrives: u32,
}

impl DeadLetter {
    /// The value to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.reason.len());
        put_i64(&mut out, self.key.due_ms);
        put_u64(&mut out, self.key.offset);
        put_u64(&mut out, u64::from(self.attempts));
        put_i64(&mut out, self.at_ms);
        put_bytes(&mut out, self.reason.as_bytes());
        put_i64(&mut out, self.first_ms);
        put_u64(&mut out, u64::from(self.redrives));
        out
    }

    /// Reads a value.
    pub fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        Ok(Self {
            key: DueKey::new(take_i64(input)?, take_u64(input)?),
            attempts: take_u32(input)?,
            at_ms: take_i64(input)?,
            reason: take_string(input)?,
            first_ms: take_i64(input)?,
            redrives: take_u32(input)?,
        })
    }
}

/// Length of a letter's key, bytes.
pub const KEY_LEN: usize = 16;

/// The key of a letter's edit.
#[must_use]
pub fn edit_key(
    partition: PartitionNumber,
    group: GroupNumber,
    number: u64,
    log_index: u64,
) -> [u8; KEY_LEN + 8] {
    let mut edit = [0; KEY_LEN + 8];
    edit[..KEY_LEN].copy_from_slice(&key(partition, group, number));
    edit[KEY_LEN..].copy_from_slice(&log_index.to_be_bytes());
    edit
}

/// The key of a group's dead letter.
#[must_use]
pub fn key(partition: PartitionNumber, group: GroupNumber, number: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..8].copy_from_slice(&group.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dead_letters_come_back() {
        let letter = DeadLetter {
            key: DueKey::new(-1, 9),
            attempts: 5,
            at_ms: 17,
            reason: "no answer within 30 s".into(),
            first_ms: 11,
            redrives: 2,
        };
        let value = letter.encode();
        assert_eq!(DeadLetter::decode(&value), Ok(letter));
        for cut in 0..value.len() {
            assert_eq!(DeadLetter::decode(&value[..cut]), Err(Malformed));
        }
        assert!(key(1, 2, 3) < key(1, 2, 4) && key(1, 2, u64::MAX) < key(1, 3, 0));
        let edit = edit_key(1, 2, 3, u64::MAX);
        assert!(key(1, 2, 3)[..] < edit[..] && edit[..] < key(1, 2, 4)[..]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(value: Vec<u8>) {
            if let Ok(letter) = DeadLetter::decode(&value) {
                prop_assert_eq!(DeadLetter::decode(&letter.encode()), Ok(letter));
            }
        }

        #[test]
        fn key_order_is_order_of_numbers(a: (u32, u32, u64), b: (u32, u32, u64)) {
            prop_assert_eq!(a.cmp(&b), key(a.0, a.1, a.2).cmp(&key(b.0, b.1, b.2)));
        }
    }
}
