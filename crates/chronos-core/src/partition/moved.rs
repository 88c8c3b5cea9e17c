//! Carrying events: taking note of where they stand now, and forgetting what nobody needs.
//!
//! The leader decides what is carried ([`super::live`]); here it only takes effect. Places change at
//! once: nothing that `apply` decides depends on them. What is forgotten leaves the index with the
//! next checkpoint, because the entries that are applied again after a crash may need it.

use super::Partition;
use crate::command::carry::{Forgotten, Moved};
use crate::keys::batch::{self, Span};
use crate::keys::chunk::{self, Bucket};
use crate::keys::meta::{self, Kind};
use crate::keys::{change, overrides, run};
use crate::store::{Family, Store, Write, WriteBatch};
use crate::types::DueKey;
use crate::varint::put_u64;

/// What leaves the index with the next checkpoint.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    past: Vec<Forgotten>,
    versions: Vec<u64>,
}

impl<S: Store> Partition<S> {
    pub(super) fn take_moved(&mut self, moved: &Moved, writes: &mut WriteBatch) {
        for range in &moved.removed {
            let [from, to] = [range.start, range.end].map(|offset| batch::key(self.number, offset));
            writes.delete_range(Family::Batch, from, to);
        }
        for range in &moved.removed {
            // The events of the last entry reach beyond its first offset: they stay remembered.
            self.deleted_changed |= self.deleted.remove_range(range.clone()) > 0;
        }
        let mut first_slot = 0;
        for stretch in &moved.stretches {
            let record = batch::Batch {
                first_offset: stretch.first_offset,
                log_index: moved.log_index,
                now_ms: stretch.now_ms,
                term: stretch.term,
                schedule_ms: stretch.schedule_ms,
                spans: vec![Span {
                    section_position: moved.section_position,
                    section_count: moved.section_count,
                    first_slot,
                    count: stretch.count,
                }],
            };
            first_slot += stretch.count;
            let key = batch::key(self.number, stretch.first_offset);
            writes.put(Family::Batch, key, record.encode());
        }
        self.forgetting.past.extend(&moved.forgotten);
        for offset in &moved.versions {
            // Asked for the event from now on, the partition says that it has fired.
            self.changed.remove(*offset);
            self.forgetting.versions.push(*offset);
        }
        if moved.carried_upto > self.carried_upto {
            self.carried_upto = moved.carried_upto;
            let mut record = Vec::new();
            put_u64(&mut record, self.carried_upto);
            // With the places themselves, not with a checkpoint: it must cover what they are.
            writes.put(
                Family::Meta,
                meta::key(self.number, Kind::Carried, 0),
                record,
            );
        }
    }

    /// Removes what was forgotten, with a checkpoint that counts events due up to `counted_ms` as
    /// released. What is due later is removed with the next.
    pub(super) fn forget(&mut self, counted_ms: i64, writes: &mut WriteBatch) {
        for offset in self.forgetting.versions.drain(..) {
            let from = change::key(self.number, offset, 0);
            let to = change::key(self.number, offset.saturating_add(1), 0);
            writes.delete_range(Family::Change, from, to);
        }
        let past = std::mem::take(&mut self.forgetting.past);
        let (now, later) = (past.into_iter())
            .partition::<Vec<_>, _>(|forgotten| forgotten.before_ms <= counted_ms);
        now.iter().for_each(|past| self.forget_past(past, writes));
        self.forgetting.past = later;
    }

    fn forget_past(&self, forgotten: &Forgotten, writes: &mut WriteBatch) {
        let (number, topic) = (self.number, forgotten.topic);
        let runs_upto = run::key(number, topic, forgotten.before_ms, 0);
        writes.delete_range(Family::Run, run::key(number, topic, i64::MIN, 0), runs_upto);
        for level in 0..chunk::LEVELS {
            let first = Bucket {
                level,
                number: i64::MIN,
            };
            let upto = Bucket::holding(level, forgotten.before_ms);
            let [from, to] = [first, upto].map(|bucket| chunk::key(number, topic, bucket, 0));
            writes.delete_range(Family::Chunk, from, to);
        }
        let [from, to] = [i64::MIN, forgotten.overrides_before_ms]
            .map(|due_ms| overrides::key(number, topic, DueKey::new(due_ms, 0)));
        writes.delete_range(Family::Override, from, to);
    }

    /// Every event that was ever carried has an offset below this: from here on, events stand in the
    /// log in the order of their offsets.
    #[must_use]
    pub fn carried_upto(&self) -> u64 {
        self.carried_upto
    }
}

impl WriteBatch {
    /// Removes the keys in `[from, to)`; nothing when there are none between the two.
    fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.writes.push(Write::DeleteRange(family, from, to));
        }
    }
}
