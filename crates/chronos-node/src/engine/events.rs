//! Reading stored events back by offset.
//!
//! Where an event stands is looked up per log entry, not per event: recent entries in memory, older
//! ones in the index. Neighbouring events are read together.

use bytes::Bytes;
use chronos_core::command::publish::{self, SLOT_LEN, Slot};
use chronos_core::keys::batch::{self, Batch, Place};
use chronos_core::keys::change::Version;
use chronos_core::partition::Move;
use chronos_core::partition::change::version_at;
use chronos_core::partition::live::visit_places;
use chronos_core::store::{Family, Store, StoreError};
use chronos_core::types::{PartitionNumber, TopicNumber};
use chronos_store::RocksStore;
use chronos_wal::Wal;
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use roaring::RoaringTreemap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Log entries whose place is kept in memory.
const RECENT_ENTRIES: usize = 16 * 1024;
/// Most events read from the log at once.
const MOST_EVENTS: usize = 256;
/// Most bytes of events read from the log at once, unless a single event is larger.
const MOST_BYTES: u32 = 1 << 20;

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its offset.
    pub offset: u64,
    /// When the client wants it, Unix milliseconds.
    pub schedule_ms: i64,
    /// When it was accepted, Unix milliseconds.
    pub created_ms: i64,
    /// Term of the leader that accepted it.
    pub term: u64,
    /// CRC32C of the stored record.
    pub checksum: u32,
    /// The event as the client encoded it.
    pub body: Bytes,
    /// Position and length of the topic within the body.
    pub topic: (u32, u8),
    /// When the client wanted it when it was published, Unix milliseconds.
    pub published_ms: i64,
    /// What delivery must know.
    pub options: publish::Options,
}

impl StoredEvent {
    /// The topic's name.
    pub fn topic(&self) -> &[u8] {
        let (position, len) = self.topic;
        self.body
            .get(position as usize..position as usize + usize::from(len))
            .unwrap_or_default()
    }
}

/// Why an event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such event, or it is no longer stored.
    #[error("partition {partition} does not hold offset {offset}")]
    Missing {
        /// The partition.
        partition: PartitionNumber,
        /// The offset asked for.
        offset: u64,
    },
    /// The stored bytes are not what was written.
    #[error("the stored event {offset} of partition {partition} is damaged; it is not delivered")]
    Damaged {
        /// The partition.
        partition: PartitionNumber,
        /// The event.
        offset: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] chronos_wal::Error),
    /// The index could not be read.
    #[error(transparent)]
    Index(#[from] StoreError),
}

/// Reads the events of a partition.
pub struct Events {
    pub(super) partition: PartitionNumber,
    store: RocksStore,
    pub(super) wal: Wal,
    /// Topics that ever had an event with a priority.
    pub(super) prioritized: RwLock<HashSet<TopicNumber>>,
    /// The latest log entries with events, in offset order without a gap.
    recent: RwLock<VecDeque<Arc<Batch>>>,
    /// Events that were ever cancelled, moved or fired by hand, and perhaps some that were not.
    changed: RwLock<RoaringTreemap>,
    /// Deleted topics: events with offsets below are gone.
    deleted: RwLock<HashMap<Box<[u8]>, u64>>,
    /// Whether there is any.
    any_deleted: AtomicBool,
}

impl Events {
    /// Reads from this log and index.
    pub fn new(partition: PartitionNumber, store: RocksStore, wal: Wal) -> Self {
        Self {
            partition,
            store,
            wal,
            recent: RwLock::default(),
            changed: RwLock::default(),
            deleted: RwLock::default(),
            any_deleted: AtomicBool::new(false),
            prioritized: RwLock::default(),
        }
    }

    /// Forgets what it knows of places and changes: a leader that begins says it anew.
    pub fn forget(&self) {
        self.recent.write().clear();
        self.changed.write().clear();
        self.prioritized.write().clear();
        self.deleted.write().clear();
        self.any_deleted.store(false, Ordering::Release);
    }

    /// Takes note of deleted topics: their events with offsets below are gone.
    pub fn know_deleted(&self, topics: impl IntoIterator<Item = (Box<[u8]>, u64)>) {
        let mut deleted = self.deleted.write();
        deleted.extend(topics);
        self.any_deleted
            .store(!deleted.is_empty(), Ordering::Release);
    }

    /// Whether an event was deleted with its topic.
    pub fn is_deleted(&self, event: &StoredEvent) -> bool {
        self.any_deleted.load(Ordering::Acquire)
            && (self.deleted.read().get(event.topic())).is_some_and(|below| event.offset < *below)
    }

    /// Takes over which events were changed before this leader began.
    pub fn know_changed(&self, changed: &RoaringTreemap) {
        *self.changed.write() |= changed;
    }

    /// Takes note of events that were just changed.
    pub fn moved(&self, moves: &[Move]) {
        if !moves.is_empty() {
            let mut changed = self.changed.write();
            changed.extend(moves.iter().map(|moved| moved.offset));
        }
    }

    /// Whether an event may have been changed since it was published.
    pub fn is_changed(&self, offset: u64) -> bool {
        self.changed.read().contains(offset)
    }

    /// Whether some of `count` events from an offset on may have been changed since they were
    /// published.
    pub fn changes_in(&self, first: u64, count: u64) -> bool {
        let changed = self.changed.read();
        let before = first.checked_sub(1).map_or(0, |last| changed.rank(last));
        !changed.is_empty() && changed.rank(first + count.saturating_sub(1)) > before
    }

    /// What became of an event since it was published, as far as it is applied; `None` when nothing
    /// did.
    pub fn version(&self, offset: u64) -> Result<Option<Version>, StoreError> {
        if !self.is_changed(offset) {
            return Ok(None);
        }
        let found = version_at(&self.store, self.partition, offset, u64::MAX)?;
        Ok(found.map(|(version, _)| version))
    }

    /// Keeps the place of an entry that was just applied.
    pub fn remember(&self, batch: Batch) {
        let mut recent = self.recent.write();
        if recent.len() == RECENT_ENTRIES {
            recent.pop_front();
        }
        recent.push_back(Arc::new(batch));
    }

    /// The log entry that holds an event.
    pub fn batch_of(&self, offset: u64) -> Result<Arc<Batch>, ReadError> {
        let recent = self.recent.read();
        let at = recent.partition_point(|batch| batch.first_offset <= offset);
        if at > 0
            && let Some(batch) = recent.get(at - 1)
        {
            return Ok(Arc::clone(batch));
        }
        drop(recent);
        let missing = self.missing(offset);
        let floor = batch::key(self.partition, 0);
        let at = batch::key(self.partition, offset);
        let (key, value) = self
            .store
            .last_at_or_before(Family::Batch, &floor, &at)?
            .ok_or(missing)?;
        let batch = Batch::decode(&key, &value).map_err(|_| StoreError::Damaged {
            family: Family::Batch,
            reason: "the place of a log entry is malformed",
        })?;
        Ok(Arc::new(batch))
    }

    /// Reads events in the order given; neighbours in the list that are neighbours in the log are
    /// read together. `visit` gets each offset with what was read.
    pub fn read(
        &self,
        offsets: &[u64],
        visit: &mut dyn FnMut(u64, Result<StoredEvent, ReadError>),
    ) {
        let mut batch: Option<Arc<Batch>> = None;
        let mut rest = offsets;
        let any_changed = !self.changed.read().is_empty();
        while let Some(&first) = rest.first() {
            let neighbours = rest
                .windows(2)
                .take(MOST_EVENTS - 1)
                .take_while(|w| w[1] == w[0] + 1)
                .count()
                + 1;
            let holds = |batch: &Arc<Batch>| batch.place(first).is_some();
            let found = match batch.take().filter(holds) {
                Some(batch) => Ok(batch),
                None => self.batch_of(first),
            };
            let read = match found {
                Ok(found) => {
                    let read =
                        self.read_neighbours(&found, first, neighbours, &mut |offset, event| {
                            let event = event.and_then(|event| match self.is_deleted(&event) {
                                true => Err(self.missing(offset)),
                                false if any_changed => self.as_changed(event),
                                false => Ok(event),
                            });
                            visit(offset, event);
                        });
                    batch = Some(found);
                    read
                }
                Err(error) => Err(error),
            };
            let done = match read {
                Ok(done) => done,
                // It was carried elsewhere in between; or it is gone, which the next look tells.
                Err(ReadError::Log(chronos_wal::Error::NotFound { index })) => {
                    batch = None;
                    match self.batch_of(first) {
                        Ok(found) if found.log_index != index && found.place(first).is_some() => 0,
                        Ok(found) => {
                            visit(
                                first,
                                Err(match found.place(first) {
                                    // The index says it is there: that is damage.
                                    Some(_) => chronos_wal::Error::NotFound { index }.into(),
                                    None => self.missing(first),
                                }),
                            );
                            1
                        }
                        Err(error) => {
                            visit(first, Err(error));
                            1
                        }
                    }
                }
                Err(error) => {
                    visit(first, Err(error));
                    1
                }
            };
            rest = &rest[done..];
        }
    }

    fn as_changed(&self, mut event: StoredEvent) -> Result<StoredEvent, ReadError> {
        if let Some(version) = self.version(event.offset)? {
            event.schedule_ms = version.schedule_ms;
        }
        Ok(event)
    }

    /// The least offset of an event that is stored; `None` when there is none.
    pub fn first_offset(&self) -> Result<Option<u64>, ReadError> {
        let mut first = None;
        visit_places(&self.store, self.partition, 0..u64::MAX, &mut |batch| {
            first = Some(batch.first_offset);
            std::ops::ControlFlow::Break(())
        })?;
        Ok(first)
    }

    fn missing(&self, offset: u64) -> ReadError {
        ReadError::Missing {
            partition: self.partition,
            offset,
        }
    }

    /// Events with offsets below this may stand elsewhere than is remembered here.
    pub fn carried(&self, upto: u64) {
        let mut recent = self.recent.write();
        while recent
            .front()
            .is_some_and(|batch| batch.first_offset < upto)
        {
            recent.pop_front();
        }
    }

    /// Reads some events from `first` on, at most `most`, out of one entry as they are stored.
    pub fn stored(
        &self,
        batch: &Batch,
        first: u64,
        most: usize,
    ) -> Result<Stored, chronos_wal::Error> {
        let Some(place) = batch.place(first) else {
            return Err(chronos_wal::Error::NotFound {
                index: batch.log_index,
            });
        };
        let together = neighbours(batch, first, place, most.min(MOST_EVENTS));
        let slots = self.wal.read_body_at(
            batch.log_index,
            place.section_position + publish::slot_position(place.slot),
            (together * SLOT_LEN) as u32,
        )?;
        let (raw, _) = slots.as_chunks::<SLOT_LEN>();
        let start = raw.first().map_or(0, |raw| Slot::decode(raw).body_position);
        let fits = |raw: &[u8; SLOT_LEN]| {
            let slot = Slot::decode(raw);
            slot.body_position >= start && slot.body_position + slot.body_len - start <= MOST_BYTES
        };
        let together = raw.iter().take_while(|raw| fits(raw)).count().max(1);
        let last = Slot::decode(&raw[together - 1]);
        let end = last.body_position.saturating_add(last.body_len).max(start);
        let bodies_at = place.section_position + publish::slot_position(place.section_count);
        let bodies = self
            .wal
            .read_body_at(batch.log_index, bodies_at + start, end - start)?;
        Ok(Stored {
            slots: slots.slice(..together * SLOT_LEN),
            bodies,
            start,
        })
    }

    /// Reads up to `most` events from `first` on out of one entry; returns how many it did.
    fn read_neighbours(
        &self,
        batch: &Batch,
        first: u64,
        most: usize,
        visit: &mut dyn FnMut(u64, Result<StoredEvent, ReadError>),
    ) -> Result<usize, ReadError> {
        batch.place(first).ok_or_else(|| self.missing(first))?;
        let stored = self.stored(batch, first, most)?;
        for (n, (raw, body)) in stored.parts().enumerate() {
            let slot = Slot::decode(raw);
            let offset = first + n as u64;
            let event = match body {
                Some(body) if Slot::verify(raw, &body) => Ok(StoredEvent {
                    offset,
                    schedule_ms: slot.schedule_ms,
                    created_ms: batch.now_ms,
                    term: batch.term,
                    checksum: slot.checksum,
                    body,
                    topic: slot.topic,
                    published_ms: slot.schedule_ms,
                    options: slot.options,
                }),
                _ => Err(ReadError::Damaged {
                    partition: self.partition,
                    offset,
                }),
            };
            visit(offset, event);
        }
        Ok(stored.len())
    }
}

/// Neighbouring events as they are stored.
pub struct Stored {
    slots: Bytes,
    bodies: Bytes,
    /// Position of the first body, counted from the end of the section's slots.
    start: u32,
}

impl Stored {
    /// How many.
    pub fn len(&self) -> usize {
        self.slots.len() / SLOT_LEN
    }

    /// Each slot with its body, as far as the slot says where that is.
    pub fn parts(&self) -> impl Iterator<Item = (&[u8; SLOT_LEN], Option<Bytes>)> {
        self.slots.as_chunks::<SLOT_LEN>().0.iter().map(|raw| {
            let slot = Slot::decode(raw);
            let from = slot.body_position.wrapping_sub(self.start) as usize;
            let to = from.saturating_add(slot.body_len as usize);
            let is_within = to <= self.bodies.len() && from <= to;
            (raw, is_within.then(|| self.bodies.slice(from..to)))
        })
    }
}

/// How many events from `first` on stand next to each other in the same section, at most `most`.
pub(super) fn neighbours(batch: &Batch, first: u64, place: Place, most: usize) -> usize {
    (1..most as u64)
        .take_while(|n| {
            batch.place(first + n).is_some_and(|next| {
                next.section_position == place.section_position
                    && u64::from(next.slot) == u64::from(place.slot) + n
            })
        })
        .count()
        + 1
}
