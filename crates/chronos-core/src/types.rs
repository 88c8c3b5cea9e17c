//! Positions and identities shared by every module.

use std::fmt;

/// Number of a partition, `0..partition_count`.
pub type PartitionNumber = u32;

/// Number that a partition gave to a topic when it first saw the name. Meaningful in that
/// partition only.
pub type TopicNumber = u32;

/// Number that a partition gave to a consumer group when the group was created there.
pub type GroupNumber = u32;

/// Number of a node in every Raft group that it belongs to: from 1, given by the catalog, and never
/// given again, not even to a node of the same name whose disk was wiped.
pub type NodeId = u64;

/// A place in the order in which a partition's events fall due: due time first, then offset.
///
/// Every cursor, horizon and replay position is a due key. Because `apply` never gives a new event
/// a due key at or below the horizon, the order of due keys up to the horizon never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DueKey {
    /// When the event falls due, Unix milliseconds.
    pub due_ms: i64,
    /// The event's offset in its partition.
    pub offset: u64,
}

impl DueKey {
    /// Below every event's key.
    pub const MIN: DueKey = DueKey {
        due_ms: i64::MIN,
        offset: 0,
    };
    /// Above every event's key.
    pub const MAX: DueKey = DueKey {
        due_ms: i64::MAX,
        offset: u64::MAX,
    };

    /// The key of an event.
    #[must_use]
    pub const fn new(due_ms: i64, offset: u64) -> Self {
        Self { due_ms, offset }
    }

    /// The greatest key below this one; `MIN` has none below and stays `MIN`.
    #[must_use]
    pub const fn before(self) -> Self {
        if self.offset > 0 {
            Self {
                due_ms: self.due_ms,
                offset: self.offset - 1,
            }
        } else if self.due_ms > i64::MIN {
            Self {
                due_ms: self.due_ms - 1,
                offset: u64::MAX,
            }
        } else {
            Self::MIN
        }
    }
}

impl fmt::Debug for DueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.due_ms, self.offset)
    }
}

/// The partition an event with this routing key belongs to.
///
/// FNV-1a with 64 bits, then an unsigned modulo: clients compute the same to send an event straight
/// to its partition, so this function is part of the wire contract.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
#[must_use]
pub fn route(key: &[u8], partition_count: u32) -> PartitionNumber {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash % u64::from(partition_count.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_as_clients_do() {
        for (key, partition) in [
            ("", 5),
            ("a", 12),
            ("pub-0-event-0", 9),
            ("pub-7-event-42", 14),
            ("route-probe-key-0", 2),
            ("default-topic", 0),
            ("demo-topic", 8),
            ("load-test-topic", 2),
        ] {
            assert_eq!(route(key.as_bytes(), 16), partition, "{key:?}");
        }
    }

    #[test]
    fn before_is_the_next_lower_key() {
        assert_eq!(DueKey::new(5, 3).before(), DueKey::new(5, 2));
        assert_eq!(DueKey::new(5, 0).before(), DueKey::new(4, u64::MAX));
        assert_eq!(DueKey::MIN.before(), DueKey::MIN);
    }
}
