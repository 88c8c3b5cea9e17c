//! Timers of one slot in chunks of fixed size, and the free list the chunks come from.
//!
//! Chunks rather than one growing vector: a vector that doubles holds up to twice what it needs and
//! copies it all while it grows, and a wheel has hundreds of slots that grow in turn.

/// Timers in a chunk: chosen so that a chunk fills an allocation of 512 bytes.
const CHUNK_TIMERS: usize = 31;
/// Chunks kept for reuse; what is freed beyond them goes back to the allocator.
const FREE_CHUNKS: usize = 128;

const _: () = assert!(size_of::<Entry>() == 16);
// Some allocators keep 8 bytes of their own in front of an allocation.
const _: () = assert!(size_of::<Chunk>() <= 512 - 8);

/// A timer as the wheel stores it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// The low 32 bits of the due time; the place in the wheel gives the others.
    pub(super) low: u32,
    pub(super) topic: u32,
    pub(super) offset: u64,
}

#[derive(Debug)]
pub(super) struct Chunk {
    entries: [Entry; CHUNK_TIMERS],
    used: u32,
}

impl Chunk {
    /// The timers in the order in which they were added.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..self.used as usize]
    }

    fn is_full(&self) -> bool {
        self.used as usize == CHUNK_TIMERS
    }

    fn push(&mut self, entry: Entry) {
        self.entries[self.used as usize] = entry;
        self.used += 1;
    }
}

/// The timers of one slot, in the order in which they were added.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "a chunk moves between slot and free list without being copied"
)]
pub(super) struct Chunks {
    /// All full except the last.
    list: Vec<Box<Chunk>>,
    /// The least `low` in `list`; meaningless while it is empty.
    earliest: u32,
}

impl Chunks {
    pub(super) fn push(&mut self, entry: Entry, free: &mut FreeList) {
        self.earliest = if self.list.is_empty() {
            entry.low
        } else {
            self.earliest.min(entry.low)
        };
        match self.list.last_mut() {
            Some(chunk) if !chunk.is_full() => chunk.push(entry),
            _ => {
                let mut chunk = free.take();
                chunk.push(entry);
                self.list.push(chunk);
            }
        }
    }

    /// The least `low` of the timers, `None` if there are none.
    pub(super) fn earliest(&self) -> Option<u32> {
        (!self.list.is_empty()).then_some(self.earliest)
    }

    pub(super) fn into_chunks(self) -> impl Iterator<Item = Box<Chunk>> {
        self.list.into_iter()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Box<Chunk>>() + self.list.len() * size_of::<Chunk>()
    }
}

/// Empty chunks for reuse, a bounded number of them.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "a chunk moves between slot and free list without being copied"
)]
pub(super) struct FreeList {
    list: Vec<Box<Chunk>>,
}

impl FreeList {
    /// An empty chunk.
    pub(super) fn take(&mut self) -> Box<Chunk> {
        let mut chunk = self.list.pop().unwrap_or_else(|| {
            Box::new(Chunk {
                entries: [Entry::default(); CHUNK_TIMERS],
                used: 0,
            })
        });
        chunk.used = 0;
        chunk
    }

    /// Keeps a chunk for reuse, or frees it if enough are kept.
    pub(super) fn give(&mut self, chunk: Box<Chunk>) {
        if self.list.len() < FREE_CHUNKS {
            self.list.push(chunk);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Box<Chunk>>() + self.list.len() * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_the_earliest() {
        let mut free = FreeList::default();
        let mut chunks = Chunks::default();
        assert_eq!(chunks.earliest(), None);
        for offset in 0..100 {
            chunks.push(
                Entry {
                    low: 500 - offset as u32,
                    topic: 0,
                    offset,
                },
                &mut free,
            );
        }
        assert_eq!(chunks.earliest(), Some(401));
        let offsets: Vec<u64> = chunks
            .into_chunks()
            .flat_map(|chunk| {
                chunk
                    .entries()
                    .iter()
                    .map(|entry| entry.offset)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_free_list_is_bounded() {
        let mut free = FreeList::default();
        let taken: Vec<_> = (0..2 * FREE_CHUNKS).map(|_| free.take()).collect();
        for chunk in taken {
            free.give(chunk);
        }
        assert_eq!(free.list.len(), FREE_CHUNKS);
        assert!(free.heap_bytes() <= 2 * FREE_CHUNKS * size_of::<Chunk>());
    }
}
