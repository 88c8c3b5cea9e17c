//! `Meta`: the small state of a partition as of its last checkpoint.
//!
//! Key: partition (4) · kind (1) · number (4). Kind 0 is the partition itself, 1 a topic, 2 a group, 3 a topic's
//! counts, 4 its flags, 5 a group's dead letters, 6 what was carried, 7 what was deleted of a topic, 8 which
//! events that was;
//! the values are written and read by `partition::checkpoint`.

use crate::types::PartitionNumber;
use crate::varint::Malformed;

/// What a record describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The partition: applied position, next offset, horizon.
    Partition = 0,
    /// A topic's name.
    Topic = 1,
    /// A group and its progress.
    Group = 2,
    /// How many events of a topic were scheduled and released.
    TopicCounts = 3,
    /// What a topic's events may have: bit 0 priorities.
    TopicFlags = 4,
    /// A group's dead letters.
    Letters = 5,
    /// Below which offset events may have been carried.
    Carried = 6,
    /// What was deleted of a topic, and how large its events are. Of the catalog: the topics.
    TopicState = 7,
    /// Events that were deleted with their topics and may still be in the log.
    Deleted = 8,
}

/// The key of a record.
#[must_use]
pub fn key(partition: PartitionNumber, kind: Kind, number: u32) -> [u8; 9] {
    let mut key = [0; 9];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4] = kind as u8;
    key[5..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Kind and number of a key.
pub fn decode_key(key: &[u8]) -> Result<(Kind, u32), Malformed> {
    if key.len() != 9 {
        return Err(Malformed);
    }
    let kind = match key[4] {
        0 => Kind::Partition,
        1 => Kind::Topic,
        2 => Kind::Group,
        3 => Kind::TopicCounts,
        4 => Kind::TopicFlags,
        5 => Kind::Letters,
        6 => Kind::Carried,
        7 => Kind::TopicState,
        8 => Kind::Deleted,
        _ => return Err(Malformed),
    };
    Ok((
        kind,
        u32::from_be_bytes(super::field(key, 5).ok_or(Malformed)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Kind; 9] = [
        Kind::Partition,
        Kind::Topic,
        Kind::Group,
        Kind::TopicCounts,
        Kind::TopicFlags,
        Kind::Letters,
        Kind::Carried,
        Kind::TopicState,
        Kind::Deleted,
    ];

    #[test]
    fn keys_come_back_and_sort() {
        for kind in KINDS {
            assert_eq!(decode_key(&key(1, kind, 77)), Ok((kind, 77)));
        }
        assert!(key(1, Kind::Topic, u32::MAX) < key(1, Kind::Group, 0));
        assert_eq!(decode_key(&[0; 8]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok((kind, number)) = decode_key(&bytes) {
                prop_assert_eq!(&key(0, kind, number)[4..], &bytes[4..]);
            }
        }

        #[test]
        fn key_order_is_order_of_numbers(a: (u32, u8, u32), b: (u32, u8, u32)) {
            let [a, b] = [a, b].map(|(p, kind, n)| (p, KINDS[usize::from(kind) % KINDS.len()], n));
            prop_assert_eq!(a.cmp(&b), key(a.0, a.1, a.2).cmp(&key(b.0, b.1, b.2)));
        }
    }
}
