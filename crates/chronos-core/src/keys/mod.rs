//! Every key and value that the index holds, one file per kind.
//!
//! All keys begin with the partition's number, four bytes, big-endian. Signed times are stored with
//! their sign bit flipped. So byte order is the order of the numbers, which the tests check.

pub mod batch;
pub mod change;
pub mod chunk;
pub mod dead;
pub mod dedup;
pub mod meta;
pub mod overrides;
pub mod run;

use crate::types::PartitionNumber;

/// A time as eight bytes whose order is the order of the times.
#[must_use]
pub fn sortable(time_ms: i64) -> [u8; 8] {
    ((time_ms as u64) ^ (1 << 63)).to_be_bytes()
}

/// The inverse of [`sortable`].
#[must_use]
pub fn from_sortable(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// The keys of a partition in any family: from the first of the pair up to the second, without it.
pub(crate) fn bounds(partition: PartitionNumber) -> (Vec<u8>, Vec<u8>) {
    let to = match partition.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 32],
    };
    (partition.to_be_bytes().to_vec(), to)
}

/// Copies `N` bytes out of a key at a known place; `None` when the key is too short.
fn field<const N: usize>(key: &[u8], at: usize) -> Option<[u8; N]> {
    key.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn byte_order_is_time_order(a: i64, b: i64) {
            prop_assert_eq!(a.cmp(&b), sortable(a).cmp(&sortable(b)));
            prop_assert_eq!(from_sortable(sortable(a)), a);
        }
    }
}
