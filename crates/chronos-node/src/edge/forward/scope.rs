//! Partition numbers as text, for the metadata of forwarded calls: `0-31,40`.

use chronos_core::types::PartitionNumber;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Writes the numbers; those that follow each other as one range.
pub fn encode(partitions: &BTreeSet<PartitionNumber>) -> String {
    let mut text = String::new();
    let mut left = partitions.iter().copied().peekable();
    while let Some(first) = left.next() {
        let mut last = first;
        while let Some(next) = left.next_if(|next| Some(*next) == last.checked_add(1)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match first == last {
            true => write!(text, "{comma}{first}"),
            false => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

/// Reads numbers below `count`; `None` when the text holds anything else.
pub fn decode(text: &str, count: u32) -> Option<BTreeSet<PartitionNumber>> {
    let mut partitions = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= count {
            return None;
        }
        partitions.extend(first..=last);
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_short() {
        assert_eq!(encode(&(0..32).collect()), "0-31");
        assert_eq!(encode(&BTreeSet::from([0, 3, 4, 6])), "0,3-4,6");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "a", "1,", "-1", "3-1", "0-8", "8", "1-2-3", " 1"] {
            assert_eq!(decode(text, 8), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(partitions in prop::collection::btree_set(0_u32..100, 1..40)) {
            prop_assert_eq!(decode(&encode(&partitions), 100), Some(partitions));
        }
    }
}
