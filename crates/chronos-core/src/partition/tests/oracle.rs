//! The rules once more, in plain maps: slow, without chunks, runs, windows or filters.

use super::entry::{Command, Commands, Event};
use crate::command::change::{Action, Item};
use crate::command::create_group::{CreateGroup, Start};
use crate::command::settle::Settle;
use crate::keys::change::{State, Version};
use crate::keys::dead::DeadLetter;
use crate::partition::{Changed, Move, Outcome, Published, Verdict};
use crate::types::DueKey;
use std::collections::BTreeMap;

/// An accepted event.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) event: Event,
    pub(super) due_ms: i64,
    /// Whether it was due on arrival.
    pub(super) late: bool,
    pub(super) log_index: usize,
    pub(super) section: usize,
    pub(super) slot: u32,
    pub(super) version: Version,
    /// The entry that brought the version, unless it is the first.
    pub(super) changed_by: Option<u64>,
}

impl Known {
    /// The due key, unless it is cancelled.
    pub(super) fn key(&self, offset: u64) -> Option<DueKey> {
        (self.version.state != State::Cancelled).then_some(DueKey::new(self.due_ms, offset))
    }
}

/// A consumer group: the stretches it settled, as they came.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) command: CreateGroup,
    pub(super) began: DueKey,
    pub(super) stretches: Vec<(DueKey, DueKey)>,
    pub(super) failures: BTreeMap<DueKey, u32>,
    pub(super) dead: Vec<DeadLetter>,
    failed_since: BTreeMap<DueKey, i64>,
}

impl Group {
    /// Whether an event is for the group, by its offset.
    pub(super) fn reads(&self, offset: u64) -> bool {
        match self.command.start {
            Start::Offset(first) => offset >= first,
            Start::Earliest | Start::Unclaimed => true,
        }
    }

    pub(super) fn is_settled(&self, key: DueKey) -> bool {
        let within = |(from, to): &(DueKey, DueKey)| *from < key && key <= *to;
        key <= self.began || self.stretches.iter().any(within)
    }

    /// The end of the stretches that follow each other from where the group began.
    pub(super) fn cursor(&self) -> DueKey {
        let mut cursor = self.began;
        while let Some((_, to)) = self
            .stretches
            .iter()
            .find(|(from, to)| *from <= cursor && cursor < *to)
        {
            cursor = *to;
        }
        cursor
    }

    fn settle(&mut self, settle: &Settle, now_ms: i64) {
        for failure in &settle.failures {
            if !self.is_settled(failure.key) {
                self.failures.insert(failure.key, failure.failures);
                self.failed_since.entry(failure.key).or_insert(now_ms);
            }
        }
        for death in &settle.deaths {
            if !self.is_settled(death.key) {
                self.dead.push(DeadLetter {
                    key: death.key,
                    attempts: death.attempts,
                    at_ms: now_ms,
                    reason: death.reason.clone(),
                    first_ms: self.failed_since.remove(&death.key).unwrap_or(now_ms),
                    redrives: 0,
                });
            }
        }
        self.stretches.extend(&settle.stretches);
        let (began, stretches) = (self.began, &self.stretches);
        let is_open = |key: &DueKey| {
            *key > began && !stretches.iter().any(|(from, to)| from < key && key <= to)
        };
        self.failures.retain(|key, _| is_open(key));
        self.failed_since.retain(|key, _| is_open(key));
    }
}

/// What a partition must be after the entries so far.
#[derive(Debug)]
pub(super) struct Oracle {
    /// By offset.
    pub(super) events: Vec<Known>,
    /// Every accepted event in the order in which they fall due.
    pub(super) due: BTreeMap<DueKey, u64>,
    pub(super) horizon: DueKey,
    /// By number.
    pub(super) topics: Vec<String>,
    /// By number.
    pub(super) groups: Vec<Group>,
    /// Message id → the partition's time from which it is remembered, and its event.
    ids: BTreeMap<String, (i64, u64)>,
    /// What the last entry moved.
    pub(super) moves: Vec<Move>,
    /// Ids accepted up to this time are forgotten.
    forgotten_ms: i64,
    /// The greatest time that an entry brought.
    time_ms: i64,
    entries: usize,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            events: Vec::new(),
            due: BTreeMap::new(),
            horizon: DueKey::MIN,
            topics: Vec::new(),
            groups: Vec::new(),
            ids: BTreeMap::new(),
            moves: Vec::new(),
            forgotten_ms: i64::MIN,
            time_ms: i64::MIN,
            entries: 0,
        }
    }

    /// An entry without commands.
    pub(super) fn skip(&mut self) {
        self.entries += 1;
    }

    pub(super) fn apply(&mut self, commands: &Commands) -> Vec<Outcome> {
        let clock_ms = commands.now_ms.saturating_add(commands.ahead_ms.into());
        self.time_ms = self.time_ms.max(clock_ms);
        let horizon_before = self.horizon;
        let before: Vec<_> = self.events.clone();
        let outcomes = (commands.sections.iter().enumerate())
            .map(|(section, command)| match command {
                Command::Publish {
                    events,
                    dedup_ttl_ms,
                } => Outcome::Published(self.publish(section, events, *dedup_ttl_ms, None)),
                Command::Change(items) => Outcome::Changed(
                    (items.iter())
                        .map(|item| self.change(item, commands.now_ms, before.len() as u64))
                        .collect(),
                ),
                Command::Replace {
                    item,
                    events,
                    dedup_ttl_ms,
                } => self.replace(
                    section,
                    item,
                    events,
                    *dedup_ttl_ms,
                    commands.now_ms,
                    before.len() as u64,
                ),
                Command::Settle(settle) => {
                    self.groups[settle.group as usize].settle(settle, commands.now_ms);
                    Outcome::Settled
                }
                Command::CreateGroup(create) => self.create_group(create, horizon_before),
                Command::DeadLetters(_) | Command::DeleteTopic(_) => {
                    unreachable!("they have models of their own")
                }
            })
            .collect();
        self.horizon = match self.events.len() as u64 {
            0 => DueKey::new(self.time_ms - 1, u64::MAX),
            count => DueKey::new(self.time_ms, count - 1),
        };
        self.moves.clear();
        for (offset, before) in (0..).zip(&before) {
            let now = &mut self.events[offset as usize];
            if now.version.version != before.version.version {
                now.changed_by = Some(self.entries as u64);
                self.moves.push(Move {
                    topic: now.version.topic,
                    offset,
                    from_ms: before.due_ms,
                    to_ms: now.key(offset).map(|key| key.due_ms),
                    schedule_ms: now.version.schedule_ms,
                });
            }
        }
        self.entries += 1;
        outcomes
    }

    fn change(&mut self, item: &Item, now_ms: i64, known: u64) -> Changed {
        let told = |verdict, version, fired| Changed {
            verdict,
            version,
            fired,
        };
        if item.offset >= known {
            let first = Version::first(item.topic, item.published_ms);
            return told(Verdict::NotFound, first, false);
        }
        let event = &self.events[item.offset as usize];
        let (version, id) = (event.version, event.event.id.clone());
        let key = event.key(item.offset);
        let fired = version.state == State::Fired || key.is_some_and(|key| key <= self.horizon);
        let refused = match (item.action, key) {
            (Action::Get, _) => Some(Verdict::Found),
            (_, None) => Some(Verdict::AlreadyCancelled),
            _ if fired => Some(Verdict::AlreadyFired),
            _ if item.if_version.is_some_and(|want| want != version.version) => {
                Some(Verdict::VersionMismatch)
            }
            _ => None,
        };
        if let Some(verdict) = refused {
            return told(verdict, version, fired);
        }
        let least_ms = match DueKey::new(self.time_ms, item.offset) > self.horizon {
            true => self.time_ms,
            false => self.time_ms + 1,
        };
        let mut next = Version {
            version: version.version + 1,
            changed_ms: now_ms,
            before: event.changed_by,
            ..version
        };
        let verdict = match item.action {
            Action::Get => unreachable!("looking changes nothing"),
            Action::Cancel => {
                next.state = State::Cancelled;
                Verdict::Cancelled
            }
            Action::Reschedule(at_ms) => {
                (next.schedule_ms, next.due_ms) = (at_ms, at_ms.max(least_ms));
                if let Some((until_ms, of)) = self.ids.get_mut(&id)
                    && *of == item.offset
                    && next.due_ms > version.due_ms
                {
                    *until_ms = next.due_ms.max(*until_ms);
                }
                Verdict::Rescheduled
            }
            Action::FireNow => {
                next.state = State::Fired;
                (next.schedule_ms, next.due_ms) = (now_ms, least_ms);
                Verdict::Fired
            }
        };
        self.set(item.offset, next);
        told(verdict, next, next.state == State::Fired)
    }

    fn set(&mut self, offset: u64, version: Version) {
        let event = &mut self.events[offset as usize];
        event.key(offset).map(|key| self.due.remove(&key));
        event.version = version;
        event.due_ms = version.due_ms;
        event.key(offset).map(|key| self.due.insert(key, offset));
    }

    fn replace(
        &mut self,
        section: usize,
        item: &Item,
        events: &[Event],
        dedup_ttl_ms: u64,
        now_ms: i64,
        known: u64,
    ) -> Outcome {
        let before = self
            .events
            .get(item.offset as usize)
            .map(|event| event.version);
        let mut changed = self.change(item, now_ms, known);
        if changed.verdict != Verdict::Cancelled {
            return Outcome::Replaced(changed, Published::default());
        }
        let published = self.publish(section, events, dedup_ttl_ms, Some(item.offset));
        if published.accepted == 0
            && let Some(before) = before
        {
            changed.verdict = Verdict::Found;
            changed.version = before;
            self.set(item.offset, before);
        }
        Outcome::Replaced(changed, published)
    }

    fn publish(
        &mut self,
        section: usize,
        events: &[Event],
        dedup_ttl_ms: u64,
        replacing: Option<u64>,
    ) -> Published {
        self.forgotten_ms = self
            .forgotten_ms
            .max(self.time_ms.saturating_sub_unsigned(dedup_ttl_ms));
        let mut published = Published {
            first_offset: self.events.len() as u64,
            ..Published::default()
        };
        for (slot, event) in (0..).zip(events) {
            if !event.allow_duplicate {
                let of = self.ids.get(&event.id).map(|(_, of)| *of);
                if self.remembers(&event.id) && of != replacing {
                    published.duplicates.push(slot);
                    published.known_offsets.extend(of);
                    continue;
                }
                let offset = self.events.len() as u64;
                let from_ms = self.time_ms.max(event.schedule_ms);
                self.ids.insert(event.id.clone(), (from_ms, offset));
            }
            let topic = self.topic(&event.topic);
            let known = Known {
                event: event.clone(),
                due_ms: event.schedule_ms.max(self.time_ms),
                late: event.schedule_ms <= self.time_ms,
                log_index: self.entries,
                section,
                slot,
                version: Version::first(topic, event.schedule_ms),
                changed_by: None,
            };
            let offset = self.events.len() as u64;
            self.due.insert(DueKey::new(known.due_ms, offset), offset);
            self.events.push(known);
            published.accepted += 1;
        }
        published
    }

    fn create_group(&mut self, command: &CreateGroup, horizon: DueKey) -> Outcome {
        if let Some(topic) = &command.topic {
            self.topic(topic);
        }
        let known = (self.groups.iter()).position(|group| {
            group.command.name == command.name && group.command.topic == command.topic
        });
        if let Some(number) = known {
            return Outcome::GroupCreated {
                group: number as u32,
                created: false,
            };
        }
        let claimed =
            self.groups
                .iter()
                .any(|group| match (&group.command.topic, &command.topic) {
                    (Some(theirs), Some(ours)) => theirs == ours,
                    _ => true,
                });
        let began = match command.start {
            Start::Unclaimed if claimed => horizon,
            _ => DueKey::MIN,
        };
        self.groups.push(Group {
            command: command.clone(),
            began,
            stretches: Vec::new(),
            failures: BTreeMap::new(),
            dead: Vec::new(),
            failed_since: BTreeMap::new(),
        });
        Outcome::GroupCreated {
            group: self.groups.len() as u32 - 1,
            created: true,
        }
    }

    /// Whether another event with this id would be refused.
    pub(super) fn remembers(&self, id: &str) -> bool {
        self.ids
            .get(id)
            .is_some_and(|(at_ms, _)| *at_ms > self.forgotten_ms)
    }

    /// The number of a topic, given now if it is new.
    fn topic(&mut self, name: &str) -> u32 {
        let known = self.topics.iter().position(|topic| topic == name);
        known.unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        }) as u32
    }

    /// The number of a topic that exists.
    pub(super) fn topic_number(&self, name: &str) -> u32 {
        self.topics.iter().position(|topic| topic == name).unwrap() as u32
    }

    /// Due keys of a topic in `(after, upto]`, in due order.
    pub(super) fn due_in(&self, topic: u32, after: DueKey, upto: DueKey) -> Vec<DueKey> {
        (self.due.iter())
            .filter(|(key, _)| after < **key && **key <= upto)
            .filter(|(_, offset)| {
                self.events[**offset as usize].event.topic == self.topics[topic as usize]
            })
            .map(|(key, _)| *key)
            .collect()
    }

    /// The events of a topic that were not due on arrival.
    pub(super) fn scheduled(&self, topic: u32) -> impl Iterator<Item = DueKey> + '_ {
        (0..)
            .zip(&self.events)
            .filter(move |(_, known)| {
                !known.late && known.event.topic == self.topics[topic as usize]
            })
            .filter_map(|(offset, known)| known.key(offset))
    }
}
