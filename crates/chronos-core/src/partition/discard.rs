//! Removing what the index knows and the log does not.
//!
//! The index may reach the disk before the log does: in the `periodic` mode, or on a replica whose
//! own disk was slower than the others'. If the log then loses its end, its offsets are given out
//! again, and whatever the index still says of them is about events that no longer exist. It is removed
//! before another entry comes in the place of one that was lost: by a leader before it accepts anything,
//! and by any replica that starts and finds that its index knows more than its log has.

use super::Partition;
use super::change::{LAST_CHANGE, version_at};
use super::places::visit_places;
use crate::dedup::stamp;
use crate::keys::change::{State, Version};
use crate::keys::dedup::{Accepted, Encoded, Record, stamp_of};
use crate::keys::overrides::Override;
use crate::keys::{batch, bounds, change, chunk, dead, dedup, overrides, run};
use crate::store::{Family, Store, StoreError, Write, WriteBatch};
use crate::types::DueKey;
use std::ops::ControlFlow;

impl<S: Store> Partition<S> {
    /// Index of the last entry beyond the applied ones that the index knows of, if it does. When the
    /// log does not have that entry, or lets it go, [`Partition::discard_unknown`] is to be called
    /// before another one is applied.
    pub fn knows_upto(&self) -> Result<Option<u64>, StoreError> {
        let applied = self.applied.map_or(0, |applied| applied.index);
        let mut last = Some(self.last_change).filter(|index| *index > applied);
        visit_places(
            &self.store,
            self.number,
            self.next_offset..u64::MAX,
            &mut |batch| {
                last = last.max(Some(batch.log_index));
                ControlFlow::Continue(())
            },
        )?;
        Ok(last)
    }

    /// Removes everything about events with offsets that were not given out yet, and what entries that
    /// are not applied made of others. Applying those entries writes it again. Returns whether there
    /// was anything; looking costs one read.
    pub fn discard_unknown(&mut self) -> Result<bool, StoreError> {
        let changes = self.discard_unknown_changes()?;
        Ok(self.discard_unknown_events()? || changes)
    }

    fn discard_unknown_events(&mut self) -> Result<bool, StoreError> {
        let (from, to) = (
            batch::key(self.number, self.next_offset),
            batch::key(self.number, u64::MAX),
        );
        if self
            .store
            .last_at_or_before(Family::Batch, &from, &to)?
            .is_none()
        {
            return Ok(false);
        }
        let mut writes = WriteBatch::default();
        writes.writes.push(Write::DeleteRange(
            Family::Batch,
            from.to_vec(),
            to.to_vec(),
        ));
        let first_offset_of_chunk = |key: &[u8]| chunk::decode_key(key).map(|(.., offset)| offset);
        let first_offset_of_run = |key: &[u8]| run::decode_key(key).map(|(.., offset)| offset);
        self.discard_keys(Family::Chunk, first_offset_of_chunk, &mut writes)?;
        self.discard_keys(Family::Run, first_offset_of_run, &mut writes)?;
        for (number, group) in self.groups.iter().enumerate() {
            let from = dead::key(self.number, number as u32, group.next_dead);
            let to = dead::key(self.number, number as u32, u64::MAX);
            writes
                .writes
                .push(Write::DeleteRange(Family::Dead, from.to_vec(), to.to_vec()));
        }
        self.store.write(&writes)?;
        for family in [Family::Dedup, Family::FarId] {
            let mut ids = self.unknown_ids(family)?;
            if family == Family::Dedup {
                stamp(self.number, &mut ids);
            }
            self.store.ingest(family, &ids)?;
        }
        Ok(true)
    }

    /// Takes back what lost entries had made of events: cancelled ones are scheduled again, moved
    /// ones go back to where they were.
    fn discard_unknown_changes(&mut self) -> Result<bool, StoreError> {
        let applied = self.applied.map_or(0, |applied| applied.index);
        let last_change = change::key(self.number, LAST_CHANGE, 0);
        if self.last_change <= applied {
            return Ok(false);
        }
        let mut unknown = Vec::new();
        let (from, to) = (change::key(self.number, 0, 0), last_change);
        self.store
            .scan(Family::Change, &from, &to, &mut |key, value| {
                if let (Ok((offset, index)), Ok(version)) =
                    (change::decode_key(key), Version::decode(value))
                    && index > applied
                {
                    unknown.push((offset, index, version));
                }
                ControlFlow::Continue(())
            })?;
        let mut writes = WriteBatch::default();
        for (offset, index, version) in unknown {
            writes.delete(Family::Change, change::key(self.number, offset, index));
            let at =
                |due_ms| overrides::key(self.number, version.topic, DueKey::new(due_ms, offset));
            writes.delete(Family::Override, at(version.due_ms));
            writes.delete(Family::Override, at(version.published_ms));
            let Some((left, _)) = version_at(&self.store, self.number, offset, applied)? else {
                continue;
            };
            let is_here = left.state != State::Cancelled;
            if !is_here || left.due_ms != left.published_ms {
                writes.put(
                    Family::Override,
                    at(left.published_ms),
                    Override::Gone.encode(),
                );
            }
            if is_here && left.due_ms != left.published_ms {
                writes.put(Family::Override, at(left.due_ms), Override::Here.encode());
            }
        }
        self.last_change = applied;
        writes.put(Family::Change, last_change, applied.to_be_bytes());
        self.store.write(&writes)?;
        Ok(true)
    }

    /// Removes the keys of a family whose entry has a first offset that was not given out.
    fn discard_keys(
        &self,
        family: Family,
        first_offset: impl Fn(&[u8]) -> Result<u64, crate::varint::Malformed>,
        writes: &mut WriteBatch,
    ) -> Result<(), StoreError> {
        let (from, to) = bounds(self.number);
        self.store.scan(family, &from, &to, &mut |key, _| {
            // A key that cannot be read is met, and named, by whoever needs it.
            if first_offset(key).is_ok_and(|offset| offset >= self.next_offset) {
                writes.delete(family, key);
            }
            ControlFlow::Continue(())
        })
    }

    /// The ids whose record speaks of an offset that was not given out, with what to remember
    /// instead.
    fn unknown_ids(&self, family: Family) -> Result<Vec<([u8; 20], Encoded)>, StoreError> {
        let (from, to) = bounds(self.number);
        let mut ids = Vec::new();
        self.store.scan(family, &from, &to, &mut |key, value| {
            if let (Ok(hash), Ok(record)) = (dedup::decode_key(key), Record::decode(value))
                && record.last.offset >= self.next_offset
                && stamp_of(key).is_none()
            {
                let last = record.as_of(self.next_offset).unwrap_or(Accepted::NEVER);
                let instead = Record { last, before: None };
                ids.push((dedup::key(self.number, hash), instead.encode()));
            }
            ControlFlow::Continue(())
        })?;
        Ok(ids)
    }
}
