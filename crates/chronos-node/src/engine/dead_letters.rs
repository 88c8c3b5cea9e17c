//! Dead letters of a partition: reading pages of them, and changing them through the log.

use super::events::ReadError;
use super::message::{DeadLetters, Handle, Message, Refused};
use bytes::Bytes;
use chronos_core::command::dead_letters::{Action, DeadLetters as Command};
use chronos_core::keys::dead::DeadLetter;
use chronos_core::partition::dead_letters;
use chronos_core::store::{Store, StoreError};
use chronos_core::types::GroupNumber;

/// Letters that one command of an expiry names.
const EXPIRED_AT_ONCE: usize = 1_000;

/// A letter as it was when it was read.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its group.
    pub group: GroupNumber,
    /// Its number in the group.
    pub number: u64,
    /// What is kept of it.
    pub record: DeadLetter,
    /// Whether it was edited.
    pub edited: bool,
    /// Whether it is on its way to its group again.
    pub redriven: bool,
}

/// Why dead letters could not be expired.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The partition did not take the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The letters could not be read.
    #[error(transparent)]
    Index(#[from] StoreError),
}

impl Handle {
    /// Numbers of the groups with this name: one for each topic it reads.
    pub fn groups_named(&self, name: &str) -> Vec<GroupNumber> {
        let state = self.state.lock();
        (0..)
            .zip(state.groups())
            .filter(|(_, group)| group.name == name)
            .map(|(number, _)| number)
            .collect()
    }

    /// Up to `most` dead letters of a group from number `from` on, in the order in which they died,
    /// and the number to go on from; `None` when there are no more.
    pub fn dead_letters(
        &self,
        group: GroupNumber,
        from: u64,
        most: usize,
    ) -> Result<(Vec<Letter>, Option<u64>), StoreError> {
        let (numbers, store) = {
            let state = self.state.lock();
            let numbers = (state.groups().get(group as usize))
                .map(|group| group.letters.dead_from(from, most));
            (numbers.unwrap_or_default(), state.store().clone())
        };
        let next = match numbers.last() {
            Some(last) if numbers.len() == most => Some(last + 1),
            _ => None,
        };
        Ok((self.letters(&store, group, &numbers)?, next))
    }

    /// One letter, dead or redriven.
    pub fn dead_letter(
        &self,
        group: GroupNumber,
        number: u64,
    ) -> Result<Option<Letter>, StoreError> {
        let store = {
            let state = self.state.lock();
            let known = state.groups().get(group as usize).is_some_and(|group| {
                group.letters.dead.contains(number) || group.letters.redriven.contains_key(&number)
            });
            if !known {
                return Ok(None);
            }
            state.store().clone()
        };
        Ok(self.letters(&store, group, &[number])?.pop())
    }

    fn letters(
        &self,
        store: &impl Store,
        group: GroupNumber,
        numbers: &[u64],
    ) -> Result<Vec<Letter>, StoreError> {
        let records = dead_letters::read(store, self.number, group, numbers)?;
        let state = self.state.lock();
        let Some(known) = state.groups().get(group as usize) else {
            return Ok(Vec::new());
        };
        let letters = numbers.iter().zip(records).filter_map(|(number, record)| {
            Some(Letter {
                group,
                number: *number,
                record: record?,
                edited: known.letters.edit_of(*number).is_some(),
                redriven: known.letters.redriven.contains_key(number),
            })
        });
        Ok(letters.collect())
    }

    /// The number that the group's next letter gets: letters from there on did not exist yet.
    pub fn next_letter(&self, group: GroupNumber) -> u64 {
        let state = self.state.lock();
        let group = state.groups().get(group as usize);
        group.map_or(0, |group| group.next_dead)
    }

    /// The edited bytes of a letter; `None` when it was not edited.
    pub fn edited(&self, group: GroupNumber, letter: u64) -> Result<Option<Bytes>, ReadError> {
        let (place, store) = {
            let state = self.state.lock();
            let group = state.groups().get(group as usize);
            let place = group.and_then(|group| group.letters.edit_of(letter));
            (place, state.store().clone())
        };
        let Some(place) = place else {
            return Ok(None);
        };
        let bytes = dead_letters::read_edit(&store, self.number, group, place)?;
        Ok(bytes.map(Bytes::from))
    }

    /// Does something with letters, through the log. Returns those it took effect on.
    pub async fn change_letters(
        &self,
        group: GroupNumber,
        action: Action,
    ) -> Result<Vec<u64>, Refused> {
        let command = Command { group, action };
        self.ask(|reply| Message::DeadLetters(DeadLetters { command, reply }))
            .await
    }

    /// Discards the dead letters of every group whose last failure was before this time, Unix
    /// milliseconds; returns how many. Letters that are being delivered again stay.
    pub async fn expire_before(&self, before_ms: i64) -> Result<u64, ExpireError> {
        let mut expired = 0;
        let groups = self.state.lock().groups().len() as GroupNumber;
        for group in 0..groups {
            let mut from = Some(0);
            while let Some(at) = from {
                let (letters, next) = self.dead_letters(group, at, EXPIRED_AT_ONCE)?;
                // In the order of their death: who died behind one that stays has time too, but for
                // a clock that went back.
                let old: Vec<u64> = letters
                    .iter()
                    .map_while(|letter| (letter.record.at_ms < before_ms).then_some(letter.number))
                    .collect();
                let all = old.len() == letters.len();
                if !old.is_empty() {
                    let gone = self.change_letters(group, Action::Discard(old)).await?;
                    expired += gone.len() as u64;
                }
                from = next.filter(|_| all);
            }
        }
        Ok(expired)
    }
}
