//! One level of the wheel: its slots and a bitmap of those that hold timers.

use super::chunks::{Chunks, Entry, FreeList};

const WORD_BITS: usize = u64::BITS as usize;
const MOST_SLOTS: usize = 256;

#[derive(Debug)]
pub(super) struct Level {
    slots: Box<[Chunks]>,
    /// Bit `i` is set exactly when slot `i` holds timers.
    occupied: [u64; MOST_SLOTS / WORD_BITS],
}

impl Level {
    /// A level of `2^digit_bits` empty slots.
    pub(super) fn new(digit_bits: u32) -> Self {
        let slots = 1_usize << digit_bits;
        assert!(slots <= MOST_SLOTS, "the bitmap holds {MOST_SLOTS} slots");
        Self {
            slots: (0..slots).map(|_| Chunks::default()).collect(),
            occupied: [0; MOST_SLOTS / WORD_BITS],
        }
    }

    pub(super) fn push(&mut self, slot: usize, entry: Entry, free: &mut FreeList) {
        self.occupied[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        self.slots[slot].push(entry, free);
    }

    /// Empties a slot and returns what it held.
    pub(super) fn take(&mut self, slot: usize) -> Chunks {
        self.occupied[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
        std::mem::take(&mut self.slots[slot])
    }

    /// Empties every slot, lowest first.
    pub(super) fn drain_all(&mut self, free: &mut FreeList, mut each: impl FnMut(Entry)) {
        while let Some(slot) = self.first() {
            self.drain(slot, free, &mut each);
        }
    }

    /// Empties the slots above `after` and below `before`, lowest first.
    pub(super) fn drain_between(
        &mut self,
        after: usize,
        before: usize,
        free: &mut FreeList,
        mut each: impl FnMut(Entry),
    ) {
        // No slot at or below the wheel's position holds timers, so the first one is above `after`.
        while let Some(slot) = self.first().filter(|&slot| slot < before) {
            debug_assert!(slot > after, "a timer is left behind the wheel's position");
            self.drain(slot, free, &mut each);
        }
    }

    /// The least `low` of the level's timers, `None` if there are none.
    pub(super) fn earliest(&self) -> Option<u32> {
        self.slots[self.first()?].earliest()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.slots.iter().map(Chunks::heap_bytes).sum::<usize>()
    }

    fn drain(&mut self, slot: usize, free: &mut FreeList, each: &mut impl FnMut(Entry)) {
        for chunk in self.take(slot).into_chunks() {
            chunk.entries().iter().copied().for_each(&mut *each);
            free.give(chunk);
        }
    }

    /// The lowest slot that holds timers.
    fn first(&self) -> Option<usize> {
        let word = self.occupied.iter().position(|&word| word != 0)?;
        Some(word * WORD_BITS + self.occupied[word].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(low: u32) -> Entry {
        Entry {
            low,
            topic: 0,
            offset: u64::from(low),
        }
    }

    #[test]
    fn drains_in_order_of_slots() {
        let mut free = FreeList::default();
        let mut level = Level::new(8);
        for slot in [255, 3, 64, 63, 128] {
            level.push(slot, entry(slot as u32), &mut free);
        }
        assert_eq!(level.earliest(), Some(3));

        let mut drained = Vec::new();
        level.drain_between(0, 64, &mut free, |entry| drained.push(entry.low));
        assert_eq!(drained, [3, 63]);
        assert_eq!(level.earliest(), Some(64));

        drained.clear();
        level.drain_all(&mut free, |entry| drained.push(entry.low));
        assert_eq!(drained, [64, 128, 255]);
        assert_eq!(level.earliest(), None);
    }

    #[test]
    fn take_empties_the_slot() {
        let mut free = FreeList::default();
        let mut level = Level::new(6);
        level.push(5, entry(7), &mut free);
        assert_eq!(level.take(5).earliest(), Some(7));
        assert_eq!(level.take(5).earliest(), None);
        assert_eq!(level.earliest(), None);
    }
}
