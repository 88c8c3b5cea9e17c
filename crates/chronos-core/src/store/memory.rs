//! A store in memory, for tests and simulation.

use super::{Family, FamilyVisitor, Pair, Store, StoreError, Visitor, Write, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = (Family, Vec<u8>);
type Map = BTreeMap<Key, Vec<u8>>;

/// Pairs that a scan takes out of the lock at a time, at first and at most.
const FIRST_PAIRS: usize = 8;
const MOST_PAIRS: usize = 1024;

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
    /// Keys of what may differ between the two.
    unflushed: BTreeSet<Key>,
}

impl Maps {
    fn put(&mut self, key: Key, value: Vec<u8>) {
        self.unflushed.insert(key.clone());
        self.live.insert(key, value);
    }

    fn delete(&mut self, key: Key) {
        self.live.remove(&key);
        self.unflushed.insert(key);
    }

    fn flush(&mut self) {
        for key in std::mem::take(&mut self.unflushed) {
            match self.live.get(&key) {
                Some(value) => self.flushed.insert(key, value.clone()),
                None => self.flushed.remove(&key),
            };
        }
    }
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
                ..Maps::default()
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
        // Taken out of the lock in pieces, so that a visitor may use the store, and one that needs the
        // first pair only does not wait for all.
        let to = Bound::Excluded((family, to.to_vec()));
        let mut from = Bound::Included((family, from.to_vec()));
        let mut most = FIRST_PAIRS;
        loop {
            let pairs: Vec<Pair> = self
                .lock()
                .live
                .range((from.clone(), to.clone()))
                .take(most)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            let are_last = pairs.len() < most;
            for (key, value) in pairs {
                if visit(&key, &value).is_break() {
                    return Ok(());
                }
                from = Bound::Excluded((family, key));
            }
            if are_last {
                return Ok(());
            }
            most = (most * 2).min(MOST_PAIRS);
        }
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
        let mut maps = self.lock();
        for write in &batch.writes {
            match write {
                Write::Put(family, key, value) => maps.put((*family, key.clone()), value.clone()),
                Write::Delete(family, key) => maps.delete((*family, key.clone())),
                Write::DeleteRange(family, from, to) if from < to => {
                    let range = (*family, from.clone())..(*family, to.clone());
                    let keys: Vec<Key> =
                        maps.live.range(range).map(|(key, _)| key.clone()).collect();
                    keys.into_iter().for_each(|key| maps.delete(key));
                }
                Write::DeleteRange(..) => {}
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
        self.lock().flush();
        Ok(())
    }
}
