//! Deduplication by message id: a window of recent ids in memory, then a filter, then the store.
//!
//! An id begins to age when its event falls due. Ids of events that are due within a day go to files
//! that are dropped whole when all their ids are forgotten; the others go to a family from which they
//! are removed one by one. Forgotten is what the log says it is: an id whose time is over does not
//! count, whether its record is still there or not, so replicas decide alike whenever each of them
//! gets rid of records.
//!
//! Ids are remembered with the offset of their event. The store may be ahead of the applied state,
//! because ids go to it in bulk and durably; a record whose offset has not been given out yet comes
//! from a part of the log that is about to be applied again, and does not count. An id that was
//! forgotten and accepted again takes the place of its older record, which may still count there:
//! so the new record carries the older one along.

mod filter;

use crate::keys::bounds;
use crate::keys::dedup::{self, Accepted, Encoded, IdHash, Record, decode_key, key, stamp_of};
use crate::store::{Family, Store, StoreError};
use crate::types::PartitionNumber;
use filter::Filter;
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The ids are hashes already: their low half serves as the table's hash.
#[derive(Default, Debug, Clone, Copy)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

type Ids = HashMap<IdHash, Accepted, BuildHasherDefault<Identity>>;

/// Recent ids that are not in the store yet.
#[derive(Debug, Default)]
pub struct Window {
    accepted: Ids,
    /// Of those, the ones that the store remembers from an earlier time, and what it does.
    before: Ids,
}

impl Window {
    /// Whether it holds no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }
}

/// The ids that a partition has accepted.
#[derive(Debug, Default)]
pub struct Dedup {
    window: Window,
    /// Being written to the store; still answered from memory until that is done.
    frozen: Option<Arc<Window>>,
    /// Of the frozen ids, how many are in the filter already.
    absorbed: usize,
    /// Frozen ids that begin to age after this go to the far ones, Unix milliseconds.
    far_from_ms: i64,
    filter: Filter,
    far: Filter,
}

impl Dedup {
    /// Reads the ids in the store into the filter.
    pub fn open(store: &impl Store, partition: PartitionNumber) -> Result<Self, StoreError> {
        let mut dedup = Self::default();
        let mut damaged = None;
        let (from, to) = bounds(partition);
        for (family, filter) in [
            (Family::Dedup, &mut dedup.filter),
            (Family::FarId, &mut dedup.far),
        ] {
            store.scan(family, &from, &to, &mut |key, value| {
                match (decode_key(key), Record::decode(value)) {
                    (Ok(_), _) if stamp_of(key).is_some() => {}
                    (Ok(hash), Ok(record)) => filter.insert(hash, record.last.at_ms),
                    _ => damaged = Some(family),
                }
                if damaged.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        damaged.map_or(Ok(dedup), |family| Err(damaged_record(family)))
    }

    /// What the store remembers of these ids, as far as it matters: offsets below `next_offset`.
    ///
    /// Looked up before the events of a section are accepted one by one, so that the store is asked
    /// once. Returns `None` for most ids at the price of one filter look-up.
    pub fn look_up(
        &self,
        store: &impl Store,
        partition: PartitionNumber,
        ids: &[IdHash],
        next_offset: u64,
    ) -> Result<Vec<(usize, Accepted)>, StoreError> {
        let mut found = look_up_in(
            store,
            partition,
            Family::Dedup,
            &self.filter,
            ids,
            next_offset,
        )?;
        let far = look_up_in(store, partition, Family::FarId, &self.far, ids, next_offset)?;
        if !far.is_empty() {
            found.extend(far);
            // An id that is in both was accepted again, or put off: the later record counts.
            found.sort_unstable_by_key(|(i, accepted)| (*i, accepted.offset, accepted.at_ms));
            found.reverse();
            found.dedup_by_key(|(i, _)| *i);
            found.reverse();
        }
        Ok(found)
    }

    /// What memory remembers of an id.
    #[must_use]
    pub fn recent(&self, id: IdHash) -> Option<Accepted> {
        self.window
            .accepted
            .get(&id)
            .or_else(|| self.frozen.as_ref()?.accepted.get(&id))
            .copied()
    }

    /// Remembers an id. `before` is what was remembered of it until now and is forgotten.
    pub fn insert(&mut self, id: IdHash, accepted: Accepted, before: Option<Accepted>) {
        let in_window = self.window.accepted.insert(id, accepted).is_some();
        if let (false, Some(before)) = (in_window, before) {
            self.window.before.insert(id, before);
        }
    }

    /// Ids that are only in memory.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.window.accepted.len()
    }

    /// Sets the window aside to be written to the store. Answers go on from memory until
    /// [`Dedup::thaw`]. Ids that begin to age after `far_from_ms` (Unix ms) are far ones.
    pub fn freeze(&mut self, far_from_ms: i64) -> Arc<Window> {
        self.far_from_ms = far_from_ms;
        let frozen = Arc::new(std::mem::take(&mut self.window));
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The frozen window is in the store: the filter stands for it from now on. Ids accepted before
    /// `expired_ms` (Unix ms) are forgotten, also by a state restored from the store.
    pub fn thaw(&mut self, expired_ms: i64) {
        if let Some(frozen) = self.frozen.take() {
            // Where a part was left out nobody knows which: an id that is added twice does no harm.
            if std::mem::take(&mut self.absorbed) < frozen.accepted.len() {
                for (id, accepted) in &frozen.accepted {
                    self.remember(*id, *accepted);
                }
            }
        }
        self.filter.expire(expired_ms);
        self.far.expire(expired_ms);
    }

    /// Does a part of the work of [`Dedup::thaw`] ahead of it, for some of the frozen ids, so that
    /// others can have the partition in between. Each id is to be given once.
    pub fn absorb(&mut self, ids: &[(IdHash, Accepted)]) {
        if self.frozen.is_none() {
            return;
        }
        for (id, accepted) in ids {
            self.remember(*id, *accepted);
        }
        self.absorbed += ids.len();
    }

    fn remember(&mut self, id: IdHash, accepted: Accepted) {
        if crate::mutant!("ids-forgotten-after-checkpoint") {
            return;
        }
        let far = accepted.at_ms > self.far_from_ms;
        let filter = if far { &mut self.far } else { &mut self.filter };
        filter.insert(id, accepted.at_ms);
    }

    /// Memory in use, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ids = |window: &Window| window.accepted.capacity() + window.before.capacity();
        let frozen = self.frozen.as_ref().map_or(0, |frozen| ids(frozen));
        (ids(&self.window) + frozen) * (size_of::<(IdHash, Accepted)>() + 1)
            + self.filter.bytes()
            + self.far.bytes()
    }
}

fn damaged_record(family: Family) -> StoreError {
    StoreError::Damaged {
        family,
        reason: "an id's record has a wrong length",
    }
}

fn look_up_in(
    store: &impl Store,
    partition: PartitionNumber,
    family: Family,
    filter: &Filter,
    ids: &[IdHash],
    next_offset: u64,
) -> Result<Vec<(usize, Accepted)>, StoreError> {
    let asked: Vec<usize> = (0..ids.len())
        .filter(|i| filter.may_contain(ids[*i]))
        .collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = asked.iter().map(|i| key(partition, ids[*i])).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    let mut found = Vec::new();
    for (i, value) in asked.into_iter().zip(store.multi_get(family, &keys)?) {
        if let Some(value) = value {
            let record = Record::decode(&value).map_err(|_| damaged_record(family))?;
            let upto = if crate::mutant!("id-from-the-future") {
                u64::MAX
            } else {
                next_offset
            };
            found.extend(record.as_of(upto).map(|accepted| (i, accepted)));
        }
    }
    Ok(found)
}

/// Pairs of a key and its record.
pub type Pairs = Vec<([u8; 20], Encoded)>;

/// The ids of a window in the order of their keys. Sorted as numbers, which costs a third of
/// comparing keys byte by byte.
#[must_use]
pub fn in_order(window: &Window) -> Vec<(IdHash, Accepted)> {
    let mut ids: Vec<_> = window.accepted.iter().map(|(id, of)| (*id, *of)).collect();
    ids.sort_unstable_by_key(|(id, _)| *id);
    ids
}

/// Puts the stamp in front of sorted pairs that are to be a file of [`Family::Dedup`].
pub(crate) fn stamp(partition: PartitionNumber, pairs: &mut Pairs) {
    let at_ms = |(_, record): &([u8; 20], Encoded)| {
        Record::decode(record.as_ref()).map_or(i64::MAX, |record| record.last.at_ms)
    };
    if let Some(newest_ms) = pairs.iter().map(at_ms).max() {
        pairs.insert(0, stamp_pair(partition, newest_ms));
    }
}

fn stamp_pair(partition: PartitionNumber, newest_ms: i64) -> ([u8; 20], Encoded) {
    let never = Record {
        last: Accepted::NEVER,
        before: None,
    };
    (dedup::stamp(partition, newest_ms), never.encode())
}

/// A window, and its ids [`in_order`], as sorted pairs for [`Store::ingest`]: near ids behind their
/// stamp, and those that begin to age after `far_from_ms` (Unix ms) or may have done so before.
#[must_use]
pub fn sorted_pairs(
    partition: PartitionNumber,
    window: &Window,
    ids: &[(IdHash, Accepted)],
    far_from_ms: i64,
) -> (Pairs, Pairs) {
    let (mut near, mut far) = (Pairs::new(), Pairs::new());
    let is_near = |at_ms: &i64| *at_ms <= far_from_ms;
    let newest_ms = ids.iter().map(|(_, of)| of.at_ms).filter(is_near).max();
    near.extend(newest_ms.map(|newest_ms| stamp_pair(partition, newest_ms)));
    for (id, accepted) in ids {
        let record = Record {
            last: *accepted,
            before: window.before.get(id).copied(),
        };
        let pair = (key(partition, *id), record.encode());
        let is_far = accepted.at_ms > far_from_ms;
        // An id that was a far one, and whose event was cancelled, must not come to light again when
        // this record is forgotten.
        if is_far || record.before.is_some() {
            far.push(pair);
        }
        if !is_far {
            near.push(pair);
        }
    }
    (near, far)
}

/// A part of a sweep over the far ids.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Keys of ids that are forgotten.
    pub forgotten: Vec<Vec<u8>>,
    /// The key to go on from; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Looks at the far ids from `from` on, at most `most` of them, for those that began to age up to
/// `forgotten_ms` (Unix ms).
pub fn forgotten_far_ids(
    store: &impl Store,
    partition: PartitionNumber,
    from: Option<Vec<u8>>,
    forgotten_ms: i64,
    most: usize,
) -> Result<Sweep, StoreError> {
    let (first, to) = bounds(partition);
    let (mut sweep, mut seen) = (Sweep::default(), 0);
    store.scan(
        Family::FarId,
        &from.unwrap_or(first),
        &to,
        &mut |key, value| {
            if seen == most {
                sweep.next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            seen += 1;
            if Record::decode(value).is_ok_and(|record| record.last.at_ms <= forgotten_ms) {
                sweep.forgotten.push(key.to_vec());
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(sweep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::dedup::hash;
    use crate::store::MemoryStore;

    #[test]
    fn ids_absorbed_in_parts_are_all_in_the_filter() {
        for parts in 0..=3 {
            absorb_in(parts);
        }
    }

    fn absorb_in(parts: usize) {
        let mut dedup = Dedup::default();
        let ids: Vec<_> = (0..10u8).map(|n| hash(&[n])).collect();
        for (offset, id) in (0u64..).zip(&ids) {
            dedup.insert(*id, Accepted { offset, at_ms: 5 }, None);
        }
        let frozen = in_order(&dedup.freeze(i64::MAX));
        assert!(frozen.is_sorted_by_key(|(id, _)| *id));
        for part in frozen.chunks(4).take(parts) {
            dedup.absorb(part);
            assert!(dedup.recent(ids[9]).is_some());
        }
        dedup.thaw(i64::MIN);
        assert!(ids.iter().all(|id| dedup.filter.may_contain(*id)));
        assert!(dedup.recent(ids[9]).is_none());
    }

    #[test]
    fn ids_are_found_in_the_window_while_frozen_and_in_the_store() {
        let store = MemoryStore::new();
        let mut dedup = Dedup::open(&store, 3).unwrap();
        let (a, b) = (hash(b"a"), hash(b"b"));
        let accepted = Accepted {
            offset: 5,
            at_ms: 100,
        };
        dedup.insert(a, accepted, None);
        assert_eq!((dedup.recent(a), dedup.recent(b)), (Some(accepted), None));
        let frozen = dedup.freeze(i64::MAX);
        assert_eq!(dedup.recent(a), Some(accepted));
        store
            .ingest(
                Family::Dedup,
                &sorted_pairs(3, &frozen, &in_order(&frozen), i64::MAX).0,
            )
            .unwrap();
        dedup.thaw(i64::MIN);
        assert_eq!(dedup.recent(a), None);
        assert_eq!(
            dedup.look_up(&store, 3, &[b, a], 6).unwrap(),
            [(1, accepted)]
        );
        // As after a crash: the store is ahead of an applied state that gave out offsets below 5.
        assert_eq!(dedup.look_up(&store, 3, &[a], 5).unwrap(), []);
        let reopened = Dedup::open(&store, 3).unwrap();
        assert_eq!(
            reopened.look_up(&store, 3, &[a], 6).unwrap(),
            [(0, accepted)]
        );
        assert_eq!(
            Dedup::open(&store, 4)
                .unwrap()
                .look_up(&store, 4, &[a], 6)
                .unwrap(),
            []
        );
    }
}
