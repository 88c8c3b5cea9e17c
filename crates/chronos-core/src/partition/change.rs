//! Changing scheduled events: cancel, move, fire.
//!
//! An event can be changed as long as its due key is above the horizon. A due key that it gets is
//! above the horizon too, so the order of what was released never changes. What is not said of an
//! event in [`Family::Change`] is as it was published.

use super::effects::{Changed, Move, Outcome, Published, Verdict};
use super::publish::Accepting;
use super::{ApplyError, Partition};
use crate::command::Section;
use crate::command::change::{Action, Change, Item, Replace};
use crate::keys::change::{self, State, Version};
use crate::keys::dedup::Accepted;
use crate::keys::overrides::{self, Override};
use crate::mutant;
use crate::store::{Family, Store, StoreError, WriteBatch};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use hashbrown::HashMap;
use roaring::RoaringTreemap;

/// An event's version as the entry found it, and as the entry leaves it.
#[derive(Debug, Clone, Copy)]
struct Pending {
    found: Version,
    /// Log index of the record of `found`, if there is one.
    found_index: Option<u64>,
    now: Version,
}

/// What the sections of one entry have changed so far.
#[derive(Debug, Default)]
pub(super) struct Changing {
    events: HashMap<u64, Pending>,
    /// The order in which they were first changed.
    order: Vec<u64>,
}

const DAMAGED: StoreError = StoreError::Damaged {
    family: Family::Change,
    reason: "the version of a changed event is malformed",
};

/// The version of an event that is the latest at log index `at` and the index of the entry that
/// brought it; `None` when no entry up to there changed the event.
pub fn version_at(
    store: &impl Store,
    partition: PartitionNumber,
    offset: u64,
    at: u64,
) -> Result<Option<(Version, u64)>, StoreError> {
    let from = change::key(partition, offset, 0);
    let upto = change::key(partition, offset, at);
    let Some((key, value)) = store.last_at_or_before(Family::Change, &from, &upto)? else {
        return Ok(None);
    };
    let (_, index) = change::decode_key(&key).map_err(|_| DAMAGED)?;
    let version = Version::decode(&value).map_err(|_| DAMAGED)?;
    Ok(Some((version, index)))
}

/// Offsets of a partition that have a record in [`Family::Change`].
pub(super) fn changed_offsets(
    store: &impl Store,
    partition: PartitionNumber,
) -> Result<RoaringTreemap, StoreError> {
    let mut changed = RoaringTreemap::new();
    let mut damaged = false;
    let from = change::key(partition, 0, 0);
    let to = change::key(partition, LAST_CHANGE, 0);
    store.scan(Family::Change, &from, &to, &mut |key, _| {
        match change::decode_key(key) {
            Ok((offset, _)) => drop(changed.insert(offset)),
            Err(_) => damaged = true,
        }
        std::ops::ControlFlow::Continue(())
    })?;
    if damaged { Err(DAMAGED) } else { Ok(changed) }
}

/// Log index of the last entry that the store knows to have changed an event; 0 for none.
pub(super) fn last_change(
    store: &impl Store,
    partition: PartitionNumber,
) -> Result<u64, StoreError> {
    let value = store.get(Family::Change, &change::key(partition, LAST_CHANGE, 0))?;
    match value.map(|value| <[u8; 8]>::try_from(value.as_slice())) {
        None => Ok(0),
        Some(Ok(index)) => Ok(u64::from_be_bytes(index)),
        Some(Err(_)) => Err(DAMAGED),
    }
}

/// In place of an offset: the record that says which entry was the last to change anything.
pub(super) const LAST_CHANGE: u64 = u64::MAX;

impl<S: Store> Partition<S> {
    /// Judges the items of a section, one after the other.
    pub(super) fn change(
        &mut self,
        section: &Section<'_>,
        now_ms: i64,
        accepting: &Accepting,
        changing: &mut Changing,
    ) -> Result<Outcome, ApplyError> {
        let change = Change::decode(section.payload)?;
        let mut changed = Vec::with_capacity(change.items.len());
        for item in &change.items {
            changed.push(self.change_one(item, now_ms, accepting, changing)?);
        }
        Ok(Outcome::Changed(changed))
    }

    /// Cancels an event and accepts others, or does neither.
    pub(super) fn replace(
        &mut self,
        section: &Section<'_>,
        now_ms: i64,
        accepting: &mut Accepting,
        changing: &mut Changing,
    ) -> Result<Outcome, ApplyError> {
        let replace = Replace::decode(section.payload)?;
        let before = changing.events.get(&replace.item.offset).copied();
        let mut changed = self.change_one(&replace.item, now_ms, accepting, changing)?;
        if changed.verdict != Verdict::Cancelled {
            return Ok(Outcome::Replaced(changed, Published::default()));
        }
        let publish = Section {
            position: section.position + replace.publish_position,
            payload: replace.publish,
            ..*section
        };
        // The new event may take over the id of the one that goes.
        accepting.replacing = Some(replace.item.offset);
        let published = self.accept(&publish, accepting);
        accepting.replacing = None;
        let published = published?;
        if published.accepted == 0 {
            changed.verdict = Verdict::Found;
            changed.version = changing.undo(replace.item.offset, before, changed.version);
        }
        Ok(Outcome::Replaced(changed, published))
    }

    fn change_one(
        &mut self,
        item: &Item,
        now_ms: i64,
        accepting: &Accepting,
        changing: &mut Changing,
    ) -> Result<Changed, ApplyError> {
        let deleted = item.offset < self.deleted_below(item.topic);
        if item.offset >= self.next_offset || deleted {
            return Ok(Changed {
                verdict: Verdict::NotFound,
                version: Version::first(item.topic, item.published_ms),
                fired: false,
            });
        }
        let (current, stored_index) = match changing.events.get(&item.offset) {
            Some(pending) => (pending.now, pending.found_index),
            None => match self.stored_version(item.offset)? {
                Some((version, index)) => (version, Some(index)),
                None => (Version::first(item.topic, item.published_ms), None),
            },
        };
        let fired = (current.state == State::Fired && !mutant!("fired-twice"))
            || current.state == State::Scheduled
                && DueKey::new(current.due_ms, item.offset) <= self.horizon
                && !mutant!("cancel-after-release");
        let told = |verdict, version, fired| Changed {
            verdict,
            version,
            fired,
        };
        let refusal = match (item.action, current.state) {
            (Action::Get, _) => Some(Verdict::Found),
            (_, State::Cancelled) => Some(Verdict::AlreadyCancelled),
            _ if fired => Some(Verdict::AlreadyFired),
            _ if item.if_version.is_some_and(|want| want != current.version) => {
                Some(Verdict::VersionMismatch)
            }
            _ => None,
        };
        if let Some(verdict) = refusal {
            return Ok(told(verdict, current, fired));
        }
        let mut next = Version {
            version: current.version + 1,
            changed_ms: now_ms,
            before: stored_index,
            ..current
        };
        let verdict = match item.action {
            Action::Get => Verdict::Found,
            Action::Cancel => {
                next.state = State::Cancelled;
                Verdict::Cancelled
            }
            Action::Reschedule(schedule_ms) => {
                next.schedule_ms = schedule_ms;
                next.due_ms = match mutant!("moved-below-horizon") {
                    true => schedule_ms,
                    false => schedule_ms.max(self.least_moved_ms(item.offset, accepting)),
                };
                if next.due_ms > current.due_ms && !mutant!("id-not-put-off") {
                    self.remember_longer(item, next.due_ms, accepting.forgotten_ms)?;
                }
                Verdict::Rescheduled
            }
            Action::FireNow => {
                next.state = State::Fired;
                next.schedule_ms = now_ms;
                next.due_ms = self.least_moved_ms(item.offset, accepting);
                Verdict::Fired
            }
        };
        changing.note(item.offset, current, stored_index, next);
        Ok(told(verdict, next, next.state == State::Fired))
    }

    /// The least due time that an event with this offset can be given: it must be above the horizon,
    /// and it makes no sense below the one after this entry.
    fn least_moved_ms(&self, offset: u64, accepting: &Accepting) -> i64 {
        if DueKey::new(accepting.horizon_ms, offset) > self.horizon {
            accepting.horizon_ms
        } else {
            accepting.horizon_ms.saturating_add(1)
        }
    }

    fn stored_version(&self, offset: u64) -> Result<Option<(Version, u64)>, StoreError> {
        if !self.changed.contains(offset) {
            return Ok(None);
        }
        let at = match mutant!("version-from-the-future") {
            true => u64::MAX,
            false => self.applied.map_or(0, |applied| applied.index),
        };
        version_at(&self.store, self.number, offset, at)
    }

    /// An id is known until its event has fired and the dedup time after that: an event that is put
    /// off takes its id along.
    fn remember_longer(
        &mut self,
        item: &Item,
        due_ms: i64,
        forgotten_ms: i64,
    ) -> Result<(), StoreError> {
        let known = match self.dedup.recent(item.id) {
            Some(known) => Some(known),
            None => self
                .dedup
                .look_up(&self.store, self.number, &[item.id], self.next_offset)?
                .first()
                .map(|(_, known)| *known),
        };
        // The id may belong to a later event by now. Or it was forgotten before this entry, and stays
        // so: other replicas may have lost its record.
        let counts = |known: &Accepted| known.offset == item.offset && known.at_ms > forgotten_ms;
        if let Some(known) = known.filter(counts) {
            let longer = Accepted {
                at_ms: known.at_ms.max(due_ms),
                ..known
            };
            self.dedup.insert(item.id, longer, Some(known));
        }
        Ok(())
    }

    /// Writes what the entry changed and says which timers move.
    pub(super) fn write_changes(
        &mut self,
        changing: Changing,
        log_index: u64,
        writes: &mut WriteBatch,
    ) -> Vec<Move> {
        let mut moves = Vec::with_capacity(changing.order.len());
        for offset in &changing.order {
            let Some(Pending {
                found,
                found_index,
                now,
            }) = changing.events.get(offset)
            else {
                continue;
            };
            if now.version == found.version {
                continue;
            }
            self.changed.insert(*offset);
            writes.put(
                Family::Change,
                change::key(self.number, *offset, log_index),
                now.encode(),
            );
            // A restart never asks for what was before a version that the last checkpoint has.
            if let (Some(found_index), Some(before)) = (*found_index, found.before)
                && self.saved_index.is_some_and(|saved| found_index <= saved)
            {
                writes.delete(Family::Change, change::key(self.number, *offset, before));
            }
            let goes_to = (now.state != State::Cancelled).then_some(now.due_ms);
            self.write_override(*offset, found, goes_to, writes);
            let topic = found.topic as usize;
            if goes_to.is_none()
                && let Some(scheduled) = self.scheduled.get_mut(topic)
            {
                *scheduled = scheduled.saturating_sub(1);
            }
            moves.push(Move {
                topic: found.topic,
                offset: *offset,
                from_ms: found.due_ms,
                to_ms: goes_to,
                schedule_ms: now.schedule_ms,
            });
        }
        if !moves.is_empty() && log_index > self.last_change {
            self.last_change = log_index;
            writes.put(
                Family::Change,
                change::key(self.number, LAST_CHANGE, 0),
                log_index.to_be_bytes(),
            );
        }
        moves
    }

    fn write_override(
        &self,
        offset: u64,
        found: &Version,
        goes_to: Option<i64>,
        writes: &mut WriteBatch,
    ) {
        if goes_to == Some(found.due_ms) || mutant!("cancel-not-indexed") {
            return;
        }
        let key = |due_ms| overrides::key(self.number, found.topic, DueKey::new(due_ms, offset));
        match found.due_ms == found.published_ms {
            _ if mutant!("moved-stays-behind") => {}
            true => writes.put(Family::Override, key(found.due_ms), Override::Gone.encode()),
            false => writes.delete(Family::Override, key(found.due_ms)),
        }
        match goes_to {
            Some(due_ms) if due_ms == found.published_ms => {
                writes.delete(Family::Override, key(due_ms));
            }
            Some(due_ms) => {
                writes.put(Family::Override, key(due_ms), Override::Here.encode());
            }
            None => {}
        }
    }
}

impl Changing {
    fn note(&mut self, offset: u64, found: Version, found_index: Option<u64>, now: Version) {
        let known = self.events.entry(offset);
        if let hashbrown::hash_map::Entry::Vacant(_) = known {
            self.order.push(offset);
        }
        known
            .or_insert(Pending {
                found,
                found_index,
                now,
            })
            .now = now;
    }

    /// Forgets what was changed of a topic's events with offsets below `below`.
    pub(super) fn forget(&mut self, topic: TopicNumber, below: u64) {
        self.events
            .retain(|offset, pending| pending.found.topic != topic || *offset >= below);
    }

    /// Takes back the last change of an event; returns the version that it had before.
    fn undo(&mut self, offset: u64, before: Option<Pending>, changed: Version) -> Version {
        match self.events.get_mut(&offset) {
            Some(pending) => {
                pending.now = before.map_or(pending.found, |before| before.now);
                pending.now
            }
            None => changed,
        }
    }
}
