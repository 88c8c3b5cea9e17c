//! A group's dead letters: which there are, which are being delivered again, and reading them.
//!
//! ```text
//!            last failure             redrive                 processed
//! (delivery) ───────────► dead letter ───────► redriven letter ───────► gone
//!                             │  ▲                    │
//!                             │  └────────────────────┘ failed again: a new letter
//!                             └──► gone: discarded, or its time is over
//! ```
//!
//! What a letter says is a record in the index that is written once and never changes. Which letters
//! there are is in memory and in checkpoints: applying never asks the index, which may know a later
//! part of the log. For the same reason a record is only removed together with the checkpoint that no
//! longer knows its letter.

use super::Group;
use super::effects::Outcome;
use crate::command::dead_letters::{Action, Progress};
use crate::keys::bounds;
use crate::keys::dead::{self, DeadLetter};
use crate::store::{Family, Store, StoreError, WriteBatch};
use crate::types::{DueKey, GroupNumber, PartitionNumber};
use crate::varint::{Malformed, put_bytes, put_i64, put_u64, take_bytes, take_i64};
use crate::varint::{take_u32, take_u64};
use roaring::RoaringTreemap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const DAMAGED: StoreError = StoreError::Damaged {
    family: Family::Dead,
    reason: "a dead letter is malformed",
};

/// A letter that is being delivered to its group again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redriven {
    /// The event.
    pub key: DueKey,
    /// Deliveries it ever had, as far as they are in the log.
    pub attempts: u32,
    /// Failed deliveries since it was redriven.
    pub failures: u32,
    /// When its first delivery failed, Unix milliseconds.
    pub first_ms: i64,
    /// How often it was redriven, this time included.
    pub redrives: u32,
}

/// Where the bytes of an edit are: letter number and log index, as in their key.
pub type EditPlace = (u64, u64);

/// The letters of one group in one partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Letters {
    /// Numbers of the dead letters, in the order in which they died.
    pub dead: RoaringTreemap,
    /// Letters on their way to the group, by number.
    pub redriven: BTreeMap<u64, Redriven>,
    /// Edited letters, dead and redriven, by number.
    edits: BTreeMap<u64, EditPlace>,
    /// When the first delivery of an event failed that is not settled, Unix milliseconds.
    failed_since: BTreeMap<DueKey, i64>,
}

/// What applying a command needs besides the group.
pub(super) struct Applying<'a> {
    pub(super) partition: PartitionNumber,
    pub(super) group: GroupNumber,
    pub(super) now_ms: i64,
    pub(super) log_index: u64,
    pub(super) writes: &'a mut WriteBatch,
    /// Keys that the next checkpoint removes.
    pub(super) gone: &'a mut Vec<Vec<u8>>,
}

impl Letters {
    /// Where the edited bytes of a letter are, if it was edited.
    #[must_use]
    pub fn edit_of(&self, letter: u64) -> Option<EditPlace> {
        self.edits.get(&letter).copied()
    }

    /// Up to `most` numbers of dead letters from `from` on, in order.
    #[must_use]
    pub fn dead_from(&self, from: u64, most: usize) -> Vec<u64> {
        let skipped = match from {
            0 => 0,
            from => self.dead.rank(from - 1),
        };
        let mut numbers = Vec::new();
        let mut at = skipped;
        while numbers.len() < most {
            match self.dead.select(at) {
                Some(number) => numbers.push(number),
                None => break,
            }
            at += 1;
        }
        numbers
    }

    /// A delivery failed that will be tried again.
    pub(super) fn failed(&mut self, key: DueKey, now_ms: i64) {
        self.failed_since.entry(key).or_insert(now_ms);
    }

    /// The event is settled, or dead: when did it first fail?
    pub(super) fn take_failed_since(&mut self, key: DueKey) -> Option<i64> {
        self.failed_since.remove(&key)
    }

    fn remove(&mut self, letter: u64, at: &mut Applying<'_>) {
        at.gone
            .push(dead::key(at.partition, at.group, letter).into());
        if let Some(place) = self.edits.remove(&letter) {
            at.forget_edit(place);
        }
    }

    /// The record of a checkpoint.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut dead = Vec::new();
        self.dead
            .serialize_into(&mut dead)
            .expect("writing to memory does not fail");
        put_bytes(&mut out, &dead);
        put_u64(&mut out, self.redriven.len() as u64);
        for (letter, redriven) in &self.redriven {
            put_u64(&mut out, *letter);
            put_i64(&mut out, redriven.key.due_ms);
            put_u64(&mut out, redriven.key.offset);
            put_u64(&mut out, u64::from(redriven.attempts));
            put_u64(&mut out, u64::from(redriven.failures));
            put_i64(&mut out, redriven.first_ms);
            put_u64(&mut out, u64::from(redriven.redrives));
        }
        put_u64(&mut out, self.edits.len() as u64);
        for (letter, (number, log_index)) in &self.edits {
            put_u64(&mut out, *letter);
            put_u64(&mut out, *number);
            put_u64(&mut out, *log_index);
        }
        put_u64(&mut out, self.failed_since.len() as u64);
        for (key, at_ms) in &self.failed_since {
            put_i64(&mut out, key.due_ms);
            put_u64(&mut out, key.offset);
            put_i64(&mut out, *at_ms);
        }
        out
    }

    /// Reads a checkpoint's record.
    pub(super) fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        let dead = take_bytes(input)?;
        let mut letters = Self {
            dead: RoaringTreemap::deserialize_from(dead).map_err(|_| Malformed)?,
            ..Self::default()
        };
        for _ in 0..take_u64(input)? {
            let letter = take_u64(input)?;
            let redriven = Redriven {
                key: DueKey::new(take_i64(input)?, take_u64(input)?),
                attempts: take_u32(input)?,
                failures: take_u32(input)?,
                first_ms: take_i64(input)?,
                redrives: take_u32(input)?,
            };
            letters.redriven.insert(letter, redriven);
        }
        for _ in 0..take_u64(input)? {
            let letter = take_u64(input)?;
            let place = (take_u64(input)?, take_u64(input)?);
            letters.edits.insert(letter, place);
        }
        for _ in 0..take_u64(input)? {
            let key = DueKey::new(take_i64(input)?, take_u64(input)?);
            letters.failed_since.insert(key, take_i64(input)?);
        }
        Ok(letters)
    }
}

impl Applying<'_> {
    fn forget_edit(&mut self, (letter, log_index): EditPlace) {
        let key = dead::edit_key(self.partition, self.group, letter, log_index);
        self.gone.push(key.into());
    }
}

impl Group {
    /// Writes a letter and lists it. Returns its number.
    pub(super) fn bury(
        &mut self,
        letter: &DeadLetter,
        partition: PartitionNumber,
        group: GroupNumber,
        writes: &mut WriteBatch,
    ) -> u64 {
        let number = self.next_dead;
        self.next_dead += 1;
        let key = dead::key(partition, group, number);
        writes.put(Family::Dead, key, letter.encode());
        self.letters.dead.insert(number);
        number
    }

    /// Does what a command says; what it says of letters that are not there is passed over.
    pub(super) fn change_letters(&mut self, action: Action, mut at: Applying<'_>) -> Outcome {
        match action {
            Action::Redrive(letters) => {
                let mut taken = Vec::new();
                for redrive in letters {
                    if !self.letters.dead.remove(redrive.letter) {
                        continue;
                    }
                    let redriven = Redriven {
                        key: redrive.key,
                        attempts: redrive.attempts,
                        failures: 0,
                        first_ms: redrive.first_ms,
                        redrives: redrive.redrives.saturating_add(1),
                    };
                    self.letters.redriven.insert(redrive.letter, redriven);
                    taken.push((redrive.letter, redriven));
                }
                Outcome::Redriven(taken)
            }
            Action::Progress(progress) => {
                self.progress(progress, &mut at);
                Outcome::Settled
            }
            Action::Edit { letter, body } => {
                if !self.letters.dead.contains(letter) {
                    return Outcome::Letters(Vec::new());
                }
                let place = (letter, at.log_index);
                let before = self.letters.edits.remove(&letter);
                if let Some(before) = before.filter(|before| *before != place || body.is_empty()) {
                    at.forget_edit(before);
                }
                if !body.is_empty() {
                    let key = dead::edit_key(at.partition, at.group, letter, at.log_index);
                    // A removal of the same key may wait: an edit taken back in this very entry.
                    at.gone.retain(|gone| gone[..] != key[..]);
                    at.writes.put(Family::Dead, key, body);
                    self.letters.edits.insert(letter, place);
                }
                Outcome::Letters(vec![letter])
            }
            Action::Discard(letters) => {
                let mut discarded = Vec::new();
                for letter in letters {
                    if self.letters.dead.remove(letter) {
                        self.letters.remove(letter, &mut at);
                        discarded.push(letter);
                    }
                }
                Outcome::Letters(discarded)
            }
        }
    }

    /// Forgets every letter, those on their way to the group included.
    pub(super) fn letters_gone(&mut self, at: &mut Applying<'_>) {
        let dead: Vec<u64> = std::mem::take(&mut self.letters.dead).into_iter().collect();
        let redriven = std::mem::take(&mut self.letters.redriven);
        for letter in dead.into_iter().chain(redriven.into_keys()) {
            self.letters.remove(letter, at);
        }
        self.letters.failed_since.clear();
    }

    fn progress(&mut self, progress: Progress, at: &mut Applying<'_>) {
        for letter in progress.settled {
            if self.letters.redriven.remove(&letter).is_some() {
                self.letters.remove(letter, at);
            }
        }
        for failure in progress.failures {
            if let Some(redriven) = self.letters.redriven.get_mut(&failure.letter) {
                redriven.failures = failure.failures;
                redriven.attempts = failure.attempts;
            }
        }
        for death in progress.deaths {
            let Some(redriven) = self.letters.redriven.remove(&death.letter) else {
                continue;
            };
            let letter = DeadLetter {
                key: redriven.key,
                attempts: death.attempts,
                at_ms: at.now_ms,
                reason: death.reason,
                first_ms: redriven.first_ms,
                redrives: redriven.redrives,
            };
            let number = self.bury(&letter, at.partition, at.group, at.writes);
            // The edit goes along: what failed is what was edited.
            if let Some(place) = self.letters.edits.remove(&death.letter) {
                self.letters.edits.insert(number, place);
            }
            self.letters.remove(death.letter, at);
        }
    }
}

/// The records of letters, in the order of the numbers; `None` for one that is gone meanwhile.
pub fn read(
    store: &impl Store,
    partition: PartitionNumber,
    group: GroupNumber,
    numbers: &[u64],
) -> Result<Vec<Option<DeadLetter>>, StoreError> {
    let keys: Vec<[u8; 16]> = numbers
        .iter()
        .map(|number| dead::key(partition, group, *number))
        .collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let values = store.multi_get(Family::Dead, &keys)?;
    let decode = |value: Option<Vec<u8>>| match value {
        Some(value) => DeadLetter::decode(&value).map(Some).map_err(|_| DAMAGED),
        None => Ok(None),
    };
    values.into_iter().map(decode).collect()
}

/// The bytes of an edit.
pub fn read_edit(
    store: &impl Store,
    partition: PartitionNumber,
    group: GroupNumber,
    (letter, log_index): EditPlace,
) -> Result<Option<Vec<u8>>, StoreError> {
    let key = dead::edit_key(partition, group, letter, log_index);
    store.get(Family::Dead, &key)
}

/// Offsets of the events that letters of any group of the partition speak of, ascending, each once:
/// retention must not remove them. Letters that went since the last checkpoint may still be among
/// them.
pub fn offsets(
    store: &impl Store,
    partition: PartitionNumber,
) -> Result<RoaringTreemap, StoreError> {
    let (from, to) = bounds(partition);
    let mut offsets = RoaringTreemap::new();
    let mut damaged = false;
    store.scan(Family::Dead, &from, &to, &mut |key, value| {
        // Edits have longer keys; the letter they belong to has a record of its own.
        if key.len() == dead::KEY_LEN {
            match DeadLetter::decode(value) {
                Ok(letter) => drop(offsets.insert(letter.key.offset)),
                Err(Malformed) => {
                    damaged = true;
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    if damaged { Err(DAMAGED) } else { Ok(offsets) }
}
