//! Taking everything that a store has of one partition to another store.
//!
//! What is taken is the store as of one moment. That is a state in which a crash could have left it,
//! so the copy is opened as after a crash: the checkpoint in it says from where on the log is to be
//! applied again. The checkpoint comes last, so a copy that was cut short has none, and opens as
//! empty.

use super::{Family, FamilyVisitor, Store, StoreError, Write, WriteBatch};
use crate::keys::bounds;
use crate::keys::dedup::{Accepted, Record, stamp, stamp_of};
use crate::types::PartitionNumber;

/// The families in the order in which they are copied.
pub const ORDER: [Family; Family::ALL.len()] = [
    Family::Batch,
    Family::Chunk,
    Family::Run,
    Family::Dedup,
    Family::Dead,
    Family::Change,
    Family::Override,
    Family::FarId,
    Family::Meta,
];

/// Pairs of a family of ids that go to the store at once: a file of them is never rewritten.
const IDS_AT_ONCE: usize = 400_000;
/// Bytes of other pairs that go to the store at once.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Visits everything that a store has of a partition, as of one moment, in the order that
/// [`Import`] takes it.
pub fn visit(
    store: &impl Store,
    partition: PartitionNumber,
    visit: &mut FamilyVisitor<'_>,
) -> Result<(), StoreError> {
    let (from, to) = bounds(partition);
    store.scan_together(&ORDER, &from, &to, visit)
}

/// Removes everything that a store has of a partition.
pub fn clear(store: &impl Store, partition: PartitionNumber) -> Result<(), StoreError> {
    let (from, to) = bounds(partition);
    let range = |family| Write::DeleteRange(family, from.clone(), to.clone());
    // The checkpoint first: without it the rest is nothing.
    let writes = ORDER.into_iter().rev().map(range).collect();
    store.write(&WriteBatch { writes })
}

/// Why a pair cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pair is of another partition.
    #[error("a record that is to be imported belongs to another partition")]
    OtherPartition,
    /// The pairs do not come in the order in which they are visited.
    #[error("a record that is to be imported does not come in order")]
    OutOfOrder,
}

/// Writes what [`visit`] visited to a store.
#[derive(Debug)]
pub struct Import<S> {
    store: S,
    partition: PartitionNumber,
    family: Family,
    last: Vec<u8>,
    ids: Vec<(Vec<u8>, Vec<u8>)>,
    writes: WriteBatch,
    bytes: usize,
}

impl<S: Store> Import<S> {
    /// Begins, and removes what the store has of the partition.
    pub fn begin(store: S, partition: PartitionNumber) -> Result<Self, StoreError> {
        clear(&store, partition)?;
        // Durable before anything is added: half of a copy must never be taken for the old one.
        store.flush()?;
        Ok(Self {
            store,
            partition,
            family: ORDER[0],
            last: Vec::new(),
            ids: Vec::new(),
            writes: WriteBatch::default(),
            bytes: 0,
        })
    }

    /// Takes the next pair.
    pub fn add(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        if !key.starts_with(&self.partition.to_be_bytes()) {
            return Err(ImportError::OtherPartition);
        }
        if family != self.family {
            let place = |family| ORDER.iter().position(|of| *of == family);
            if place(family) < place(self.family) {
                return Err(ImportError::OutOfOrder);
            }
            self.write()?;
            self.family = family;
            self.last.clear();
        }
        if *self.last >= *key {
            return Err(ImportError::OutOfOrder);
        }
        self.last = key.to_vec();
        self.bytes += key.len() + value.len();
        let is_full = match family {
            // Files are cut anew, and so are their stamps.
            Family::Dedup if stamp_of(key).is_some() => false,
            Family::Dedup | Family::FarId => {
                self.ids.push((key.to_vec(), value.to_vec()));
                self.ids.len() >= IDS_AT_ONCE
            }
            _ => {
                self.writes.put(family, key, value);
                // The checkpoint is there whole or not at all.
                self.bytes >= BYTES_AT_ONCE && family != Family::Meta
            }
        };
        if is_full {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        if !self.ids.is_empty() {
            if self.family == Family::Dedup {
                self.ids.insert(0, self.stamp());
            }
            self.store.ingest(self.family, &self.ids)?;
            self.ids.clear();
        }
        self.store.write(&std::mem::take(&mut self.writes))
    }

    /// The stamp of the ids that are to be a file.
    fn stamp(&self) -> (Vec<u8>, Vec<u8>) {
        let at_ms = |(_, value): &(Vec<u8>, Vec<u8>)| {
            Record::decode(value).map_or(i64::MAX, |record| record.last.at_ms)
        };
        let newest_ms = self.ids.iter().map(at_ms).max().unwrap_or(i64::MAX);
        let key = stamp(self.partition, newest_ms);
        (key.to_vec(), Accepted::NEVER.encode().to_vec())
    }

    /// Ends. Everything is durable when it returns.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.store.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::meta::{Kind, key as meta_key};
    use crate::store::{MemoryStore, Pair};
    use std::ops::ControlFlow;

    /// A record of each family for partitions 1 to 3.
    fn full() -> MemoryStore {
        let store = MemoryStore::new();
        let mut writes = WriteBatch::default();
        for partition in 1..=3_u32 {
            for family in Family::ALL {
                for last in [0, 255] {
                    let key = [&partition.to_be_bytes()[..], &[family as u8, last]].concat();
                    writes.put(family, key, vec![last]);
                }
            }
        }
        store.write(&writes).unwrap();
        store
    }

    fn everything(store: &MemoryStore) -> Vec<(Family, Pair)> {
        let mut all = Vec::new();
        for partition in 0..=4 {
            visit(store, partition, &mut |family, key, value| {
                all.push((family, (key.to_vec(), value.to_vec())));
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        all
    }

    #[test]
    fn a_copy_has_everything_of_the_partition_and_nothing_else() {
        let (from, to) = (full(), MemoryStore::new());
        let mut old = WriteBatch::default();
        old.put(Family::Run, [0, 0, 0, 2, 9], [1]);
        old.put(Family::Run, [0, 0, 0, 3, 9], [1]);
        to.write(&old).unwrap();
        let mut import = Import::begin(to.clone(), 2).unwrap();
        visit(&from, 2, &mut |family, key, value| {
            import.add(family, key, value).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        import.finish().unwrap();
        let mut copied = everything(&to.crash());
        copied.retain(|(_, (key, _))| stamp_of(key).is_none());
        let of = |number: u8| move |(_, (key, _)): &&(Family, Pair)| key[3] == number;
        assert_eq!(copied.iter().filter(of(2)).count(), 2 * Family::ALL.len());
        assert_eq!(
            copied.iter().filter(of(3)).count(),
            1,
            "what others have stays"
        );
        assert!(
            copied
                .iter()
                .filter(of(2))
                .eq(everything(&from).iter().filter(of(2)))
        );
    }

    #[test]
    fn clearing_leaves_other_partitions() {
        let store = full();
        clear(&store, 2).unwrap();
        let left = everything(&store);
        assert_eq!(left.len(), 4 * Family::ALL.len());
        assert!(left.iter().all(|(_, (key, _))| key[3] != 2));
    }

    #[test]
    fn a_copy_cut_short_has_no_checkpoint() {
        let (from, to) = (full(), MemoryStore::new());
        let checkpoint = meta_key(2, Kind::Partition, 0);
        let mut writes = WriteBatch::default();
        writes.put(Family::Meta, checkpoint, [1]);
        to.write(&writes).unwrap();
        to.flush().unwrap();
        let mut import = Import::begin(to.clone(), 2).unwrap();
        visit(&from, 2, &mut |family, key, value| {
            import.add(family, key, value).unwrap();
            let store = to.crash();
            assert_eq!(store.get(Family::Meta, &checkpoint).unwrap(), None);
            ControlFlow::Continue(())
        })
        .unwrap();
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let mut import = Import::begin(MemoryStore::new(), 2).unwrap();
        let mut add = |family, key: &[u8]| import.add(family, key, &[]);
        assert!(matches!(
            add(Family::Run, &[0, 0, 0, 3, 1]),
            Err(ImportError::OtherPartition)
        ));
        assert!(matches!(
            add(Family::Run, &[0, 0]),
            Err(ImportError::OtherPartition)
        ));
        add(Family::Run, &[0, 0, 0, 2, 1]).unwrap();
        assert!(matches!(
            add(Family::Run, &[0, 0, 0, 2, 1]),
            Err(ImportError::OutOfOrder)
        ));
        assert!(matches!(
            add(Family::Batch, &[0, 0, 0, 2, 1]),
            Err(ImportError::OutOfOrder)
        ));
        add(Family::Dead, &[0, 0, 0, 2, 0]).unwrap();
        add(Family::Meta, &[0, 0, 0, 2, 0]).unwrap();
    }
}
