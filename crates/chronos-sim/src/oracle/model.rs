//! The rules of a partition in plain maps: slow, obvious, and written without looking at how the
//! core does it.

use bytes::Bytes;
use chronos_core::command::change::{Action, Change, Item};
use chronos_core::command::create_group::{CreateGroup, Start};
use chronos_core::command::publish::Publish;
use chronos_core::command::settle::Settle;
use chronos_core::command::{Batch, Kind};
use chronos_core::keys::change::State;
use chronos_core::partition::{Outcome, Published, Verdict};
use chronos_core::types::DueKey;
use std::collections::{BTreeMap, BTreeSet};

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its message id.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// When it was published for, Unix milliseconds.
    pub published_ms: i64,
    /// When it is wanted now, Unix milliseconds.
    pub wanted_ms: i64,
    /// When it falls due, Unix milliseconds.
    pub due_ms: i64,
    /// What it was turned into.
    pub state: State,
    /// Counts its changes from 1.
    pub version: u64,
    /// Its bytes.
    pub body: Bytes,
    /// Whether its id may be known already.
    pub allow_duplicate: bool,
    /// Log index of its publish.
    pub index: u64,
}

/// A consumer group.
#[derive(Debug, Clone)]
pub struct Group {
    /// What created it.
    pub created: CreateGroup,
    /// Everything up to here is not for it.
    pub began: DueKey,
    /// Settled stretches, as they were said.
    pub stretches: Vec<(DueKey, DueKey)>,
    /// Offsets it gave up.
    pub dead: BTreeSet<u64>,
}

impl Group {
    /// Whether an event is settled.
    #[must_use]
    pub fn has_settled(&self, key: DueKey) -> bool {
        key <= self.began
            || self
                .stretches
                .iter()
                .any(|(from, to)| *from < key && key <= *to)
    }

    /// Whether it is for this group.
    #[must_use]
    pub fn is_for(&self, event: &Event, offset: u64) -> bool {
        let first = match self.created.start {
            Start::Offset(first) => first,
            Start::Earliest | Start::Unclaimed => 0,
        };
        let topic = self.created.topic.as_ref();
        offset >= first && topic.is_none_or(|topic| *topic == event.topic)
    }
}

/// A partition.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The accepted events by offset.
    pub events: Vec<Event>,
    /// The groups by number.
    pub groups: Vec<Group>,
    /// The topics by number.
    pub topics: Vec<String>,
    /// Ids, with the time up to which they are young, and the event that has them.
    ids: BTreeMap<String, (i64, u64)>,
    forgotten_ms: Option<i64>,
    horizon: Option<DueKey>,
}

impl Model {
    /// The greatest released key.
    #[must_use]
    pub fn horizon(&self) -> DueKey {
        self.horizon.unwrap_or(DueKey::MIN)
    }

    /// An event's place in the due order; `None` when it is cancelled.
    #[must_use]
    pub fn key_of(&self, offset: u64) -> Option<DueKey> {
        let event = self.events.get(offset as usize)?;
        (event.state != State::Cancelled).then_some(DueKey::new(event.due_ms, offset))
    }

    /// Whether nobody needs an event any more.
    #[must_use]
    pub fn is_over(&self, offset: u64) -> bool {
        let Some(event) = self.events.get(offset as usize) else {
            return false;
        };
        match self.key_of(offset) {
            None => true,
            Some(key) => {
                let needs = |group: &Group| group.is_for(event, offset) && !group.has_settled(key);
                key <= self.horizon() && !self.groups.iter().any(needs)
            }
        }
    }

    /// The due order.
    #[must_use]
    pub fn due_order(&self) -> Vec<DueKey> {
        let mut order: Vec<DueKey> = (0..self.events.len() as u64)
            .filter_map(|offset| self.key_of(offset))
            .collect();
        order.sort_unstable();
        order
    }

    /// Applies an entry and says what comes of each command that this model knows.
    ///
    /// # Panics
    /// On an entry that no leader of a simulation proposes.
    pub fn apply(&mut self, index: u64, body: &[u8]) -> Vec<Outcome> {
        let batch = Batch::decode(body).expect("a leader encoded it");
        let before = self.horizon();
        let target_ms = batch.now_ms.saturating_add(i64::from(batch.ahead_ms));
        // The next event must get a key above what is released already.
        let next = self.events.len() as u64;
        let least_ms = match DueKey::new(before.due_ms, next) > before {
            true => before.due_ms,
            false => before.due_ms.saturating_add(1),
        };
        let time_ms = least_ms.max(target_ms);
        let mut outcomes = Vec::new();
        for section in batch.sections() {
            let section = section.expect("a leader encoded it");
            outcomes.push(match section.kind {
                Kind::Publish => self.publish(index, time_ms, section.payload),
                Kind::Change => {
                    let change = Change::decode(section.payload).expect("a leader encoded it");
                    let items = change.items.iter();
                    Outcome::Changed(
                        items
                            .map(|item| self.change(item, batch.now_ms, time_ms, before, next))
                            .collect(),
                    )
                }
                Kind::CreateGroup => self.create_group(section.payload, before),
                Kind::Settle => self.settle(section.payload),
                other => panic!("no leader of a simulation proposes {other:?}"),
            });
        }
        let last = DueKey::new(time_ms, self.events.len() as u64).before();
        self.horizon = Some(before.max(last));
        outcomes
    }

    fn publish(&mut self, index: u64, time_ms: i64, payload: &[u8]) -> Outcome {
        let publish = Publish::decode(payload).expect("a leader encoded it");
        let old_ms = time_ms.saturating_sub_unsigned(publish.dedup_ttl_ms);
        let forgotten_ms = self.forgotten_ms.map_or(old_ms, |ms| ms.max(old_ms));
        self.forgotten_ms = Some(forgotten_ms);
        let mut published = Published {
            first_offset: self.events.len() as u64,
            ..Published::default()
        };
        for (slot_number, event) in (0..).zip(publish.events()) {
            let (slot, body) = event.expect("a leader encoded it");
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            let (id, topic) = (text(slot.id_of(body)), text(slot.topic_of(body)));
            let offset = self.events.len() as u64;
            if !slot.allow_duplicate {
                if let Some((young_ms, known)) = self.ids.get(&id)
                    && *young_ms > forgotten_ms
                {
                    published.duplicates.push(slot_number);
                    published.known_offsets.push(*known);
                    continue;
                }
                self.ids
                    .insert(id.clone(), (time_ms.max(slot.schedule_ms), offset));
            }
            self.topic(&topic);
            self.events.push(Event {
                id,
                topic,
                published_ms: slot.schedule_ms,
                wanted_ms: slot.schedule_ms,
                due_ms: time_ms.max(slot.schedule_ms),
                state: State::Scheduled,
                version: 1,
                body: Bytes::copy_from_slice(body),
                allow_duplicate: slot.allow_duplicate,
                index,
            });
            published.accepted += 1;
        }
        Outcome::Published(published)
    }

    fn change(
        &mut self,
        item: &Item,
        now_ms: i64,
        time_ms: i64,
        horizon: DueKey,
        known: u64,
    ) -> chronos_core::partition::Changed {
        let told = |verdict, event: &Event, fired| {
            let mut version =
                chronos_core::keys::change::Version::first(item.topic, event.published_ms);
            version.state = event.state;
            version.schedule_ms = event.wanted_ms;
            // What was late on arrival is told as it was asked for.
            version.due_ms = if event.version == 1 {
                event.published_ms
            } else {
                event.due_ms
            };
            version.version = event.version;
            chronos_core::partition::Changed {
                verdict,
                version,
                fired,
            }
        };
        let Some(event) = self
            .events
            .get_mut(item.offset as usize)
            .filter(|_| item.offset < known)
        else {
            return chronos_core::partition::Changed {
                verdict: Verdict::NotFound,
                version: chronos_core::keys::change::Version::first(item.topic, item.published_ms),
                fired: false,
            };
        };
        let released = DueKey::new(event.due_ms, item.offset) <= horizon;
        let fired = event.state == State::Fired || event.state == State::Scheduled && released;
        match (item.action, event.state) {
            (Action::Get, _) => return told(Verdict::Found, event, fired),
            (_, State::Cancelled) => return told(Verdict::AlreadyCancelled, event, fired),
            _ if fired => return told(Verdict::AlreadyFired, event, fired),
            _ => {}
        }
        let least_ms = match DueKey::new(time_ms, item.offset) > horizon {
            true => time_ms,
            false => time_ms + 1,
        };
        event.version += 1;
        let verdict = match item.action {
            Action::Get => Verdict::Found,
            Action::Cancel => {
                event.state = State::Cancelled;
                Verdict::Cancelled
            }
            Action::Reschedule(at_ms) => {
                let later = at_ms.max(least_ms) > event.due_ms;
                (event.wanted_ms, event.due_ms) = (at_ms, at_ms.max(least_ms));
                if later
                    && let Some((young_ms, of)) = self.ids.get_mut(&event.id)
                    && *of == item.offset
                {
                    *young_ms = event.due_ms.max(*young_ms);
                }
                Verdict::Rescheduled
            }
            Action::FireNow => {
                event.state = State::Fired;
                (event.wanted_ms, event.due_ms) = (now_ms, least_ms);
                Verdict::Fired
            }
        };
        let event = &self.events[item.offset as usize];
        told(verdict, event, event.state == State::Fired)
    }

    fn create_group(&mut self, payload: &[u8], horizon: DueKey) -> Outcome {
        let created = CreateGroup::decode(payload).expect("a leader encoded it");
        if let Some(topic) = &created.topic {
            self.topic(topic);
        }
        let same = |group: &Group| {
            (&group.created.name, &group.created.topic) == (&created.name, &created.topic)
        };
        if let Some(number) = self.groups.iter().position(same) {
            return Outcome::GroupCreated {
                group: number as u32,
                created: false,
            };
        }
        let is_claimed = self.groups.iter().any(|group| {
            group.created.topic.is_none()
                || created.topic.is_none()
                || group.created.topic == created.topic
        });
        self.groups.push(Group {
            began: match created.start {
                Start::Unclaimed if is_claimed => horizon,
                _ => DueKey::MIN,
            },
            created,
            stretches: Vec::new(),
            dead: BTreeSet::new(),
        });
        Outcome::GroupCreated {
            group: self.groups.len() as u32 - 1,
            created: true,
        }
    }

    fn settle(&mut self, payload: &[u8]) -> Outcome {
        let settle = Settle::decode(payload).expect("a leader encoded it");
        let group = &mut self.groups[settle.group as usize];
        for death in &settle.deaths {
            if !group.has_settled(death.key) {
                group.dead.insert(death.key.offset);
            }
        }
        for (from, to) in settle.stretches {
            // Whoever acks in order makes one stretch of many.
            match group.stretches.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => group.stretches.push((from, to)),
            }
        }
        Outcome::Settled
    }

    fn topic(&mut self, name: &str) {
        if !self.topics.iter().any(|topic| topic == name) {
            self.topics.push(name.to_owned());
        }
    }
}
