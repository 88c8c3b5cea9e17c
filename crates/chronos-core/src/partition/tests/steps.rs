//! What is random: commands said relative to the state they meet, so that they often touch it.

use super::entry::{Command, Commands, Event};
use super::oracle::Oracle;
use crate::command::change::{Action, Item};
use crate::command::create_group::{CreateGroup, Start};
use crate::command::settle::{Death, Failure, Settle};
use crate::keys::dedup::hash;
use crate::types::DueKey;
use proptest::prelude::*;
use proptest::sample::Index;

/// Ids to publish under: few, so that they meet again.
pub(super) const IDS: usize = 10;
const TOPICS: [&str; 3] = ["t", "", "orders"];
const GROUPS: [&str; 2] = ["g", "h"];

/// When an event is scheduled.
#[derive(Debug, Clone)]
enum When {
    FromClock(i64),
    FromHorizon(i64),
    At(i64),
}

/// A key of the due order, by its place, or one beside it.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    place: Index,
    before: bool,
}

#[derive(Debug, Clone)]
enum Section {
    Publish {
        events: Vec<(usize, usize, When, bool)>,
        dedup_ttl_ms: u64,
    },
    Settle {
        group: Index,
        stretches: Vec<(Pick, Pick)>,
        failures: Vec<(Pick, u32)>,
        deaths: Vec<(Pick, u32)>,
    },
    CreateGroup {
        name: usize,
        topic: Option<usize>,
        start: Start,
    },
    Change(Vec<AnyChange>),
    Replace {
        change: AnyChange,
        events: Vec<(usize, usize, When, bool)>,
    },
}

#[derive(Debug, Clone)]
enum To {
    Get,
    Cancel,
    Move(When),
    Fire,
}

/// A change of an event by its place, counted from the youngest.
#[derive(Debug, Clone)]
struct AnyChange {
    event: Index,
    to: To,
    if_version: Option<u64>,
}

/// A look at the index.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) topic: Index,
    pub(super) after: Pick,
    pub(super) upto: Pick,
    pub(super) limit: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// An entry to the log: how the clock moves, how far ahead the horizon goes, the commands.
    Append {
        passed_ms: i64,
        ahead_ms: u32,
        sections: Vec<AnySection>,
    },
    AppendBlank,
    AppendMembership(u8),
    /// The replica that crashes applies some of what it has not applied.
    CatchUp(usize),
    Checkpoint,
    WholeCheckpoint,
    Flush,
    Crash,
    Look(Look),
}

/// A section before it meets a state.
#[derive(Debug, Clone)]
pub(super) struct AnySection(Section);

fn id(number: usize) -> String {
    format!("id-{number}")
}

/// Every id that is ever published.
pub(super) fn all_ids() -> Vec<String> {
    (0..IDS).map(id).collect()
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => (-1_000_i64..=0).prop_map(When::FromClock),
        4 => (0_i64..40).prop_map(When::FromClock),
        3 => (-1_i64..=1).prop_map(When::FromHorizon),
        4 => (40_i64..70_000).prop_map(When::FromClock),
        1 => (0_i64..1 << 40).prop_map(When::FromClock),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX])
            .prop_map(When::At),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(place, before)| Pick { place, before })
}

fn section() -> impl Strategy<Value = AnySection> {
    let event = (0..IDS, 0..TOPICS.len(), when(), prop::bool::weighted(0.2));
    let ttl = prop_oneof![
        6 => Just(1_000_u64),
        2 => 0_u64..60,
        2 => Just(u64::MAX),
        1 => Just(100_000),
    ];
    let publish = (prop::collection::vec(event, 0..9), ttl).prop_map(|(events, dedup_ttl_ms)| {
        Section::Publish {
            events,
            dedup_ttl_ms,
        }
    });
    let settle = (
        any::<Index>(),
        prop::collection::vec((pick(), pick()), 0..4),
        prop::collection::vec((pick(), 1_u32..5), 0..3),
        prop::collection::vec((pick(), 1_u32..5), 0..2),
    )
        .prop_map(|(group, stretches, failures, deaths)| Section::Settle {
            group,
            stretches,
            failures,
            deaths,
        });
    let start = prop_oneof![
        1 => Just(Start::Earliest),
        3 => Just(Start::Unclaimed),
        1 => (0_u64..40).prop_map(Start::Offset),
    ];
    let create = (0..GROUPS.len(), prop::option::of(0..TOPICS.len()), start)
        .prop_map(|(name, topic, start)| Section::CreateGroup { name, topic, start });
    let to = prop_oneof![
        1 => Just(To::Get),
        3 => Just(To::Cancel),
        4 => when().prop_map(To::Move),
        1 => Just(To::Fire),
    ];
    let change = (any::<Index>(), to, prop::option::weighted(0.2, 0_u64..4)).prop_map(
        |(event, to, if_version)| AnyChange {
            event,
            to,
            if_version,
        },
    );
    let event = (0..IDS, 0..TOPICS.len(), when(), prop::bool::weighted(0.2));
    let replace = (change.clone(), prop::collection::vec(event, 0..3))
        .prop_map(|(change, events)| Section::Replace { change, events });
    let change = prop::collection::vec(change, 1..4).prop_map(Section::Change);
    prop_oneof![6 => publish, 3 => settle, 1 => create, 4 => change, 1 => replace]
        .prop_map(AnySection)
}

/// How the clock moves between entries.
fn passed_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        30 => 0_i64..3,
        30 => 0_i64..60,
        15 => 0_i64..40_000,
        10 => -40_i64..0,
        3 => -100_000_i64..0,
        2 => 0_i64..1 << 38,
        1 => Just(i64::MAX),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let append = (
        passed_ms(),
        prop_oneof![3 => Just(0_u32), 2 => 0_u32..20, 1 => any::<u32>().prop_map(|ms| ms >> 8)],
        prop::collection::vec(section(), 0..4),
    )
        .prop_map(|(passed_ms, ahead_ms, sections)| Step::Append {
            passed_ms,
            ahead_ms,
            sections,
        });
    let look = (
        any::<Index>(),
        pick(),
        pick(),
        prop_oneof![Just(u64::MAX), 0_u64..6],
    )
        .prop_map(|(topic, after, upto, limit)| {
            Step::Look(Look {
                topic,
                after,
                upto,
                limit,
            })
        });
    prop_oneof![
        16 => append,
        1 => Just(Step::AppendBlank),
        1 => any::<u8>().prop_map(Step::AppendMembership),
        10 => (1_usize..8).prop_map(Step::CatchUp),
        8 => Just(Step::Checkpoint),
        2 => Just(Step::WholeCheckpoint),
        2 => Just(Step::Flush),
        3 => Just(Step::Crash),
        8 => look,
    ]
}

impl Pick {
    pub(super) fn of(&self, oracle: &Oracle) -> DueKey {
        let known = oracle.due.len();
        let key = match self.place.index(known + 3) {
            0 => DueKey::MIN,
            1 => DueKey::MAX,
            2 => oracle.horizon,
            place => *oracle.due.keys().nth(place - 3).unwrap(),
        };
        if self.before { key.before() } else { key }
    }
}

impl AnySection {
    /// The command as it is in this state. `None` when there is no group to settle for, or no event
    /// to change.
    fn of(&self, oracle: &Oracle, now_ms: i64) -> Option<Command> {
        Some(match &self.0 {
            Section::Publish {
                events,
                dedup_ttl_ms,
            } => Command::Publish {
                dedup_ttl_ms: *dedup_ttl_ms,
                events: events_of(events, oracle, now_ms),
            },
            Section::Change(changes) => Command::Change(
                (changes.iter())
                    .map(|change| change.of(oracle, now_ms))
                    .collect::<Option<_>>()?,
            ),
            Section::Replace { change, events } => Command::Replace {
                item: Item {
                    action: Action::Cancel,
                    ..change.of(oracle, now_ms)?
                },
                events: events_of(events, oracle, now_ms),
                dedup_ttl_ms: 1_000,
            },
            Section::Settle {
                group,
                stretches,
                failures,
                deaths,
            } => Command::Settle(Settle {
                group: match oracle.groups.len() {
                    0 => return None,
                    count => group.index(count) as u32,
                },
                stretches: (stretches.iter())
                    .map(|(from, to)| (from.of(oracle), to.of(oracle)))
                    .collect(),
                failures: (failures.iter())
                    .map(|(key, failures)| Failure {
                        key: key.of(oracle),
                        failures: *failures,
                    })
                    .collect(),
                deaths: (deaths.iter())
                    .map(|(key, attempts)| Death {
                        key: key.of(oracle),
                        attempts: *attempts,
                        reason: format!("reason {attempts}"),
                    })
                    .collect(),
            }),
            Section::CreateGroup { name, topic, start } => Command::CreateGroup(CreateGroup {
                name: GROUPS[*name].into(),
                topic: topic.map(|topic| TOPICS[topic].into()),
                start: *start,
                is_waited_for: *name > 0,
            }),
        })
    }
}

impl When {
    fn ms(&self, oracle: &Oracle, now_ms: i64) -> i64 {
        match self {
            When::FromClock(by_ms) => now_ms.saturating_add(*by_ms),
            When::FromHorizon(by_ms) => oracle.horizon.due_ms.saturating_add(*by_ms),
            When::At(time_ms) => *time_ms,
        }
    }
}

impl AnyChange {
    fn of(&self, oracle: &Oracle, now_ms: i64) -> Option<Item> {
        let count = oracle.events.len();
        // One beyond the last is an event that does not exist.
        let place = count.checked_sub(self.event.index(count.max(1)))?;
        let known = oracle.events.get(place).or(oracle.events.last())?;
        Some(Item {
            offset: place as u64,
            topic: known.version.topic,
            published_ms: known.event.schedule_ms,
            id: hash(known.event.id.as_bytes()),
            if_version: self.if_version,
            action: match &self.to {
                To::Get => Action::Get,
                To::Cancel => Action::Cancel,
                To::Move(when) => Action::Reschedule(when.ms(oracle, now_ms)),
                To::Fire => Action::FireNow,
            },
        })
    }
}

fn events_of(events: &[(usize, usize, When, bool)], oracle: &Oracle, now_ms: i64) -> Vec<Event> {
    (events.iter())
        .map(|(number, topic, when, allow_duplicate)| Event {
            id: id(*number),
            topic: TOPICS[*topic].into(),
            schedule_ms: when.ms(oracle, now_ms),
            allow_duplicate: *allow_duplicate,
        })
        .collect()
}

/// The entry as it is in this state.
pub(super) fn entry_of(
    sections: &[AnySection],
    oracle: &Oracle,
    now_ms: i64,
    ahead_ms: u32,
) -> Commands {
    Commands {
        now_ms,
        ahead_ms,
        term: oracle.events.len() as u64 / 10,
        sections: (sections.iter())
            .filter_map(|section| section.of(oracle, now_ms))
            .collect(),
    }
}
