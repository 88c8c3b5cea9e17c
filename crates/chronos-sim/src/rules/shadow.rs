//! C12 and C10: the state and the due order of every replica are what the log says, and a cold start
//! from what is durable rebuilds the same. The due order holds each event once, so a replay of any
//! part of it does.

use super::{Rule, Verdict, progress};
use crate::node::{PARTITION, Process};
use crate::oracle::{Content, Model};
use crate::world::World;
use chronos_core::partition::{LogPosition, Partition, released};
use chronos_core::store::MemoryStore;
use chronos_core::types::{DueKey, TopicNumber};

/// Holds a running replica against the log's meaning.
pub fn check(world: &World, process: &Process) {
    let partition = process.partition.lock();
    let Some(applied) = partition.applied() else {
        return;
    };
    world.ledger.with_model_at(applied.index, |model, is_last| {
        // The index of a replica that applies the log again knows what is still to come.
        let upto = if is_last {
            DueKey::MAX
        } else {
            model.horizon()
        };
        compare(&world.verdict, process, &partition, model, upto);
    });
}

/// Opens what a crash of a replica would leave now, applies the log again, and holds the result
/// against the log's meaning.
pub fn check_cold_start(world: &World, process: &Process) {
    let (crashed, applied) = {
        let partition = process.partition.lock();
        (partition.store().crash(), partition.applied())
    };
    let (Ok(mut partition), Some(applied)) = (Partition::open(PARTITION, crashed), applied) else {
        return;
    };
    let next = partition.applied().map_or(0, |applied| applied.index + 1);
    for index in next..=applied.index {
        let Some((term, content)) = world.ledger.entry(index) else {
            return;
        };
        let position = LogPosition { term, index };
        match content {
            Content::Commands(body) => {
                if let Err(error) = partition.apply(position, &body) {
                    let text = format!("{process}: entry {index} cannot be applied again: {error}");
                    world.verdict.add(Rule::Shadow, text);
                    return;
                }
            }
            Content::Blank => partition.apply_blank(position),
            Content::Membership(members) => partition.apply_membership(position, members),
        }
    }
    world.ledger.with_model_at(applied.index, |model, is_last| {
        let upto = if is_last {
            DueKey::MAX
        } else {
            model.horizon()
        };
        compare(&world.verdict, process, &partition, model, upto);
    });
}

fn compare(
    verdict: &Verdict,
    process: &Process,
    partition: &Partition<MemoryStore>,
    model: &Model,
    upto: DueKey,
) {
    let stands = (partition.next_offset(), partition.horizon());
    let expected = (model.events.len() as u64, model.horizon());
    if stands != expected {
        verdict.add(
            Rule::Shadow,
            format!("{process} stands at {stands:?}, the log at {expected:?}"),
        );
    }
    progress::check(verdict, process, partition, model);
    let order = model.due_order();
    for (number, topic) in (0..).zip(&model.topics) {
        let expected: Vec<DueKey> = order
            .iter()
            .filter(|key| **key <= upto && model.events[key.offset as usize].topic == *topic)
            .copied()
            .collect();
        compare_topic(
            verdict,
            process,
            partition,
            (number, topic),
            &expected,
            upto,
        );
    }
}

fn compare_topic(
    verdict: &Verdict,
    process: &Process,
    partition: &Partition<MemoryStore>,
    (number, topic): (TopicNumber, &String),
    expected: &[DueKey],
    upto: DueKey,
) {
    let store = partition.store();
    let runs = match released::read(store, PARTITION, number, DueKey::MIN, upto, u64::MAX) {
        Ok(runs) => runs,
        Err(error) => {
            verdict.add(
                Rule::Shadow,
                format!("{process} cannot read its index: {error}"),
            );
            return;
        }
    };
    let found: Vec<DueKey> = (runs.iter())
        .flat_map(|run| {
            let offsets = run.first_offset..run.first_offset + run.count;
            offsets.map(|offset| DueKey::new(run.due_ms, offset))
        })
        .collect();
    if found == expected {
        return;
    }
    if let Some(twice) = found.windows(2).find(|pair| pair[0] >= pair[1]) {
        verdict.add(
            Rule::Replay,
            format!(
                "{process}: the due order of {topic} has {:?} before {:?}",
                twice[0], twice[1]
            ),
        );
    }
    let missing = expected
        .iter()
        .find(|key| found.binary_search(key).is_err());
    let surplus = found
        .iter()
        .find(|key| expected.binary_search(key).is_err());
    if missing.is_some() || surplus.is_some() {
        verdict.add(
            Rule::Shadow,
            format!(
                "{process}: the due order of {topic} lacks {missing:?} and has {surplus:?} besides \
                 what the log says, of {} events up to {upto:?}",
                expected.len()
            ),
        );
    }
}
