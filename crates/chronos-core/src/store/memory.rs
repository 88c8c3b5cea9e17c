//! A store in memory, for tests and simulation.

use super::{Family, FamilyVisitor, Pair, Store, StoreError, Visitor, Write, WriteBatch};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// Sorted maps behind a lock, with the same durability as a store on disk: a crash
/// ([`MemoryStore::crash`]) takes back what was not flushed.
#[derive(Clone, Default, Debug)]
pub struct MemoryStore {
    maps: Arc<Mutex<Maps>>,
}

#[derive(Default, Debug)]
struct Maps {
    live: Map,
    flushed: Map,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store as it would be found after a crash now: only what was flushed or ingested.
    #[must_use]
    pub fn crash(&self) -> Self {
        let flushed = self.lock().flushed.clone();
        Self {
            maps: Arc::new(Mutex::new(Maps {
                live: flushed.clone(),
                flushed,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().live.get(&(family, key.to_vec())).cloned())
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // Collected first, so that a visitor may use the store.
        let pairs: Vec<_> = self
            .lock()
            .live
            .range((family, from.to_vec())..(family, to.to_vec()))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in pairs {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_together(
        &self,
        families: &[Family],
        from: &[u8],
        to: &[u8],
        visit: &mut FamilyVisitor<'_>,
    ) -> Result<(), StoreError> {
        let live = self.lock().live.clone();
        let bounds = |family| (family, from.to_vec())..(family, to.to_vec());
        let families = families.iter().filter(|_| from < to);
        for ((family, key), value) in families.flat_map(|family| live.range(bounds(*family))) {
            if visit(*family, key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last_at_or_before(
        &self,
        family: Family,
        floor: &[u8],
        at: &[u8],
    ) -> Result<Option<Pair>, StoreError> {
        if floor > at {
            return Ok(None);
        }
        let range = (
            Bound::Included((family, floor.to_vec())),
            Bound::Included((family, at.to_vec())),
        );
        Ok(self
            .lock()
            .live
            .range(range)
            .next_back()
            .map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let live = &mut self.lock().live;
        for write in &batch.writes {
            match write {
                Write::Put(family, key, value) => {
                    live.insert((*family, key.clone()), value.clone());
                }
                Write::Delete(family, key) => {
                    live.remove(&(*family, key.clone()));
                }
                Write::DeleteRange(family, from, to) => {
                    live.retain(|(f, key), _| f != family || key < from || key >= to);
                }
            }
        }
        Ok(())
    }

    fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        family: Family,
        pairs: &[(K, V)],
    ) -> Result<(), StoreError> {
        let mut maps = self.lock();
        for (key, value) in pairs {
            maps.live
                .insert((family, key.as_ref().to_vec()), value.as_ref().to_vec());
            maps.flushed
                .insert((family, key.as_ref().to_vec()), value.as_ref().to_vec());
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut maps = self.lock();
        maps.flushed = maps.live.clone();
        Ok(())
    }
}
