//! A partition against the oracle, and against another partition.

use super::entry::Commands;
use super::oracle::{Group, Known, Oracle};
use super::replica::{Entry, NUMBER};
use crate::command::Kind;
use crate::command::change::Replace;
use crate::command::publish::{Publish, SLOT_LEN, Slot, slot_position};
use crate::keys::dead::{self, DeadLetter};
use crate::keys::dedup::hash;
use crate::keys::{batch, chunk};
use crate::partition::{Effects, Outcome, Partition, Run, change, released};
use crate::store::{Family, MemoryStore, Pair, Store};
use crate::types::DueKey;
use std::ops::ControlFlow;

/// The due keys that runs stand for.
pub(super) fn keys_of(runs: &[Run]) -> Vec<DueKey> {
    runs.iter()
        .flat_map(|run| {
            (0..run.count).map(|ahead| DueKey::new(run.due_ms, run.first_offset + ahead))
        })
        .collect()
}

/// What came of an entry, given the oracle before and after it: `known` events and the horizon
/// before, the rest after.
pub(super) fn effects(
    effects: &Effects,
    outcomes: &[Outcome],
    oracle: &Oracle,
    known_before: usize,
    horizon_before: DueKey,
) {
    assert_eq!(effects.outcomes, outcomes);
    assert_eq!(effects.horizon, oracle.horizon);
    assert_eq!(effects.horizon_before, horizon_before);
    let accepted = || (0u64..).zip(&oracle.events).skip(known_before);

    let mut timers: Vec<_> = (effects.timers.iter())
        .map(|timer| (timer.offset, timer.due_ms, timer.topic))
        .collect();
    timers.sort_unstable();
    let expected: Vec<_> = accepted()
        .filter(|(_, known)| !known.late)
        .map(|(offset, known)| {
            (
                offset,
                known.due_ms,
                oracle.topic_number(&known.event.topic),
            )
        })
        .collect();
    assert_eq!(timers, expected, "timers");

    let late: Vec<_> = accepted()
        .filter(|(_, known)| known.late)
        .map(|(offset, known)| DueKey::new(known.due_ms, offset))
        .collect();
    assert_eq!(keys_of(&effects.runs), late, "runs, in due order");
    for run in &effects.runs {
        let of_run =
            |(offset, _): &(u64, &Known)| (run.first_offset..=run.last().offset).contains(offset);
        let ready_ms = accepted()
            .filter(of_run)
            .map(|(_, known)| known.event.schedule_ms)
            .max();
        assert_eq!(Some(run.ready_ms), ready_ms, "{run:?}");
        for (_, known) in accepted().filter(of_run) {
            assert_eq!(
                run.topic,
                oracle.topic_number(&known.event.topic),
                "{run:?}"
            );
        }
    }

    let mut moves = effects.moves.clone();
    moves.sort_unstable_by_key(|moved| moved.offset);
    assert_eq!(moves, oracle.moves, "moves");

    let schedules = || accepted().map(|(_, known)| known.event.schedule_ms);
    let batch = effects.batch.as_ref();
    assert_eq!(
        batch.map(|batch| (batch.first_offset, batch.count(), batch.schedule_ms)),
        schedules().min().zip(schedules().max()).map(|range| (
            known_before as u64,
            (oracle.events.len() - known_before) as u64,
            range
        ))
    );
}

/// The state in memory and the whole index.
pub(super) fn state(partition: &Partition<MemoryStore>, oracle: &Oracle, log: &[Entry]) {
    assert_eq!(partition.next_offset(), oracle.events.len() as u64);
    if !oracle.due.is_empty() {
        assert_eq!(partition.horizon(), oracle.horizon);
    }
    for topic in 0..oracle.topics.len() {
        let counted = partition.scheduled().get(topic).copied().unwrap_or(0);
        assert_eq!(counted, oracle.scheduled(topic as u32).count() as u64);
    }
    for (offset, known) in (0..).zip(&oracle.events) {
        let at = partition.applied().map_or(0, |applied| applied.index);
        let stored = change::version_at(partition.store(), NUMBER, offset, at).unwrap();
        let expected = known.changed_by.map(|index| (known.version, index));
        assert_eq!(stored, expected, "version of {offset}");
        assert!(stored.is_none() || partition.changed().contains(offset));
    }

    assert_eq!(partition.topics().len(), oracle.topics.len());
    for (number, name) in (0..).zip(&oracle.topics) {
        assert_eq!(partition.topics().name(number), Some(name.as_bytes()));
        assert_eq!(partition.topics().get(name.as_bytes()), Some(number));
        in_due_order(
            partition,
            oracle,
            number,
            DueKey::MIN,
            DueKey::MAX,
            u64::MAX,
        );
        scheduled_in(partition, oracle, number, i64::MIN..i64::MAX);
    }
    assert_eq!(partition.groups().len(), oracle.groups.len());
    for (number, expected) in (0..).zip(&oracle.groups) {
        group(partition, number, expected, oracle);
    }
    for (offset, known) in (0..).zip(&oracle.events) {
        place(partition, offset, known, log);
    }
    assert_eq!(found_place(partition, oracle.events.len() as u64), None);
}

/// Whether the ids are remembered that the oracle remembers.
pub(super) fn ids(partition: &Partition<MemoryStore>, oracle: &Oracle, ids: &[String]) {
    for id in ids {
        let hashed = hash(id.as_bytes());
        let stored = partition
            .dedup
            .look_up(&partition.store, NUMBER, &[hashed], partition.next_offset)
            .unwrap();
        let found =
            (partition.dedup.recent(hashed)).or(stored.first().map(|(_, accepted)| *accepted));
        let remembered = found.is_some_and(|accepted| accepted.at_ms > partition.forgotten_ms);
        assert_eq!(remembered, oracle.remembers(id), "{id}");
    }
}

/// `released::read` of a stretch: all of it, or a first part of at least `limit` events.
pub(super) fn in_due_order(
    partition: &Partition<MemoryStore>,
    oracle: &Oracle,
    topic: u32,
    after: DueKey,
    upto: DueKey,
    limit: u64,
) {
    let runs = released::read(partition.store(), NUMBER, topic, after, upto, limit).unwrap();
    assert!(
        runs.iter()
            .all(|run| run.topic == topic && run.ready_ms == run.due_ms)
    );
    let keys = keys_of(&runs);
    let expected = oracle.due_in(topic, after, upto);
    assert!(
        keys.len() as u64 >= limit.min(expected.len() as u64),
        "{after:?}..{upto:?}"
    );
    assert_eq!(
        keys,
        expected[..keys.len().min(expected.len())],
        "{after:?}..{upto:?}"
    );
}

/// `scheduled` of some buckets.
pub(super) fn scheduled_in(
    partition: &Partition<MemoryStore>,
    oracle: &Oracle,
    topic: u32,
    buckets: std::ops::Range<i64>,
) {
    let mut keys = Vec::new();
    released::scheduled(
        partition.store(),
        NUMBER,
        topic,
        buckets.clone(),
        &mut |timer| {
            assert_eq!(timer.topic, topic);
            keys.push(DueKey::new(timer.due_ms, timer.offset));
        },
    )
    .unwrap();
    keys.sort_unstable();
    let mut expected: Vec<_> = oracle
        .scheduled(topic)
        .filter(|key| buckets.contains(&chunk::bucket_of(key.due_ms)))
        .collect();
    expected.sort_unstable();
    assert_eq!(keys, expected, "{buckets:?}");
}

/// `count_scheduled` of a stretch.
pub(super) fn count(
    partition: &Partition<MemoryStore>,
    oracle: &Oracle,
    topic: u32,
    after: DueKey,
    upto: DueKey,
) {
    let count = released::count_scheduled(partition.store(), NUMBER, topic, after, upto).unwrap();
    let expected = oracle
        .scheduled(topic)
        .filter(|key| after < *key && *key <= upto)
        .count();
    assert_eq!(count, expected as u64, "{after:?}..{upto:?}");
}

fn group(partition: &Partition<MemoryStore>, number: u32, expected: &Group, oracle: &Oracle) {
    let group = &partition.groups()[number as usize];
    let (name, topic) = (&expected.command.name, expected.command.topic.as_deref());
    assert_eq!(partition.group_number(name, topic), Some(number));
    assert_eq!(
        (&group.name, group.topic),
        (name, topic.map(|topic| oracle.topic_number(topic)))
    );
    assert_eq!(group.settled.cursor(), expected.cursor());
    for key in oracle.due.keys() {
        assert_eq!(
            group.settled.contains(*key),
            expected.is_settled(*key),
            "{key:?}"
        );
    }
    assert_eq!(group.failures, expected.failures);

    let mut letters = Vec::new();
    let (from, to) = (
        dead::key(NUMBER, number, 0),
        dead::key(NUMBER, number + 1, 0),
    );
    let visit = &mut |_: &[u8], value: &[u8]| {
        letters.push(DeadLetter::decode(value).unwrap());
        ControlFlow::Continue(())
    };
    partition
        .store()
        .scan(Family::Dead, &from, &to, visit)
        .unwrap();
    assert_eq!(letters, expected.dead);
    assert_eq!(group.next_dead, expected.dead.len() as u64);
}

fn found_place(
    partition: &Partition<MemoryStore>,
    offset: u64,
) -> Option<(batch::Batch, batch::Place)> {
    let (floor, at) = (batch::key(NUMBER, 0), batch::key(NUMBER, offset));
    let found = partition
        .store()
        .last_at_or_before(Family::Batch, &floor, &at)
        .unwrap();
    let (key, value) = found?;
    let batch = batch::Batch::decode(&key, &value).unwrap();
    let place = batch.place(offset)?;
    Some((batch, place))
}

/// The index leads from an offset to the event's slot in the log.
fn place(partition: &Partition<MemoryStore>, offset: u64, known: &Known, log: &[Entry]) {
    let (batch, place) = found_place(partition, offset).unwrap();
    assert_eq!(batch.log_index as usize, known.log_index, "offset {offset}");
    let Entry::Commands(commands) = &log[known.log_index] else {
        panic!("offset {offset} is not in an entry of commands");
    };
    assert_eq!((batch.now_ms, batch.term), (commands.now_ms, commands.term));
    assert_eq!(
        (place.slot, place.section_position),
        (known.slot, section_position(commands, known))
    );

    let body = commands.encode();
    let section = &body[place.section_position as usize..];
    assert_eq!(
        Publish::decode(section).unwrap().count(),
        place.section_count
    );
    let raw: [u8; SLOT_LEN] = section[slot_position(place.slot) as usize..][..SLOT_LEN]
        .try_into()
        .unwrap();
    let slot = Slot::decode(&raw);
    let bodies = slot_position(place.section_count) as usize;
    let event = &section[bodies + slot.body_position as usize..][..slot.body_len as usize];
    assert!(Slot::verify(&raw, event));
    assert_eq!(slot.id_of(event), Some(known.event.id.as_bytes()));
    assert_eq!(slot.topic_of(event), Some(known.event.topic.as_bytes()));
    assert_eq!(slot.schedule_ms, known.event.schedule_ms);
}

fn section_position(commands: &Commands, known: &Known) -> u32 {
    let body = commands.encode();
    let batch = crate::command::Batch::decode(&body).unwrap();
    let section = batch.sections().nth(known.section).unwrap().unwrap();
    match section.kind {
        Kind::Replace => {
            section.position + Replace::decode(section.payload).unwrap().publish_position
        }
        _ => section.position,
    }
}

/// Two replicas that applied the same entries, whatever happened to them meanwhile.
pub(super) fn replicas(a: &Partition<MemoryStore>, b: &Partition<MemoryStore>) {
    assert_eq!(a.applied(), b.applied());
    assert_eq!(a.membership(), b.membership());
    assert_eq!(
        (a.next_offset(), a.horizon()),
        (b.next_offset(), b.horizon())
    );
    assert_eq!(a.groups(), b.groups());
    // A topic that has none may be there or not.
    let counts = |partition: &Partition<MemoryStore>| {
        let mut counts = partition.scheduled().to_vec();
        counts.resize(partition.topics().len(), 0);
        counts
    };
    assert_eq!(counts(a), counts(b));
    assert_eq!(a.forgotten_ms, b.forgotten_ms);
    for family in [
        Family::Batch,
        Family::Chunk,
        Family::Run,
        Family::Dead,
        Family::Override,
    ] {
        assert_eq!(
            dump(a.store(), family),
            dump(b.store(), family),
            "{family:?}"
        );
    }
}

fn dump(store: &MemoryStore, family: Family) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(family, &[], &[0xff; 64], visit).unwrap();
    pairs
}
