//! What a consumer group has settled in one partition: a cursor and the ranges above it.
//!
//! ```text
//!            cursor
//! ───────────────┤      (────]     (──]                due keys ──►
//!  all settled          settled    settled, out of order
//! ```
//!
//! Acks arrive out of order, so a single position cannot say what is settled. A range is half-open,
//! `(from, to]`, where `from` is the event delivered before the first settled one: between the two
//! the group has nothing to wait for. So ranges that touch mean that nothing between them is open,
//! and they merge, whatever keys lie in the gap.

use std::collections::BTreeMap;

use crate::types::DueKey;
use crate::varint::{Malformed, put_i64, put_u64, take_i64, take_u64};

/// A set of due keys: everything up to a cursor, and disjoint ranges above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    cursor: DueKey,
    /// `from` → `to` of each range `(from, to]`. They neither overlap nor touch each other or the
    /// cursor: `cursor < from < to < next from`.
    ranges: BTreeMap<DueKey, DueKey>,
}

impl Settled {
    /// Everything up to and including `cursor` is settled and nothing above it.
    pub fn new(cursor: DueKey) -> Self {
        Self {
            cursor,
            ranges: BTreeMap::new(),
        }
    }

    /// Settles all keys in `(from, to]`, merges what overlaps or touches, and moves the cursor when
    /// the lowest range reaches it. An empty range, or one below the cursor, changes nothing.
    ///
    /// Costs O(log n) for n ranges; each range it swallows was paid for when it was added.
    pub fn settle(&mut self, from: DueKey, to: DueKey) {
        if from >= to || to <= self.cursor {
            return;
        }
        let mut end = to;
        if from <= self.cursor {
            while let Some(first) = self.ranges.first_entry() {
                if *first.key() > end && !crate::mutant!("range-swallowed-from-afar") {
                    break;
                }
                end = end.max(first.remove());
            }
            self.cursor = end;
            return;
        }
        let mut start = from;
        if let Some((&lower, upper)) = self.ranges.range_mut(..=from).next_back() {
            if *upper >= to {
                return;
            }
            if *upper >= from {
                start = lower;
            }
        }
        // Swallows every range that begins within the new one or at its end.
        while let Some((&other, &upper)) = self.ranges.range(start..=end).next_back() {
            self.ranges.remove(&other);
            end = end.max(upper);
        }
        self.ranges.insert(start, end);
    }

    /// Settles one key, the range `(key.before(), key]`.
    pub fn settle_one(&mut self, key: DueKey) {
        self.settle(key.before(), key);
    }

    /// Whether `key` is settled.
    pub fn contains(&self, key: DueKey) -> bool {
        key <= self.cursor
            || self
                .ranges
                .range(..key)
                .next_back()
                .is_some_and(|(_, &to)| key <= to)
    }

    /// The key up to which everything is settled, itself included.
    pub fn cursor(&self) -> DueKey {
        self.cursor
    }

    /// The ranges `(from, to]` above the cursor, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = (DueKey, DueKey)> + '_ {
        self.ranges.iter().map(|(&from, &to)| (from, to))
    }

    /// How many ranges there are above the cursor.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True when nothing above the cursor is settled.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Appends the set to `out`.
    ///
    /// Every number is a varint: the cursor's due time (zigzag) and offset, the number of ranges,
    /// then for each range `from` and `to`. A key after the cursor is given by what it adds to the
    /// key before it: the difference in due time, then the offset, which is a difference too when
    /// the due time is the same.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_i64(out, self.cursor.due_ms);
        put_u64(out, self.cursor.offset);
        put_u64(out, self.ranges.len() as u64);
        let mut last = self.cursor;
        for key in self.ranges.iter().flat_map(|(&from, &to)| [from, to]) {
            let due_delta = key.due_ms.abs_diff(last.due_ms);
            let known = if due_delta == 0 { last.offset } else { 0 };
            put_u64(out, due_delta);
            put_u64(out, key.offset - known);
            last = key;
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, all of `bytes`.
    ///
    /// # Errors
    /// Bytes cut short, trailing bytes, a number or key out of range, ranges that are empty, touch
    /// or are out of order.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut bytes;
        let cursor = DueKey {
            due_ms: take_i64(input)?,
            offset: take_u64(input)?,
        };
        let count = take_u64(input)?;
        let mut ranges = BTreeMap::new();
        let mut last = cursor;
        for _ in 0..count {
            let from = take_key_above(input, last)?;
            let to = take_key_above(input, from)?;
            ranges.insert(from, to);
            last = to;
        }
        if !input.is_empty() {
            return Err(DecodeError::TrailingBytes);
        }
        Ok(Self { cursor, ranges })
    }
}

/// Why bytes are not an encoding of a [`Settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a number, or a number is out of range.
    #[error("settled ranges are cut short or hold a malformed number")]
    Malformed,
    /// A key is beyond the range of due keys, or is not above the one before it.
    #[error("settled ranges are out of order")]
    OutOfOrder,
    /// Bytes follow the last range.
    #[error("settled ranges are followed by other bytes")]
    TrailingBytes,
}

impl From<Malformed> for DecodeError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

fn take_key_above(input: &mut &[u8], last: DueKey) -> Result<DueKey, DecodeError> {
    let (due_delta, offset) = (take_u64(input)?, take_u64(input)?);
    let known = if due_delta == 0 { last.offset } else { 0 };
    let due_ms = last.due_ms.checked_add_unsigned(due_delta);
    let offset = known.checked_add(offset);
    let (Some(due_ms), Some(offset)) = (due_ms, offset) else {
        return Err(DecodeError::OutOfOrder);
    };
    let key = DueKey { due_ms, offset };
    if key > last {
        Ok(key)
    } else {
        Err(DecodeError::OutOfOrder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Maps small integers to keys in order, several to a due time, offset 0 and negatives included.
    fn nth(number: u32) -> DueKey {
        DueKey::new(
            i64::from(number / 4) - 3,
            [0, 1, 5, u64::MAX][number as usize % 4],
        )
    }

    /// Any key, the ends of each part more often than others.
    fn any_key() -> impl Strategy<Value = DueKey> {
        let due_ms = prop_oneof![any::<i64>(), -2_i64..2, Just(i64::MIN), Just(i64::MAX)];
        let offset = prop_oneof![any::<u64>(), 0_u64..3, Just(u64::MAX)];
        (due_ms, offset).prop_map(|(due_ms, offset)| DueKey::new(due_ms, offset))
    }

    fn encoded(settled: &Settled) -> Vec<u8> {
        let mut bytes = Vec::new();
        settled.encode(&mut bytes);
        bytes
    }

    #[test]
    fn acks_in_order_keep_no_range() {
        let mut settled = Settled::new(DueKey::new(0, 0));
        for number in 12..100 {
            settled.settle(settled.cursor(), nth(number));
            assert_eq!(settled.cursor(), nth(number));
            assert!(settled.is_empty());
        }
    }

    #[test]
    fn the_cursor_takes_in_the_ranges_it_reaches() {
        let mut settled = Settled::new(nth(10));
        settled.settle(nth(11), nth(12));
        settled.settle(nth(13), nth(14));
        assert_eq!((settled.cursor(), settled.len()), (nth(10), 2));
        settled.settle(nth(10), nth(11));
        assert_eq!((settled.cursor(), settled.len()), (nth(12), 1));
        settled.settle(nth(12), nth(13));
        assert_eq!((settled.cursor(), settled.len()), (nth(14), 0));
    }

    #[test]
    fn one_key_alone() {
        for alone in [
            DueKey::new(7, 0),
            DueKey::new(7, 9),
            DueKey::new(i64::MAX, u64::MAX),
        ] {
            let mut settled = Settled::new(DueKey::new(1, 0));
            settled.settle_one(alone);
            assert!(settled.contains(alone));
            assert!(!settled.contains(alone.before()));
            assert_eq!(
                settled.ranges().collect::<Vec<_>>(),
                [(alone.before(), alone)]
            );
        }
    }

    #[test]
    fn bad_bytes_are_errors() {
        let mut settled = Settled::new(DueKey::new(1_763_000_000_000, 17));
        settled.settle_one(DueKey::new(1_763_000_000_000, 19));
        settled.settle_one(DueKey::new(1_763_000_000_250, 0));
        let good = encoded(&settled);
        for end in 0..good.len() {
            assert_eq!(Settled::decode(&good[..end]), Err(DecodeError::Malformed));
        }
        let decode = |tail: &[u8]| Settled::decode(&[&good[..], tail].concat());
        assert_eq!(decode(&[]), Ok(settled.clone()));
        assert_eq!(decode(&[0]), Err(DecodeError::TrailingBytes));

        // Cursor (0, 0), then one range.
        let range = |tail: &[u8]| Settled::decode(&[&[0, 0, 1], tail].concat());
        assert!(range(&[0, 1, 0, 1]).is_ok());
        assert_eq!(
            range(&[0, 0, 0, 1]),
            Err(DecodeError::OutOfOrder),
            "touches the cursor"
        );
        assert_eq!(range(&[0, 1, 0, 0]), Err(DecodeError::OutOfOrder), "empty");
        assert_eq!(
            range(&[0xFF; 11]),
            Err(DecodeError::Malformed),
            "more than 64 bits"
        );
        // A count far beyond what follows ends where the bytes do.
        let many = [
            &[0, 0][..],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        ]
        .concat();
        assert_eq!(Settled::decode(&many), Err(DecodeError::Malformed));
    }

    /// The keys among the first `count` that a plain set says are settled.
    fn naive(cursor: u32, settles: &[(u32, u32)], count: u32) -> Vec<bool> {
        (0..count)
            .map(|n| n <= cursor || settles.iter().any(|&(from, to)| from < n && n <= to))
            .collect()
    }

    /// Where the cursor belongs: at the end of the settled run from where it began.
    fn naive_cursor(cursor: u32, settled: &[bool]) -> u32 {
        (cursor + 1..settled.len() as u32)
            .find(|&n| !settled[n as usize])
            .map_or(0, |open| open - 1)
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(
            cursor in 0_u32..20,
            settles in prop::collection::vec((0_u32..100, 0_u32..12), 0..60),
        ) {
            const COUNT: u32 = 120;
            let settles: Vec<_> = settles.into_iter().map(|(from, len)| (from, from + len)).collect();
            let mut settled = Settled::new(nth(cursor));
            for done in 0..settles.len() {
                let (from, to) = settles[done];
                settled.settle(nth(from), nth(to));
                let expected = naive(cursor, &settles[..=done], COUNT);
                for n in 0..COUNT {
                    prop_assert_eq!(settled.contains(nth(n)), expected[n as usize], "key {}", n);
                }
                prop_assert_eq!(settled.cursor(), nth(naive_cursor(cursor, &expected)));

                // Ranges neither overlap nor touch.
                let mut last = settled.cursor();
                for (from, to) in settled.ranges() {
                    prop_assert!(last < from && from < to);
                    last = to;
                }
                prop_assert_eq!(settled.ranges().count(), settled.len());
                prop_assert_eq!(Settled::decode(&encoded(&settled)), Ok(settled.clone()));
            }
        }

        #[test]
        fn order_of_settles_does_not_matter(
            (settles, shuffled) in prop::collection::vec((0_u32..100, 1_u32..12), 0..40)
                .prop_flat_map(|settles| (Just(settles.clone()), Just(settles).prop_shuffle())),
        ) {
            let apply = |settles: &[(u32, u32)]| {
                let mut settled = Settled::new(nth(5));
                for &(from, len) in settles {
                    settled.settle(nth(from), nth(from + len));
                }
                settled
            };
            prop_assert_eq!(apply(&settles), apply(&shuffled));
        }

        /// Keys from one end of time to the other.
        #[test]
        fn agrees_with_a_list_of_stretches(
            cursor: (i64, u64),
            settles in prop::collection::vec((any_key(), any_key()), 0..12),
            probes in prop::collection::vec(any_key(), 20),
        ) {
            let cursor = DueKey::new(cursor.0, cursor.1);
            let mut settled = Settled::new(cursor);
            for (from, to) in &settles {
                settled.settle(*from, *to);
            }
            let ends = settles.iter().flat_map(|(from, to)| [*from, *to, to.before()]);
            for key in ends.chain(probes) {
                let expected = key <= cursor
                    || settles.iter().any(|(from, to)| *from < key && key <= *to);
                prop_assert_eq!(settled.contains(key), expected, "{:?}", key);
            }
            prop_assert_eq!(Settled::decode(&encoded(&settled)), Ok(settled));
        }

        #[test]
        fn any_bytes_are_an_error_or_a_set(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(settled) = Settled::decode(&bytes) {
                prop_assert_eq!(Settled::decode(&encoded(&settled)), Ok(settled));
            }
        }

        /// Mostly valid bytes: small numbers after a cursor and a count.
        #[test]
        fn bytes_near_valid_are_an_error_or_a_set(
            count in 0_u8..5,
            tail in prop::collection::vec(0_u8..4, 0..24),
        ) {
            let bytes = [&[4, 1, count][..], &tail].concat();
            if let Ok(settled) = Settled::decode(&bytes) {
                prop_assert_eq!(Settled::decode(&encoded(&settled)), Ok(settled));
            }
        }
    }
}
