//! A file's content, as seen and as stored.

use std::collections::BTreeSet;

use super::disk::Random;
use super::{Lost, SECTOR_BYTES};

#[derive(Clone, Default)]
pub(super) struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that may differ between the two.
    dirty: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Self {
            durable: content.clone(),
            cached: content,
            dirty: BTreeSet::new(),
        }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        let end = position + bytes.len();
        if bytes.is_empty() {
            return;
        }
        // A gap before the position is zeros, which are as new as the bytes.
        let from = position.min(self.cached.len());
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[position..end].copy_from_slice(bytes);
        self.dirty
            .extend(from / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
    }

    pub(super) fn truncate(&mut self, length: usize) {
        let from = self.cached.len();
        self.cached.resize(length, 0);
        if length > from {
            self.dirty
                .extend(from / SECTOR_BYTES..=(length - 1) / SECTOR_BYTES);
        }
        self.dirty.retain(|sector| sector * SECTOR_BYTES < length);
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let range = sector_range(sector, self.cached.len());
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
    }

    /// The sync failed: what was unsynced stays so, but nobody remembers.
    pub(super) fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    pub(super) fn lose_power(&mut self, random: &mut Random, lost: &mut Lost) {
        let (old, new) = (self.durable.len(), self.cached.len());
        let length = match random.below(3) {
            0 => old,
            1 if new > old => old + random.below(new - old + 1),
            _ => new,
        };
        let luck = Luck::draw(random);
        self.durable.resize(length, 0);
        for &sector in &self.dirty {
            let mut range = sector_range(sector, length.min(new));
            if range.is_empty() {
                continue;
            }
            match luck.of_one(random) {
                Fate::Lost => {
                    lost.sectors += 1;
                    continue;
                }
                Fate::Kept => {}
                Fate::Torn => {
                    lost.torn_sectors += 1;
                    range.end = range.start + random.below(range.len() + 1);
                }
            }
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
        self.dirty.clear();
        self.cached.clone_from(&self.durable);
    }
}

fn sector_range(sector: usize, length: usize) -> std::ops::Range<usize> {
    let start = (sector * SECTOR_BYTES).min(length);
    start..((sector + 1) * SECTOR_BYTES).min(length)
}

/// What becomes of unsynced changes on the whole; so that all lost and all kept are not rare.
#[derive(Clone, Copy)]
pub(super) enum Luck {
    AllLost,
    AllKept,
    Mixed,
}

pub(super) enum Fate {
    Lost,
    Kept,
    Torn,
}

impl Luck {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::AllLost,
            1 => Self::AllKept,
            _ => Self::Mixed,
        }
    }

    pub(super) fn of_one(self, random: &mut Random) -> Fate {
        match self {
            Self::AllLost => Fate::Lost,
            Self::AllKept => Fate::Kept,
            Self::Mixed => match random.below(8) {
                0..3 => Fate::Lost,
                3 => Fate::Torn,
                _ => Fate::Kept,
            },
        }
    }
}
