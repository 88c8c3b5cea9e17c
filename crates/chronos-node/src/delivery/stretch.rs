//! Events that a group has taken from the feed and that lie next to each other.

use chronos_core::command::publish::MAX_PRIORITY;
use chronos_core::types::{DueKey, TopicNumber};

/// Events with one due time and neighbouring offsets, and the key that came before them in the
/// group's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// When all of them are due, Unix milliseconds.
    pub due_ms: i64,
    /// Goes before those of higher rank that are due at the same time; the same for all of them.
    pub rank: u8,
    /// Offset of the first.
    pub first_offset: u64,
    /// How many; at least one.
    pub count: u64,
    /// The key before the first: settling the first settles everything above it.
    pub before: DueKey,
    /// Their topic.
    pub topic: TopicNumber,
}

impl Stretch {
    /// The rank that a priority gives.
    pub const fn rank_of(priority: u8) -> u8 {
        MAX_PRIORITY.saturating_sub(priority)
    }

    /// Takes the first `count` events off, at least one.
    pub fn split_at(self, count: u64) -> (Stretch, Option<Stretch>) {
        let count = count.clamp(1, self.count);
        let some = Stretch { count, ..self };
        let rest = (count < self.count).then(|| Stretch {
            first_offset: self.first_offset + count,
            count: self.count - count,
            before: some.last(),
            ..self
        });
        (some, rest)
    }

    /// Due key of the first event.
    pub fn first(&self) -> DueKey {
        DueKey::new(self.due_ms, self.first_offset)
    }

    /// Due key of the last event.
    pub fn last(&self) -> DueKey {
        DueKey::new(self.due_ms, self.first_offset + self.count - 1)
    }

    /// Takes the first event off: its key and the key before it. `None` leaves nothing behind.
    pub fn split_first(self) -> ((DueKey, DueKey), Option<Stretch>) {
        let first = self.first();
        let rest = (self.count > 1).then(|| Stretch {
            first_offset: self.first_offset + 1,
            count: self.count - 1,
            before: first,
            ..self
        });
        ((first, self.before), rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_one_by_one_and_keeps_the_key_before() {
        let stretch = Stretch {
            due_ms: 10,
            rank: Stretch::rank_of(0),
            first_offset: 4,
            count: 2,
            before: DueKey::new(9, 30),
            topic: 0,
        };
        let (first, rest) = stretch.split_first();
        assert_eq!(first, (DueKey::new(10, 4), DueKey::new(9, 30)));
        let (second, rest) = rest.unwrap().split_first();
        assert_eq!(second, (DueKey::new(10, 5), DueKey::new(10, 4)));
        assert_eq!(rest, None);
    }
}
