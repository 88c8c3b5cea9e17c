//! `Dedup`: which message ids were accepted.
//!
//! Key: partition (4) · hash of the id (16, XXH3-128). Value: offset (8) · when it was accepted
//! (8, Unix ms). Ids themselves are not stored: two different ids collide with probability 2^-128.

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

/// What is remembered of an accepted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Offset of the event that brought the id.
    pub offset: u64,
    /// The partition's time when it was accepted, Unix milliseconds: the leader's clock, but never
    /// moving back.
    pub at_ms: i64,
}

impl Accepted {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
