//! A filter over every id that went to the store: "surely new" or "ask the store".
//!
//! Split block Bloom filters (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007): one cache line per look-up, eight bits per id in eight lanes. About twelve
//! bits an id keep false alarms under one percent. Ids come in time order, so the filter is a list of
//! generations, each larger than the one before up to a bound; a generation whose ids have all
//! outlived the deduplication window is dropped whole.

use crate::keys::dedup::IdHash;

const LANES: usize = 8;
const BITS_PER_ID: usize = 12;
const SALTS: [u32; LANES] = [
    0x9e37_79b1,
    0x85eb_ca77,
    0xc2b2_ae3d,
    0x27d4_eb2f,
    0x1656_67b1,
    0xb492_b66f,
    0x9ae1_6a3b,
    0x4cf5_ad43,
];

/// Ids that the first generation holds; each later one holds twice as many, up to the greatest.
const FIRST_GENERATION_IDS: usize = 1 << 16;
const GREATEST_GENERATION_IDS: usize = 1 << 24;

#[derive(Debug)]
struct Generation {
    blocks: Box<[[u32; LANES]]>,
    ids: usize,
    capacity: usize,
    newest_ms: i64,
}

impl Generation {
    fn new(capacity: usize) -> Self {
        let blocks = (capacity * BITS_PER_ID).div_ceil(LANES * 32);
        Self {
            blocks: vec![[0; LANES]; blocks].into_boxed_slice(),
            ids: 0,
            capacity,
            newest_ms: i64::MIN,
        }
    }

    fn block(&self, hash: IdHash) -> usize {
        // Of the low half the upper bits pick the block by multiplication, the lower ones the bits
        // in it. Not the high half: ids may come in the order of their hashes, as they do from the
        // store, and those of one generation would crowd into a few blocks.
        let low = hash as u64;
        ((u128::from(low) * self.blocks.len() as u128) >> 64) as usize
    }

    fn insert(&mut self, hash: IdHash) {
        let block = self.block(hash);
        let low = hash as u32;
        for (lane, salt) in self.blocks[block].iter_mut().zip(SALTS) {
            *lane |= 1 << (low.wrapping_mul(salt) >> 27);
        }
        self.ids += 1;
    }

    fn contains(&self, hash: IdHash) -> bool {
        let low = hash as u32;
        self.blocks[self.block(hash)]
            .iter()
            .zip(SALTS)
            .all(|(lane, salt)| lane & 1 << (low.wrapping_mul(salt) >> 27) != 0)
    }
}

/// Which ids may be in the store.
#[derive(Debug, Default)]
pub(super) struct Filter {
    generations: Vec<Generation>,
}

impl Filter {
    /// Adds an id accepted at `at_ms` (Unix ms).
    pub(super) fn insert(&mut self, hash: IdHash, at_ms: i64) {
        if self
            .generations
            .last()
            .is_none_or(|last| last.ids == last.capacity)
        {
            let capacity = match self.generations.last() {
                None => FIRST_GENERATION_IDS,
                Some(last) => (last.capacity * 2).min(GREATEST_GENERATION_IDS),
            };
            self.generations.push(Generation::new(capacity));
        }
        if let Some(last) = self.generations.last_mut() {
            last.insert(hash);
            last.newest_ms = last.newest_ms.max(at_ms);
        }
    }

    /// `false` when the id was surely never added.
    #[must_use]
    pub(super) fn may_contain(&self, hash: IdHash) -> bool {
        self.generations
            .iter()
            .rev()
            .any(|generation| generation.contains(hash))
    }

    /// Drops generations whose ids were all accepted before `expired_ms` (Unix ms).
    pub(super) fn expire(&mut self, expired_ms: i64) {
        self.generations
            .retain(|generation| generation.newest_ms >= expired_ms);
    }

    /// Memory in use, bytes.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.generations
            .iter()
            .map(|generation| size_of_val(&*generation.blocks))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::dedup::hash;

    #[test]
    fn never_forgets_and_rarely_errs() {
        let mut filter = Filter::default();
        let id = |kind: &str, n: u32| hash(format!("{kind}-{n}").as_bytes());
        for n in 0..200_000 {
            filter.insert(id("known", n), i64::from(n));
        }
        assert!((0..200_000).all(|n| filter.may_contain(id("known", n))));
        let alarms = (0..100_000)
            .filter(|n| filter.may_contain(id("unknown", *n)))
            .count();
        assert!(alarms < 2_000, "{alarms} false alarms in 100000");
        assert!(filter.bytes() < 700_000, "{} bytes", filter.bytes());
    }

    #[test]
    fn ids_that_come_in_the_order_of_their_hashes_spread_over_the_blocks() {
        let mut ids: Vec<_> = (0..200_000u32).map(|n| hash(&n.to_le_bytes())).collect();
        ids.sort_unstable();
        let mut filter = Filter::default();
        for id in ids {
            filter.insert(id, 0);
        }
        let alarms = (200_000..300_000u32)
            .filter(|n| filter.may_contain(hash(&n.to_le_bytes())))
            .count();
        assert!(alarms < 2_000, "{alarms} false alarms in 100000");
    }

    #[test]
    fn old_generations_go_whole() {
        let mut filter = Filter::default();
        for n in 0..(FIRST_GENERATION_IDS as i64 + 10) {
            filter.insert(hash(&n.to_le_bytes()), n);
        }
        filter.expire(FIRST_GENERATION_IDS as i64);
        assert!(filter.may_contain(hash(&(FIRST_GENERATION_IDS as i64 + 9).to_le_bytes())));
        let kept = (0..1000i64)
            .filter(|n| filter.may_contain(hash(&n.to_le_bytes())))
            .count();
        assert!(kept < 50, "{kept} of 1000 dropped ids still found");
    }
}
