//! Saving the state in memory, so that a restart applies the log from here on and not from its
//! beginning.
//!
//! A checkpoint is taken in three steps, of which only the first and last need the partition:
//! [`Partition::begin_checkpoint`] encodes the state and sets recent ids aside,
//! [`Checkpoint::write`] brings both to the store, and after the store's flush
//! [`Partition::finish_checkpoint`] lets the ids go. Entries applied in between may reach the store
//! before the checkpoint that does not know them: applying them again repeats their writes.

use super::change::{changed_offsets, last_change};
use super::dead_letters::Letters;
use super::moved::Forgetting;
use super::topic_state::TopicStates;
use super::{Group, LogPosition, Partition, Topics};
use crate::dedup::{Dedup, Window, forgotten_far_ids, in_order, sorted_pairs};
use crate::keys::dedup::{Accepted, FAR_MS, IdHash};
use crate::keys::meta::{Kind, decode_key, key};
use crate::mutant;
use crate::store::{Family, Store, StoreError, WriteBatch};
use crate::types::{DueKey, PartitionNumber};
use crate::varint::{Malformed, put_bytes, put_i64, put_u64, take_bytes, take_i64, take_u64};
use hashbrown::{HashMap, HashSet};
use roaring::RoaringTreemap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

/// Version of the partition's record.
const VERSION: u64 = 2;

/// A partition's state on its way to the store.
#[derive(Debug)]
pub struct Checkpoint {
    partition: PartitionNumber,
    writes: WriteBatch,
    window: Arc<Window>,
    /// Its ids in the order of their keys, once they were asked for.
    ids: OnceLock<Vec<(IdHash, Accepted)>>,
    /// Ids that begin to age after this are far ones, Unix milliseconds.
    far_from_ms: i64,
    /// Ids that began to age up to this time are forgotten, Unix milliseconds.
    forgotten_ms: i64,
    applied_index: u64,
}

impl Checkpoint {
    /// Writes it. Durable once the store is flushed.
    pub fn write(&self, store: &impl Store) -> Result<(), StoreError> {
        if !self.window.is_empty() {
            let ids = self.ids();
            let (near, far) = sorted_pairs(self.partition, &self.window, ids, self.far_from_ms);
            if !mutant!("ids-not-saved") {
                store.ingest(Family::Dedup, &near)?;
            }
            store.ingest(Family::FarId, &far)?;
        }
        store.write(&self.writes)
    }

    /// The ids that it sets aside, for [`Partition::absorb_checkpoint`].
    #[must_use]
    pub fn ids(&self) -> &[(IdHash, Accepted)] {
        self.ids.get_or_init(|| in_order(&self.window))
    }

    /// Removes far ids that were forgotten at this checkpoint, out of at most `most` that are looked
    /// at from `from` on. Returns where to go on, `None` at the end. To be called once the checkpoint
    /// is durable: a restart must not meet an id that it needs as gone.
    pub fn sweep_far_ids(
        &self,
        store: &impl Store,
        from: Option<Vec<u8>>,
        most: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sweep = forgotten_far_ids(store, self.partition, from, self.forgotten_ms, most)?;
        let mut writes = WriteBatch::default();
        for key in sweep.forgotten {
            writes.delete(Family::FarId, key);
        }
        if !writes.is_empty() {
            store.write(&writes)?;
        }
        Ok(sweep.next)
    }

    /// Index of the last entry it covers.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }
}

impl<S: Store> Partition<S> {
    /// Captures the state. `released` is how many scheduled events of each topic have due keys up to `upto`, as
    /// the leader counts them; a restart begins to count from there. `None` while another checkpoint
    /// is under way or nothing was ever applied.
    pub fn begin_checkpoint(&mut self, released: &[u64], upto: DueKey) -> Option<Checkpoint> {
        let applied = self.applied?;
        if self.checkpointing.is_some() {
            return None;
        }
        self.checkpointing = Some((self.forgotten_ms, applied.index));
        let mut released = released.to_vec();
        for topic in &self.topic_states.unseen {
            if let Some(released) = released.get_mut(*topic as usize) {
                *released = 0;
            }
        }
        let released = released.as_slice();
        self.saved_released = (released.to_vec(), upto);
        let mut writes = WriteBatch::default();
        let mut record = Vec::new();
        put_u64(&mut record, VERSION);
        put_u64(&mut record, applied.term);
        put_u64(
            &mut record,
            applied.index + u64::from(mutant!("checkpoint-skips-entry")),
        );
        let next_offset = match mutant!("checkpoint-reuses-offset") {
            true => self.next_offset.saturating_sub(1),
            false => self.next_offset,
        };
        put_u64(&mut record, next_offset);
        put_i64(&mut record, self.horizon.due_ms);
        put_u64(&mut record, self.horizon.offset);
        put_i64(&mut record, upto.due_ms);
        put_u64(&mut record, upto.offset);
        put_i64(&mut record, self.forgotten_ms);
        put_bytes(&mut record, &self.membership);
        writes.put(Family::Meta, key(self.number, Kind::Partition, 0), record);
        for number in self.topics.saved..self.topics.len() {
            let name = self.topics.name(number as u32).unwrap_or_default();
            writes.put(
                Family::Meta,
                key(self.number, Kind::Topic, number as u32),
                name,
            );
        }
        self.topics.saved = self.topics.len();
        for number in self.changed_groups.drain() {
            if mutant!("checkpoint-forgets-progress") && self.saved_index.is_some() {
                continue;
            }
            if let Some(group) = self.groups.get(number as usize) {
                writes.put(
                    Family::Meta,
                    key(self.number, Kind::Group, number),
                    group.encode(),
                );
                writes.put(
                    Family::Meta,
                    key(self.number, Kind::Letters, number),
                    group.letters.encode(),
                );
            }
        }
        for gone in self.gone_letters.drain(..) {
            writes.delete(Family::Dead, gone);
        }
        self.forget(upto.due_ms, &mut writes);
        self.save_counts(released, &mut writes);
        for topic in std::mem::take(&mut self.topics.unsaved_flags) {
            let mut record = Vec::new();
            put_u64(&mut record, self.topics.flags(topic));
            writes.put(
                Family::Meta,
                key(self.number, Kind::TopicFlags, topic),
                record,
            );
        }
        for (topic, state) in self.topic_states.take_unsaved() {
            let key = key(self.number, Kind::TopicState, topic);
            writes.put(Family::Meta, key, state.encode());
        }
        if std::mem::take(&mut self.deleted_changed) {
            let mut record = Vec::new();
            self.deleted
                .serialize_into(&mut record)
                .expect("writing to memory does not fail");
            writes.put(Family::Meta, key(self.number, Kind::Deleted, 0), record);
        }
        let far_from_ms = self.horizon.due_ms.saturating_add(FAR_MS);
        let window = self.dedup.freeze(far_from_ms);
        Some(Checkpoint {
            partition: self.number,
            writes,
            window,
            ids: OnceLock::new(),
            far_from_ms,
            forgotten_ms: self.forgotten_ms,
            applied_index: applied.index,
        })
    }

    /// Writes the counts of the topics where they are not as they were saved last.
    fn save_counts(&mut self, released: &[u64], writes: &mut WriteBatch) {
        let topics = self.scheduled.len().max(released.len());
        self.saved_counts
            .resize(topics.max(self.saved_counts.len()), (0, 0));
        for topic in 0..topics {
            let of = |counts: &[u64]| counts.get(topic).copied().unwrap_or(0);
            let counts = (of(&self.scheduled), of(released));
            if self.saved_counts[topic] != counts {
                self.saved_counts[topic] = counts;
                let mut record = Vec::new();
                put_u64(&mut record, counts.0);
                put_u64(&mut record, counts.1);
                let key = key(self.number, Kind::TopicCounts, topic as u32);
                writes.put(Family::Meta, key, record);
            }
        }
    }

    /// Does a part of what [`Partition::finish_checkpoint`] does, for some of the checkpoint's ids,
    /// once the checkpoint is durable: half a million at once would hold up whoever applies.
    pub fn absorb_checkpoint(&mut self, ids: &[(IdHash, Accepted)]) {
        self.dedup.absorb(ids);
    }

    /// The checkpoint is durable.
    pub fn finish_checkpoint(&mut self) {
        // What was forgotten since would be remembered again after a restart.
        if let Some((forgotten_ms, applied_index)) = self.checkpointing.take() {
            self.dedup.thaw(forgotten_ms);
            self.saved_index = Some(applied_index);
            self.saved_forgotten_ms = forgotten_ms;
        }
    }
}

/// A partition as of its last checkpoint.
pub(super) fn restore<S: Store>(
    number: PartitionNumber,
    store: S,
) -> Result<Partition<S>, StoreError> {
    let damaged = |reason| StoreError::Damaged {
        family: Family::Meta,
        reason,
    };
    let mut partition = Partition {
        number,
        applied: None,
        membership: Vec::new(),
        next_offset: 0,
        horizon: DueKey::MIN,
        topics: Topics::default(),
        topic_states: TopicStates::default(),
        groups: Vec::new(),
        group_numbers: HashMap::new(),
        changed_groups: HashSet::new(),
        gone_letters: Vec::new(),
        dedup: Dedup::open(&store, number)?,
        forgotten_ms: i64::MIN,
        scheduled: Vec::new(),
        saved_released: (Vec::new(), DueKey::MIN),
        saved_counts: Vec::new(),
        carried_upto: 0,
        forgetting: Forgetting::default(),
        deleted: RoaringTreemap::new(),
        deleted_changed: false,
        changed: changed_offsets(&store, number)?,
        last_change: last_change(&store, number)?,
        saved_index: None,
        saved_forgotten_ms: i64::MIN,
        checkpointing: None,
        store: store.clone(),
    };
    let mut result = Ok(());
    let (from, to) = (
        key(number, Kind::Partition, 0),
        key(number, Kind::Deleted, u32::MAX),
    );
    store.scan(Family::Meta, &from, &to, &mut |key, value| match partition
        .restore_record(key, value)
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(Malformed) => {
            result = Err(damaged("a record of the last checkpoint is malformed"));
            ControlFlow::Break(())
        }
    })?;
    result?;
    partition.topics.saved = partition.topics.len();
    partition.saved_index = partition.applied.map(|applied| applied.index);
    partition.saved_forgotten_ms = partition.forgotten_ms;
    Ok(partition)
}

impl<S: Store> Partition<S> {
    fn restore_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        match decode_key(key)? {
            (Kind::Partition, _) => self.restore_partition(value),
            (Kind::Topic, number) => {
                if self.topics.number(value) != number {
                    return Err(Malformed);
                }
                Ok(())
            }
            (Kind::Group, number) => {
                let group = Group::decode(value)?;
                if self.groups.len() != number as usize {
                    return Err(Malformed);
                }
                self.group_numbers
                    .insert((group.name.clone(), group.topic), number);
                self.groups.push(group);
                Ok(())
            }
            (Kind::TopicCounts, number) => self.restore_counts(number as usize, value),
            (Kind::TopicFlags, number) => {
                let flags = take_u64(&mut &*value)?;
                self.topics.restore_flags(number, flags);
                Ok(())
            }
            (Kind::Letters, number) => {
                let group = self.groups.get_mut(number as usize).ok_or(Malformed)?;
                group.letters = Letters::decode(value)?;
                Ok(())
            }
            (Kind::Carried, _) => {
                self.carried_upto = take_u64(&mut &*value)?;
                Ok(())
            }
            (Kind::Deleted, _) => {
                self.deleted = RoaringTreemap::deserialize_from(value).map_err(|_| Malformed)?;
                Ok(())
            }
            (Kind::TopicState, number) => self.topic_states.restore(number, value),
        }
    }

    fn restore_counts(&mut self, topic: usize, mut value: &[u8]) -> Result<(), Malformed> {
        let input = &mut value;
        let counts = (take_u64(input)?, take_u64(input)?);
        if topic >= self.topics.len() {
            return Err(Malformed);
        }
        self.scheduled.resize(topic + 1, 0);
        self.scheduled[topic] = counts.0;
        self.saved_released.0.resize(topic + 1, 0);
        self.saved_released.0[topic] = counts.1;
        self.saved_counts.resize(topic + 1, (0, 0));
        self.saved_counts[topic] = counts;
        Ok(())
    }

    fn restore_partition(&mut self, mut value: &[u8]) -> Result<(), Malformed> {
        let input = &mut value;
        if take_u64(input)? != VERSION {
            return Err(Malformed);
        }
        self.applied = Some(LogPosition {
            term: take_u64(input)?,
            index: take_u64(input)?,
        });
        self.next_offset = take_u64(input)?;
        self.horizon = DueKey::new(take_i64(input)?, take_u64(input)?);
        self.saved_released.1 = DueKey::new(take_i64(input)?, take_u64(input)?);
        self.forgotten_ms = take_i64(input)?;
        self.membership = take_bytes(input)?.to_vec();
        Ok(())
    }
}
