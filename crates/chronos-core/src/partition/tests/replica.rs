//! A partition that is checkpointed and crashes, as a node runs it.

use super::entry::Commands;
use crate::keys::dedup::Record;
use crate::partition::{Checkpoint, Effects, LogPosition, Partition};
use crate::store::copy::{self, Import};
use crate::store::{Family, MemoryStore, Store, WriteBatch};
use crate::types::DueKey;
use bytes::Bytes;
use std::ops::ControlFlow;

/// The number of the partition under test: not the first, so that keys of others would show.
pub(super) const NUMBER: u32 = 3;

/// What the log holds.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Commands(Commands),
    /// Encoded already.
    Raw {
        body: Bytes,
        term: u64,
    },
    Blank,
    Membership(Vec<u8>),
}

/// How far a checkpoint has come.
#[derive(Debug)]
enum Stage {
    None,
    Begun(Checkpoint),
    Written,
    Flushed,
}

/// A replica that applies the log from where it stands.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) partition: Partition<MemoryStore>,
    stage: Stage,
}

impl Replica {
    pub(super) fn new() -> Self {
        Self::open(MemoryStore::new())
    }

    fn open(store: MemoryStore) -> Self {
        Self {
            partition: Partition::open(NUMBER, store).unwrap(),
            stage: Stage::None,
        }
    }

    /// Index of the next entry to apply.
    pub(super) fn next_index(&self) -> usize {
        self.partition
            .applied()
            .map_or(0, |applied| applied.index as usize + 1)
    }

    /// Index up to which a restart would not apply the log again.
    pub(super) fn saved_index(&self) -> Option<u64> {
        self.partition.saved_index
    }

    /// Applies the entry that has the next index.
    pub(super) fn apply(&mut self, entry: &Entry) -> Effects {
        let index = self.next_index() as u64;
        match entry {
            Entry::Commands(commands) => {
                let position = LogPosition {
                    term: commands.term,
                    index,
                };
                self.partition.apply(position, &commands.encode()).unwrap()
            }
            Entry::Raw { body, term } => {
                let position = LogPosition { term: *term, index };
                self.partition.apply(position, body).unwrap()
            }
            Entry::Blank => {
                self.partition.apply_blank(LogPosition { term: 0, index });
                Effects::default()
            }
            Entry::Membership(members) => {
                self.partition
                    .apply_membership(LogPosition { term: 0, index }, members.clone());
                Effects::default()
            }
        }
    }

    /// Takes a checkpoint one step further: begin, write, flush, finish.
    pub(super) fn checkpoint_step(&mut self) {
        let store = self.partition.store().clone();
        self.stage = match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::None => {
                let (released, upto) = self.partition.counting().count(&store).unwrap();
                match self.partition.begin_checkpoint(&released, upto) {
                    None => Stage::None,
                    Some(checkpoint) => {
                        let applied = self.partition.applied().unwrap();
                        assert_eq!(checkpoint.applied_index(), applied.index);
                        Stage::Begun(checkpoint)
                    }
                }
            }
            Stage::Begun(checkpoint) => {
                let another = self.partition.begin_checkpoint(&[], DueKey::MIN);
                assert!(another.is_none(), "one checkpoint at a time");
                checkpoint.write(&store).unwrap();
                Stage::Written
            }
            Stage::Written => {
                store.flush().unwrap();
                Stage::Flushed
            }
            Stage::Flushed => {
                self.partition.finish_checkpoint();
                Stage::None
            }
        };
    }

    /// A whole checkpoint, whatever is under way.
    pub(super) fn checkpoint(&mut self) {
        while !matches!(self.stage, Stage::None) {
            self.checkpoint_step();
        }
        for _ in 0..4 {
            self.checkpoint_step();
        }
    }

    /// The store flushes by itself, at a moment of its own choosing.
    pub(super) fn flush(&self) {
        self.partition.store().flush().unwrap();
    }

    /// Loses what is not durable and opens what is left.
    pub(super) fn crash(&mut self) {
        *self = Self::open(self.partition.store().crash());
    }

    /// Every other id that may leave the store does, or the rest.
    pub(super) fn drop_ids(&self, odd: bool) {
        let store = self.partition.store();
        let mut writes = WriteBatch::default();
        for family in [Family::Dedup, Family::FarId] {
            let mut at = 0;
            let visit = &mut |key: &[u8], value: &[u8]| {
                at += 1;
                let at_ms = Record::decode(value).unwrap().last.at_ms;
                if at_ms <= self.partition.saved_forgotten_ms() && (at % 2 == 1) == odd {
                    writes.delete(family, key);
                }
                ControlFlow::Continue(())
            };
            store.scan(family, &[], &[0xff; 64], visit).unwrap();
        }
        store.write(&writes).unwrap();
        // A file that is gone does not come back.
        store.flush().unwrap();
    }

    /// Gives up what it has for what another one has.
    pub(super) fn copy_from(&mut self, other: &Self) {
        let store = MemoryStore::new();
        let mut import = Import::begin(store.clone(), NUMBER).unwrap();
        copy::visit(
            other.partition.store(),
            NUMBER,
            &mut |family, key, value| {
                import.add(family, key, value).unwrap();
                ControlFlow::Continue(())
            },
        )
        .unwrap();
        import.finish().unwrap();
        *self = Self::open(store);
    }
}
