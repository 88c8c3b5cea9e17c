//! Topics as the catalog knows them: those that were created, and their settings.

use super::{Command, Outcome};
use crate::keys::meta::{Kind, key};
use crate::store::{Family, WriteBatch};
use crate::varint::{
    Malformed, put_bytes, put_i64, put_optional, put_u64, take_i64, take_optional, take_string,
    take_u64,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Version of the stored record.
const VERSION: u64 = 1;

/// What can be set for a topic. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Partitions that its events are spread over.
    Partitions = 1,
    /// Age at which events may be removed, milliseconds.
    RetentionAgeMs = 2,
    /// Size above which events may be removed, bytes.
    RetentionBytes = 3,
    /// How long a message id is known after its event was due, milliseconds.
    DedupWindowMs = 4,
    /// Time in which a delivery is to be answered, milliseconds.
    AckTimeoutMs = 5,
    /// Deliveries that may fail before the event is a dead letter.
    MaxRetries = 6,
    /// Wait before the second delivery, milliseconds.
    BackoffFirstMs = 7,
    /// By how much every further wait is longer, thousandths.
    BackoffFactor = 8,
    /// Longest wait, milliseconds.
    BackoffMaxMs = 9,
    /// Share of a wait that is left to chance, thousandths.
    BackoffJitter = 10,
    /// How far ahead an event may be scheduled, milliseconds.
    MaxHorizonMs = 11,
    /// Events per second.
    EventsPerSecond = 12,
    /// Bytes per second.
    BytesPerSecond = 13,
    /// Pending events.
    MaxPendingEvents = 14,
    /// Bytes of pending events.
    MaxPendingBytes = 15,
}

impl Field {
    /// Every field, by number.
    pub const ALL: [Field; 15] = [
        Field::Partitions,
        Field::RetentionAgeMs,
        Field::RetentionBytes,
        Field::DedupWindowMs,
        Field::AckTimeoutMs,
        Field::MaxRetries,
        Field::BackoffFirstMs,
        Field::BackoffFactor,
        Field::BackoffMaxMs,
        Field::BackoffJitter,
        Field::MaxHorizonMs,
        Field::EventsPerSecond,
        Field::BytesPerSecond,
        Field::MaxPendingEvents,
        Field::MaxPendingBytes,
    ];

    fn from_number(number: u64) -> Result<Self, Malformed> {
        let at = number.checked_sub(1).ok_or(Malformed)?;
        let found = usize::try_from(at).ok().and_then(|at| Self::ALL.get(at));
        found.copied().ok_or(Malformed)
    }
}

/// The settings that were made for a topic. One that is absent is the node's default, or no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings(BTreeMap<Field, u64>);

impl Settings {
    /// A setting, if it was made.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<u64> {
        self.0.get(&field).copied()
    }

    /// Makes a setting, or takes it back.
    pub fn set(&mut self, field: Field, value: Option<u64>) {
        match value {
            Some(value) => drop(self.0.insert(field, value)),
            None => drop(self.0.remove(&field)),
        }
    }
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicInfo {
    /// Its settings.
    pub settings: Settings,
    /// When it was created, Unix milliseconds.
    pub created_ms: i64,
    /// Counts up with every change, from 1.
    pub version: u64,
}

/// Whether a topic to be put must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It must not.
    Create,
    /// It must.
    Alter,
    /// Either will do.
    Put,
}

/// A topic to be created or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutTopic {
    /// Its name.
    pub name: String,
    /// Whether it must exist.
    pub mode: Mode,
    /// Change it only if it has this version.
    pub if_version: Option<u64>,
    /// Settings to make, and to take back.
    pub changes: Vec<(Field, Option<u64>)>,
    /// The leader's clock, Unix milliseconds.
    pub now_ms: i64,
}

impl PutTopic {
    /// What follows the name.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(
            out,
            match self.mode {
                Mode::Create => 0,
                Mode::Alter => 1,
                Mode::Put => 2,
            },
        );
        put_optional(out, self.if_version);
        put_u64(out, self.changes.len() as u64);
        for (field, value) in &self.changes {
            put_u64(out, *field as u64);
            put_optional(out, *value);
        }
        put_i64(out, self.now_ms);
    }

    /// Reads what follows the name.
    pub(super) fn decode(name: String, input: &mut &[u8]) -> Result<Self, Malformed> {
        let mode = match take_u64(input)? {
            0 => Mode::Create,
            1 => Mode::Alter,
            2 => Mode::Put,
            _ => return Err(Malformed),
        };
        let if_version = take_optional(input)?;
        let mut changes = Vec::new();
        for _ in 0..take_u64(input)? {
            changes.push((Field::from_number(take_u64(input)?)?, take_optional(input)?));
        }
        Ok(Self {
            name,
            mode,
            if_version,
            changes,
            now_ms: take_i64(input)?,
        })
    }
}

/// The topics that were created, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topics(BTreeMap<String, TopicInfo>);

impl Topics {
    /// Them.
    #[must_use]
    pub fn by_name(&self) -> &BTreeMap<String, TopicInfo> {
        &self.0
    }

    /// Creates or changes a topic.
    pub(super) fn put(&mut self, put: PutTopic) -> Outcome {
        let topic = match (self.0.entry(put.name), put.mode) {
            (Entry::Occupied(_), Mode::Create) => return Outcome::Exists,
            (Entry::Occupied(known), _) => known.into_mut(),
            (Entry::Vacant(_), Mode::Alter) => return Outcome::NotFound,
            (Entry::Vacant(_), _) if put.if_version.is_some_and(|version| version != 0) => {
                return Outcome::VersionMismatch;
            }
            (Entry::Vacant(vacant), _) => vacant.insert(TopicInfo {
                created_ms: put.now_ms,
                ..TopicInfo::default()
            }),
        };
        if topic.version != 0
            && put
                .if_version
                .is_some_and(|version| version != topic.version)
        {
            return Outcome::VersionMismatch;
        }
        for (field, value) in put.changes {
            topic.settings.set(field, value);
        }
        topic.version += 1;
        Outcome::Done
    }

    /// Forgets a topic.
    pub(super) fn delete(&mut self, name: &str) -> Outcome {
        match self.0.remove(name) {
            Some(_) => Outcome::Done,
            None => Outcome::NotFound,
        }
    }

    /// Writes all of them.
    pub(super) fn save(&self, writes: &mut WriteBatch) {
        let mut out = Vec::new();
        put_u64(&mut out, VERSION);
        put_u64(&mut out, self.0.len() as u64);
        for (name, topic) in &self.0 {
            put_bytes(&mut out, name.as_bytes());
            put_i64(&mut out, topic.created_ms);
            put_u64(&mut out, topic.version);
            put_u64(&mut out, topic.settings.0.len() as u64);
            for (field, value) in &topic.settings.0 {
                put_u64(&mut out, *field as u64);
                put_u64(&mut out, *value);
            }
        }
        writes.put(Family::Meta, key(super::NUMBER, Kind::TopicState, 0), out);
    }

    /// Reads what was saved.
    pub(super) fn restore(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        if take_u64(input)? != VERSION {
            return Err(Malformed);
        }
        let mut topics = Self::default();
        for _ in 0..take_u64(input)? {
            let name = take_string(input)?;
            let mut topic = TopicInfo {
                created_ms: take_i64(input)?,
                version: take_u64(input)?,
                ..TopicInfo::default()
            };
            for _ in 0..take_u64(input)? {
                let field = Field::from_number(take_u64(input)?)?;
                topic.settings.set(field, Some(take_u64(input)?));
            }
            topics.0.insert(name, topic);
        }
        Ok(topics)
    }
}

/// A command that puts a topic.
impl From<PutTopic> for Command {
    fn from(put: PutTopic) -> Self {
        Command::PutTopic(put)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::*;
    use crate::partition::LogPosition;
    use crate::store::{MemoryStore, Store};
    use proptest::prelude::*;

    fn put(name: &str, mode: Mode, changes: &[(Field, Option<u64>)]) -> PutTopic {
        PutTopic {
            name: name.into(),
            mode,
            if_version: None,
            changes: changes.to_vec(),
            now_ms: 7,
        }
    }

    #[test]
    fn field_numbers_are_their_places() {
        for (at, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, at + 1);
            assert_eq!(Field::from_number(field as u64), Ok(field));
        }
        assert!(Field::from_number(0).is_err() && Field::from_number(16).is_err());
    }

    #[test]
    fn topics_survive_a_restart_and_change_only_what_is_named() {
        let store = MemoryStore::new();
        let mut catalog = Catalog::open(store.clone()).unwrap();
        let mut index = 0;
        let mut apply = |command: Command| {
            index += 1;
            let at = LogPosition { term: 1, index };
            catalog.apply(at, &command.encode()).unwrap()
        };
        let ack = (Field::AckTimeoutMs, Some(5));
        let retries = (Field::MaxRetries, Some(3));
        let outcomes = [
            apply(put("t", Mode::Alter, &[]).into()),
            apply(put("t", Mode::Create, &[ack, retries]).into()),
            apply(put("t", Mode::Create, &[]).into()),
            apply(put("t", Mode::Alter, &[(Field::AckTimeoutMs, Some(6))]).into()),
            apply(
                PutTopic {
                    if_version: Some(1),
                    ..put("t", Mode::Alter, &[])
                }
                .into(),
            ),
            apply(
                PutTopic {
                    if_version: Some(2),
                    ..put("t", Mode::Put, &[(Field::MaxRetries, None)])
                }
                .into(),
            ),
            apply(put("auto", Mode::Put, &[]).into()),
            apply(put("gone", Mode::Create, &[]).into()),
            apply(Command::DeleteTopic {
                name: "gone".into(),
            }),
            apply(Command::DeleteTopic {
                name: "gone".into(),
            }),
        ];
        use Outcome::{Done, Exists, NotFound, VersionMismatch};
        assert_eq!(
            outcomes,
            [
                NotFound,
                Done,
                Exists,
                Done,
                VersionMismatch,
                Done,
                Done,
                Done,
                Done,
                NotFound
            ]
        );
        let topics = Catalog::open(store).unwrap().topics().clone();
        assert_eq!(&topics, catalog.topics());
        assert_eq!(topics.keys().collect::<Vec<_>>(), ["auto", "t"]);
        let topic = &topics["t"];
        assert_eq!((topic.version, topic.created_ms), (3, 7));
        assert_eq!(topic.settings.get(Field::AckTimeoutMs), Some(6));
        assert_eq!(topic.settings.get(Field::MaxRetries), None);
    }

    fn any_put() -> impl Strategy<Value = PutTopic> {
        (
            any::<String>(),
            0..3_usize,
            any::<Option<u64>>(),
            prop::collection::vec((0..15_usize, any::<Option<u64>>()), 0..5),
            any::<i64>(),
        )
            .prop_map(|(name, mode, if_version, changes, now_ms)| PutTopic {
                name,
                mode: [Mode::Create, Mode::Alter, Mode::Put][mode],
                if_version,
                changes: changes
                    .into_iter()
                    .map(|(field, value)| (Field::ALL[field], value))
                    .collect(),
                now_ms,
            })
    }

    proptest! {
        #[test]
        fn commands_come_back(put in any_put()) {
            let command = Command::PutTopic(put);
            let body = command.encode();
            for cut in 0..body.len() {
                prop_assert!(Command::decode(&body[..cut]).is_err());
            }
            prop_assert_eq!(Command::decode(&body), Ok(command));
        }

        #[test]
        fn what_is_saved_comes_back(puts in prop::collection::vec(any_put(), 0..6)) {
            let mut topics = Topics::default();
            for put in puts {
                topics.put(put);
            }
            let mut writes = WriteBatch::default();
            topics.save(&mut writes);
            let store = MemoryStore::new();
            store.write(&writes).unwrap();
            let value = store.get(Family::Meta, &key(super::super::NUMBER, Kind::TopicState, 0));
            prop_assert_eq!(Topics::restore(&value.unwrap().unwrap()), Ok(topics));
        }

        #[test]
        fn any_bytes_are_refused_or_read(value in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 3..20),
        ]) {
            let _ = Topics::restore(&value);
        }
    }
}
