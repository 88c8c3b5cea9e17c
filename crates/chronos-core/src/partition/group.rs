//! A consumer group's progress in one partition.

use super::ApplyError;
use super::dead_letters::Letters;
use crate::command::create_group::{CreateGroup, Start};
use crate::command::settle::Settle;
use crate::keys::dead::DeadLetter;
use crate::mutant;
use crate::settled::Settled;
use crate::store::WriteBatch;
use crate::types::{DueKey, GroupNumber, PartitionNumber, TopicNumber};
use crate::varint::{
    Malformed, put_bytes, put_i64, put_u64, take_bytes, take_i64, take_string, take_u32, take_u64,
};
use std::collections::BTreeMap;

/// What a partition knows of a group: what is settled, and which deliveries failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The topic it reads; `None` reads every topic.
    pub topic: Option<TopicNumber>,
    /// Events below this offset are not for this group.
    pub first_offset: u64,
    /// One above the greatest offset that the cursor has been at; 0 before it moved. Never falls,
    /// though the cursor moves in due order and its offset may.
    pub committed: u64,
    /// Whether retention waits until it has settled an event.
    pub is_waited_for: bool,
    /// What is settled.
    pub settled: Settled,
    /// Failed deliveries of events that are not settled.
    pub failures: BTreeMap<DueKey, u32>,
    /// Number that the next dead letter gets; also how many there ever were.
    pub next_dead: u64,
    /// Its dead letters. They have a record of their own in a checkpoint.
    pub letters: Letters,
}

impl Group {
    /// A group as it begins. `horizon` is the partition's, `first_of_topic` whether nobody has read
    /// its topic before.
    pub(super) fn begin(
        command: &CreateGroup,
        topic: Option<TopicNumber>,
        horizon: DueKey,
        first_of_topic: bool,
    ) -> Self {
        let (cursor, first_offset) = match command.start {
            Start::Earliest => (DueKey::MIN, 0),
            Start::Unclaimed if first_of_topic => (DueKey::MIN, 0),
            Start::Unclaimed if mutant!("new-group-reads-all") => (DueKey::MIN, 0),
            Start::Unclaimed => (horizon, 0),
            Start::Offset(offset) => (DueKey::MIN, offset),
        };
        Self {
            name: command.name.clone(),
            topic,
            first_offset,
            committed: 0,
            is_waited_for: command.is_waited_for,
            settled: Settled::new(cursor),
            failures: BTreeMap::new(),
            next_dead: 0,
            letters: Letters::default(),
        }
    }

    /// Takes in progress that the leader reports.
    pub(super) fn settle(
        &mut self,
        settle: &Settle,
        number: GroupNumber,
        partition: PartitionNumber,
        now_ms: i64,
        writes: &mut WriteBatch,
    ) {
        for failure in &settle.failures {
            if !self.settled.contains(failure.key) {
                self.failures.insert(failure.key, failure.failures);
                self.letters.failed(failure.key, now_ms);
            }
        }
        for death in &settle.deaths {
            if self.settled.contains(death.key) && !mutant!("buried-twice") {
                continue;
            }
            let letter = DeadLetter {
                key: death.key,
                attempts: death.attempts,
                at_ms: now_ms,
                reason: death.reason.clone(),
                first_ms: self.letters.take_failed_since(death.key).unwrap_or(now_ms),
                redrives: 0,
            };
            self.bury(&letter, partition, number, writes);
        }
        let cursor = self.settled.cursor();
        for (from, to) in &settle.stretches {
            let from = match mutant!("cursor-past-gap") {
                true => &DueKey::MIN,
                false => from,
            };
            self.settled.settle(*from, *to);
            while let Some((key, _)) = self.failures.range(..=*to).next_back() {
                if *key <= *from {
                    break;
                }
                let key = *key;
                self.failures.remove(&key);
                self.letters.take_failed_since(key);
            }
        }
        if self.settled.cursor() > cursor {
            self.committed = self
                .committed
                .max(self.settled.cursor().offset.saturating_add(1));
        }
    }

    /// The record of the group in a checkpoint.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.name.as_bytes());
        put_u64(&mut out, self.topic.map_or(0, |topic| u64::from(topic) + 1));
        put_u64(&mut out, self.first_offset);
        put_u64(&mut out, self.next_dead);
        put_u64(&mut out, self.committed);
        put_u64(&mut out, u64::from(self.is_waited_for));
        let mut settled = Vec::new();
        self.settled.encode(&mut settled);
        put_bytes(&mut out, &settled);
        put_u64(&mut out, self.failures.len() as u64);
        for (key, failures) in &self.failures {
            put_i64(&mut out, key.due_ms);
            put_u64(&mut out, key.offset);
            put_u64(&mut out, u64::from(*failures));
        }
        out
    }

    /// Reads a checkpoint's record.
    pub(super) fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        let name = take_string(input)?;
        let topic = match take_u64(input)? {
            0 => None,
            number => Some(u32::try_from(number - 1).map_err(|_| Malformed)?),
        };
        let first_offset = take_u64(input)?;
        let next_dead = take_u64(input)?;
        let committed = take_u64(input)?;
        let is_waited_for = match take_u64(input)? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let settled = Settled::decode(take_bytes(input)?).map_err(|_| Malformed)?;
        let mut failures = BTreeMap::new();
        for _ in 0..take_u64(input)? {
            let key = DueKey::new(take_i64(input)?, take_u64(input)?);
            failures.insert(key, take_u32(input)?);
        }
        Ok(Self {
            name,
            topic,
            first_offset,
            committed,
            is_waited_for,
            settled,
            failures,
            next_dead,
            letters: Letters::default(),
        })
    }
}

/// Finds a group by its number.
pub(super) fn get(groups: &mut [Group], number: GroupNumber) -> Result<&mut Group, ApplyError> {
    groups
        .get_mut(number as usize)
        .ok_or(ApplyError::UnknownGroup(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::settle::{Death, Failure};
    use proptest::prelude::*;

    fn begin(start: Start, first: bool) -> Group {
        let command = CreateGroup {
            name: "g".into(),
            topic: Some("t".into()),
            start,
            is_waited_for: true,
        };
        Group::begin(&command, Some(0), DueKey::new(50, 9), first)
    }

    #[test]
    fn starts_where_asked() {
        assert_eq!(begin(Start::Earliest, false).settled.cursor(), DueKey::MIN);
        assert_eq!(
            begin(Start::Unclaimed, false).settled.cursor(),
            DueKey::new(50, 9)
        );
        assert_eq!(begin(Start::Unclaimed, true).settled.cursor(), DueKey::MIN);
        let from = begin(Start::Offset(7), false);
        assert_eq!((from.settled.cursor(), from.first_offset), (DueKey::MIN, 7));
    }

    #[test]
    fn settling_forgets_failures_and_buries_once() {
        let mut group = begin(Start::Earliest, true);
        let (a, b) = (DueKey::new(10, 1), DueKey::new(10, 2));
        let mut writes = WriteBatch::default();
        let fail = Settle {
            failures: vec![
                Failure {
                    key: a,
                    failures: 2,
                },
                Failure {
                    key: b,
                    failures: 1,
                },
            ],
            ..Settle::default()
        };
        group.settle(&fail, 0, 0, 11, &mut writes);
        assert_eq!(group.failures.get(&a), Some(&2));
        let bury = Settle {
            stretches: vec![(DueKey::MIN, a)],
            deaths: vec![Death {
                key: a,
                attempts: 3,
                reason: "no".into(),
            }],
            ..Settle::default()
        };
        group.settle(&bury, 0, 0, 12, &mut writes);
        group.settle(&bury, 0, 0, 13, &mut writes);
        assert_eq!(writes.writes.len(), 1);
        assert_eq!((group.next_dead, group.settled.cursor()), (1, a));
        assert_eq!(group.failures.keys().collect::<Vec<_>>(), [&b]);
        // A failure that arrives after the event was settled says nothing.
        group.settle(&fail, 0, 0, 14, &mut writes);
        assert_eq!(group.failures.keys().collect::<Vec<_>>(), [&b]);
        let mut read = Group::decode(&group.encode()).unwrap();
        read.letters = Letters::decode(&group.letters.encode()).unwrap();
        assert_eq!(read, group);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(value in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 10..30),
        ]) {
            if let Ok(group) = Group::decode(&value) {
                prop_assert_eq!(Group::decode(&group.encode()), Ok(group));
            }
        }
    }
}
