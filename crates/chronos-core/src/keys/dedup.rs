//! `Dedup`: which message ids were accepted.
//!
//! Key: partition (4) · hash of the id (16, XXH3-128). Value: offset (8) · from when on it
//! ages (8, Unix ms), and the same once more for the time before when the id was forgotten and accepted
//! again. Ids themselves are not stored: two different ids collide with probability 2^-128.
//!
//! Each file of ids begins with a stamp, which says by when all of them have begun to age. Its key is
//! that of an id whose hash is the time as a sortable number, below 2^64; its value is that of an id
//! which was never accepted.

use super::{from_sortable, sortable};
use crate::types::PartitionNumber;
use crate::varint::Malformed;

/// Hash of a message id.
pub type IdHash = u128;

/// The hash under which an id is remembered. XXH3 with 128 bits, seed 0: part of the file format.
/// <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>
#[must_use]
pub fn hash(message_id: &[u8]) -> IdHash {
    twox_hash::XxHash3_128::oneshot(message_id)
}

/// Ids that begin to age later than this after a checkpoint go to a family of their own,
/// milliseconds: a file of the other family is dropped when all its ids are forgotten.
pub const FAR_MS: i64 = 86_400_000;

/// The key of an id.
#[must_use]
pub fn key(partition: PartitionNumber, hash: IdHash) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&hash.to_be_bytes());
    key
}

/// The hash in a key.
pub fn decode_key(key: &[u8]) -> Result<IdHash, Malformed> {
    if key.len() != 20 {
        return Err(Malformed);
    }
    Ok(IdHash::from_be_bytes(
        super::field(key, 4).ok_or(Malformed)?,
    ))
}

/// The key of the stamp of a file with ids that have begun to age by `newest_ms`, Unix milliseconds.
#[must_use]
pub fn stamp(partition: PartitionNumber, newest_ms: i64) -> [u8; 20] {
    key(partition, u64::from_be_bytes(sortable(newest_ms)).into())
}

/// Partition and time of a stamp's key; `None` for any other key.
#[must_use]
pub fn stamp_of(key: &[u8]) -> Option<(PartitionNumber, i64)> {
    let time = u64::try_from(decode_key(key).ok()?).ok()?;
    let partition = PartitionNumber::from_be_bytes(super::field(key, 0)?);
    Some((partition, from_sortable(time.to_be_bytes())))
}

/// What is remembered of an accepted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Offset of the event that brought the id.
    pub offset: u64,
    /// From when on the deduplication time counts, Unix milliseconds: when its event falls due, or the
    /// partition's time when it was accepted if that is later.
    pub at_ms: i64,
}

impl Accepted {
    /// Of an id of which nothing is to be remembered: no partition gives out this offset.
    pub const NEVER: Accepted = Accepted {
        offset: u64::MAX,
        at_ms: i64::MIN,
    };

    /// The value to store.
    #[must_use]
    pub fn encode(self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&self.offset.to_be_bytes());
        value[8..].copy_from_slice(&self.at_ms.to_be_bytes());
        value
    }

    /// Reads a value.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        if value.len() != 16 {
            return Err(Malformed);
        }
        Ok(Self {
            offset: u64::from_be_bytes(super::field(value, 0).ok_or(Malformed)?),
            at_ms: i64::from_be_bytes(super::field(value, 8).ok_or(Malformed)?),
        })
    }
}

/// A stored id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The last time that it was accepted.
    pub last: Accepted,
    /// The time before, for a log that is applied again from before the last.
    pub before: Option<Accepted>,
}

/// The value of a record, without memory of its own: half a million are written at a time.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    bytes: [u8; 32],
    is_long: bool,
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..if self.is_long { 32 } else { 16 }]
    }
}

impl Record {
    /// The value to store.
    #[must_use]
    pub fn encode(self) -> Encoded {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.last.encode());
        if let Some(before) = self.before {
            bytes[16..].copy_from_slice(&before.encode());
        }
        Encoded {
            bytes,
            is_long: self.before.is_some(),
        }
    }

    /// Reads a value.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (last, before) = value.split_at_checked(16).ok_or(Malformed)?;
        Ok(Self {
            last: Accepted::decode(last)?,
            before: match before {
                [] => None,
                before => Some(Accepted::decode(before)?),
            },
        })
    }

    /// What it says to a partition that has given out the offsets below `next_offset`.
    #[must_use]
    pub fn as_of(&self, next_offset: u64) -> Option<Accepted> {
        let known = |accepted: &Accepted| accepted.offset < next_offset;
        Some(self.last).filter(known).or(self.before.filter(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_are_part_of_the_format() {
        // Changing the hash would make every stored id unknown.
        assert_eq!(hash(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        let accepted = Accepted {
            offset: 7,
            at_ms: -3,
        };
        assert_eq!(Accepted::decode(&accepted.encode()), Ok(accepted));
        assert_eq!(decode_key(&key(1, hash(b"a"))), Ok(hash(b"a")));
    }

    #[test]
    fn a_record_knows_the_acceptance_that_counts() {
        let at = |offset| Accepted { offset, at_ms: 5 };
        let once = Record {
            last: at(7),
            before: None,
        };
        let twice = Record {
            last: at(7),
            before: Some(at(3)),
        };
        for record in [once, twice] {
            let value = record.encode().as_ref().to_vec();
            assert_eq!(Record::decode(&value), Ok(record));
            for cut in (0..value.len()).filter(|cut| *cut != 16) {
                assert_eq!(Record::decode(&value[..cut]), Err(Malformed));
            }
        }
        assert_eq!((once.as_of(8), once.as_of(7)), (Some(at(7)), None));
        assert_eq!(twice.as_of(8), Some(at(7)));
        assert_eq!((twice.as_of(7), twice.as_of(3)), (Some(at(3)), None));
    }

    #[test]
    fn stamps_are_told_from_ids_and_come_before_them() {
        for newest_ms in [i64::MIN, -1, 0, 1_700_000_000_000, i64::MAX] {
            let stamp = stamp(7, newest_ms);
            assert_eq!(stamp_of(&stamp), Some((7, newest_ms)));
            for id in [&b""[..], b"a", b"b"] {
                assert!(stamp < key(7, hash(id)));
                assert_eq!(stamp_of(&key(7, hash(id))), None);
            }
        }
        assert_eq!(stamp_of(&[0; 19]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(key: Vec<u8>, value: Vec<u8>) {
            let _ = (decode_key(&key), stamp_of(&key));
            if let Ok(record) = Record::decode(&value) {
                prop_assert_eq!(record.encode().as_ref().to_vec(), value);
            }
        }
    }
}
