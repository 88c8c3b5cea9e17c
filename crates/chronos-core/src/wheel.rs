//! The timing wheel: the leader's timers of the near future, in memory.
//!
//! A hierarchical timing wheel after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels:
//! Data Structures for the Efficient Implementation of a Timer Facility" (SOSP 1987, scheme 7),
//! with slots aligned to the bits of the due time:
//!
//! ```text
//! due_ms   | epoch, 32 bits | 6 bits | 6 bits | 6 bits | 6 bits | 8 bits |
//! kept in  |  ordered map   |  L4    |  L3    |  L2    |  L1    |  L0    |
//! one slot |    49.7 days   | 18.6 h | 17.5 m | 16.4 s | 256 ms |  1 ms  |
//! ```
//!
//! A timer lives in the level of the highest digit in which its due time differs from the wheel's
//! position. So within a level a higher slot is later, every lower level is earlier than every
//! higher one, and a move of the position touches only the levels below the highest digit that
//! changed: whole slots come out or cascade, and bitmaps skip the empty ones. A stall of hours costs
//! as much as the timers that fell due meanwhile, not the ticks that passed.
//!
//! All timers in the levels share the position's epoch, and all in one map entry share its key, so
//! a stored timer needs only the low 32 bits of its due time: 16 bytes in all.

mod chunks;
mod level;

use std::collections::BTreeMap;

use chunks::{Chunks, Entry, FreeList};
use level::Level;

/// Width of each level's digit in bits, lowest level first. They add up to the 32 bits an entry keeps.
const DIGIT_BITS: [u32; LEVELS] = [8, 6, 6, 6, 6];
/// The lowest bit of each level's digit.
const DIGIT_SHIFT: [u32; LEVELS] = [0, 8, 14, 20, 26];
const LEVELS: usize = 5;
const EPOCH_SHIFT: u32 = 32;

const _: () = {
    let mut level = 0;
    let mut shift = 0;
    while level < LEVELS {
        assert!(DIGIT_SHIFT[level] == shift);
        shift += DIGIT_BITS[level];
        level += 1;
    }
    assert!(shift == EPOCH_SHIFT);
};

/// One event's wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// When the event falls due, Unix time in milliseconds. Any value is allowed.
    pub due_ms: i64,
    /// The number of the event's topic.
    pub topic: u32,
    /// The event's offset in its partition.
    pub offset: u64,
}

/// A hierarchical timing wheel with ticks of one millisecond.
///
/// `insert` is O(1); a timer is moved at most once for each level before it comes out. There is no
/// removal: whoever cancels or moves an event drops its old timer when it comes out, by comparing
/// it with the event's current state. The same timer inserted twice comes out twice.
#[derive(Debug)]
pub struct Wheel {
    /// Every timer due at or before this time has come out, except those in `late`.
    position_ms: i64,
    levels: [Level; LEVELS],
    /// Timers of later epochs (`due_ms >> 32`).
    epochs: BTreeMap<i64, Chunks>,
    /// Timers that were due when they were inserted.
    late: Vec<Timer>,
    free: FreeList,
    len: usize,
}

impl Wheel {
    /// An empty wheel whose position is `now_ms` (Unix time in milliseconds).
    pub fn new(now_ms: i64) -> Self {
        Self {
            position_ms: now_ms,
            levels: DIGIT_BITS.map(Level::new),
            epochs: BTreeMap::new(),
            late: Vec::new(),
            free: FreeList::default(),
            len: 0,
        }
    }

    /// The time up to which timers have come out, Unix time in milliseconds. It never moves back.
    pub fn position_ms(&self) -> i64 {
        self.position_ms
    }

    /// Adds a timer. One that is due already comes out at the next [`expire`](Self::expire) that is
    /// not before the position.
    pub fn insert(&mut self, timer: Timer) {
        self.len += 1;
        if timer.due_ms <= self.position_ms {
            self.late.push(timer);
        } else {
            self.place(timer);
        }
    }

    /// The due time of the earliest timer, exactly; `None` if the wheel is empty.
    ///
    /// Each slot keeps the least due time put into it, which stays exact because a slot is only ever
    /// emptied as a whole. So this looks at one slot, however many timers there are.
    pub fn next_due_ms(&self) -> Option<i64> {
        // Late timers are few: they come out at the next expire.
        if let Some(late_ms) = self.late.iter().map(|timer| timer.due_ms).min() {
            return Some(late_ms);
        }
        let epoch = self.position_ms >> EPOCH_SHIFT;
        if let Some(low) = self.levels.iter().find_map(Level::earliest) {
            return Some(due_ms(epoch, low));
        }
        let (&epoch, chunks) = self.epochs.first_key_value()?;
        Some(due_ms(epoch, chunks.earliest()?))
    }

    /// Moves the position to `upto_ms` and appends every timer due at or before it to `out`, in the
    /// order of `(due_ms, offset)`. An `upto_ms` before the position changes nothing.
    ///
    /// Takes time in proportion to the timers that come out or cascade, not to the time that passed.
    pub fn expire(&mut self, upto_ms: i64, out: &mut Vec<Timer>) {
        if upto_ms < self.position_ms {
            return;
        }
        let first = out.len();
        // Taking the vector gives its memory back; late timers are rare in normal running.
        out.append(&mut std::mem::take(&mut self.late));

        let old_epoch = self.position_ms >> EPOCH_SHIFT;
        let new_epoch = upto_ms >> EPOCH_SHIFT;
        let old_low = low(self.position_ms);
        let new_low = low(upto_ms);
        self.position_ms = upto_ms;

        if new_epoch != old_epoch {
            for level in &mut self.levels {
                level.drain_all(&mut self.free, |entry| out.push(timer(old_epoch, entry)));
            }
            self.enter_epoch(new_epoch, out);
        } else if let Some(top) = highest_digit(old_low ^ new_low) {
            for level in &mut self.levels[..top] {
                level.drain_all(&mut self.free, |entry| out.push(timer(new_epoch, entry)));
            }
            let old_slot = digit(old_low, top);
            let new_slot = digit(new_low, top);
            self.levels[top].drain_between(old_slot, new_slot, &mut self.free, |entry| {
                out.push(timer(new_epoch, entry));
            });
            let entered = self.levels[top].take(new_slot);
            self.cascade(new_epoch, entered, out);
        }

        self.len -= out.len() - first;
        let expired = &mut out[first..];
        // Slots come out in order and usually hold their timers in order of offset.
        if !expired.is_sorted_by_key(order) {
            expired.sort_unstable_by_key(order);
        }
    }

    /// How many timers have not come out.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when every timer has come out.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held by the wheel in bytes, free chunks and the wheel itself included; what the
    /// allocator adds is not.
    pub fn bytes(&self) -> usize {
        // What a `BTreeMap` takes for an entry, its nodes being between half and completely full.
        const EPOCH_BYTES: usize = 2 * size_of::<(i64, Chunks)>();
        let levels: usize = self.levels.iter().map(Level::heap_bytes).sum();
        let epochs: usize = self
            .epochs
            .values()
            .map(|chunks| chunks.heap_bytes() + EPOCH_BYTES)
            .sum();
        let late = self.late.capacity() * size_of::<Timer>();
        size_of::<Self>() + levels + epochs + late + self.free.heap_bytes()
    }

    /// Drops every timer and gives the memory back. The position stays.
    pub fn clear(&mut self) {
        *self = Self::new(self.position_ms);
    }

    /// Puts a timer that is due after the position where it belongs.
    fn place(&mut self, timer: Timer) {
        let epoch = timer.due_ms >> EPOCH_SHIFT;
        let entry = Entry {
            low: low(timer.due_ms),
            topic: timer.topic,
            offset: timer.offset,
        };
        if epoch == self.position_ms >> EPOCH_SHIFT {
            let level = highest_digit(entry.low ^ low(self.position_ms)).unwrap_or(0);
            self.levels[level].push(digit(entry.low, level), entry, &mut self.free);
        } else {
            self.epochs
                .entry(epoch)
                .or_default()
                .push(entry, &mut self.free);
        }
    }

    /// Releases all epochs before `epoch` and spreads that one over the levels, which are empty.
    fn enter_epoch(&mut self, epoch: i64, out: &mut Vec<Timer>) {
        while let Some(first) = self.epochs.first_entry() {
            if *first.key() > epoch {
                break;
            }
            let (key, chunks) = first.remove_entry();
            self.cascade(key, chunks, out);
        }
    }

    /// Releases what is due of `chunks`, whose timers are all of `epoch`, and places the rest anew.
    fn cascade(&mut self, epoch: i64, chunks: Chunks, out: &mut Vec<Timer>) {
        // Each chunk goes to the free list once read, so the chunks to be filled are those emptied.
        for chunk in chunks.into_chunks() {
            for &entry in chunk.entries() {
                let timer = timer(epoch, entry);
                if timer.due_ms <= self.position_ms {
                    out.push(timer);
                } else {
                    self.place(timer);
                }
            }
            self.free.give(chunk);
        }
    }
}

fn order(timer: &Timer) -> (i64, u64) {
    (timer.due_ms, timer.offset)
}

fn timer(epoch: i64, entry: Entry) -> Timer {
    Timer {
        due_ms: due_ms(epoch, entry.low),
        topic: entry.topic,
        offset: entry.offset,
    }
}

/// The low 32 bits of a due time. `due_ms` puts the two parts together again, below zero too.
fn low(due_ms: i64) -> u32 {
    due_ms as u32
}

fn due_ms(epoch: i64, low: u32) -> i64 {
    (epoch << EPOCH_SHIFT) | i64::from(low)
}

/// The level of the highest digit in which two times differ, given their difference by xor.
fn highest_digit(difference: u32) -> Option<usize> {
    let bit = difference.checked_ilog2()?;
    DIGIT_SHIFT.iter().rposition(|&shift| shift <= bit)
}

fn digit(low: u32, level: usize) -> usize {
    ((low >> DIGIT_SHIFT[level]) & ((1 << DIGIT_BITS[level]) - 1)) as usize
}

#[cfg(test)]
mod tests;
