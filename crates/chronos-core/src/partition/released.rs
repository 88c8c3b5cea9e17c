//! Reading the index in due order: released events for groups that lag, timers for the wheel.
//!
//! What is in the chunks is what was published; overrides say what was cancelled or moved since.
//!
//! The index does not know when a late event was scheduled, only the due time it was given, so the
//! runs read here have `ready_ms == due_ms`.

use super::effects::Run;
use crate::keys::chunk::{self, Bucket};
use crate::keys::overrides::{self, Override};
use crate::keys::run;
use crate::store::{Family, Store, StoreError};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use crate::wheel::Timer;
use hashbrown::HashSet;
use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range, RangeInclusive};

const DAMAGED_CHUNK: StoreError = StoreError::Damaged {
    family: Family::Chunk,
    reason: "a chunk of scheduled events is malformed",
};
const DAMAGED_RUN: StoreError = StoreError::Damaged {
    family: Family::Run,
    reason: "a run of due events is malformed",
};

const DAMAGED_OVERRIDE: StoreError = StoreError::Damaged {
    family: Family::Override,
    reason: "where an event was moved is malformed",
};

/// Width of the first stretch of time that is read at once, milliseconds. It doubles while little is
/// found, so that a long quiet time costs few steps.
const FIRST_WINDOW_MS: i64 = chunk::BUCKET_MS;

/// The events of a topic with due keys in `(after, upto]`, in due order, until at least `limit`
/// events are found or there are no more.
pub fn read(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    limit: u64,
) -> Result<Vec<Run>, StoreError> {
    let mut found = Vec::new();
    let (mut after, mut window_ms, mut events) = (after, FIRST_WINDOW_MS, 0);
    while after < upto && events < limit {
        let Some(next_ms) = next_ms(store, partition, topic, after, upto)? else {
            break;
        };
        let start = after.max(DueKey::new(next_ms, 0).before());
        let mut end = upto.min(DueKey::new(next_ms.saturating_add(window_ms), u64::MAX));
        let most = limit - events;
        let mut part = Vec::new();
        if read_runs(store, partition, topic, start, end, most, &mut part)? >= most
            && let Some(last) = part.last()
        {
            end = last.last();
        }
        end = read_chunks(store, partition, topic, start, end, most, &mut part)?;
        let from = found.len();
        found.extend(part.into_iter().filter_map(|run| clip(run, start, end)));
        found[from..].sort_unstable_by_key(Run::first);
        merge_neighbours(&mut found, from);
        let read: u64 = found[from..].iter().map(|run| run.count).sum();
        if crate::mutant!("hole-between-windows") {
            end = DueKey::new(end.due_ms.saturating_add(1), end.offset);
        }
        if read <= limit / 4 {
            window_ms = window_ms.saturating_mul(2);
        }
        events += read;
        after = end;
    }
    Ok(found)
}

/// A time at or before that of the first event in `(after, upto]`, and at or after that of `after`;
/// `None` when there is none.
fn next_ms(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
) -> Result<Option<i64>, StoreError> {
    // The last key of a millisecond has nothing above it in there.
    let first_ms = match after.offset {
        u64::MAX => after.due_ms.saturating_add(1),
        _ => after.due_ms,
    };
    let mut next: Option<i64> = None;
    let mut consider = |start_ms: i64| {
        let start_ms = start_ms.max(first_ms);
        next = Some(next.map_or(start_ms, |next: i64| next.min(start_ms)));
    };
    for level in 0..chunk::LEVELS {
        let from = chunk::key(partition, topic, Bucket::holding(level, first_ms), 0);
        let to = chunk::key(
            partition,
            topic,
            Bucket::holding(level, upto.due_ms),
            u64::MAX,
        );
        let mut damaged = false;
        store.scan(Family::Chunk, &from, &to, &mut |key, _| {
            match chunk::decode_key(key) {
                Ok((_, bucket, _)) => consider(bucket.start_ms()),
                Err(_) => damaged = true,
            }
            ControlFlow::Break(())
        })?;
        if damaged {
            return Err(DAMAGED_CHUNK);
        }
    }
    let from = overrides::key(partition, topic, after);
    let to = [&overrides::key(partition, topic, upto)[..], &[0]].concat();
    let mut damaged = false;
    store.scan(Family::Override, &from, &to, &mut |key, value| match (
        overrides::decode_key(key),
        Override::decode(value),
    ) {
        (Ok(_), Ok(Override::Gone)) => ControlFlow::Continue(()),
        (Ok((_, due)), Ok(Override::Here)) => {
            consider(due.due_ms);
            ControlFlow::Break(())
        }
        _ => {
            damaged = true;
            ControlFlow::Break(())
        }
    })?;
    if damaged {
        return Err(DAMAGED_OVERRIDE);
    }
    // The run that holds `after` itself may come first: it gives a time that is early, not late.
    let from = run::key(partition, topic, first_ms, 0);
    let to = run::key(partition, topic, upto.due_ms, u64::MAX);
    let mut damaged = false;
    store.scan(Family::Run, &from, &to, &mut |key, _| {
        match run::decode_key(key) {
            Ok((_, due_ms, _)) => consider(due_ms),
            Err(_) => damaged = true,
        }
        ControlFlow::Break(())
    })?;
    if damaged {
        return Err(DAMAGED_RUN);
    }
    Ok(next)
}

/// Adds the first `most` scheduled events in `(after, upto]`, in no particular order. Returns the key
/// up to which that is all of them.
fn read_chunks(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    most: u64,
    found: &mut Vec<Run>,
) -> Result<DueKey, StoreError> {
    // Chunks overlap, so the first events are known at the end; the rest take no memory meanwhile.
    let mut first = BinaryHeap::new();
    let mut complete_upto = upto;
    let times = after.due_ms..=upto.due_ms;
    visit_scheduled(store, partition, topic, times, &mut |due| {
        if due > after && due <= complete_upto {
            first.push(due);
            if first.len() as u64 > most {
                first.pop();
                complete_upto = first.peek().copied().unwrap_or(after);
            }
        }
    })?;
    found.extend(first.into_iter().map(|due| Run {
        topic,
        due_ms: due.due_ms,
        first_offset: due.offset,
        count: 1,
        ready_ms: due.due_ms,
    }));
    Ok(complete_upto)
}

/// Where a stretch of time differs from what its chunks say.
#[derive(Debug, Default)]
struct Overrides {
    gone: HashSet<DueKey>,
    here: Vec<DueKey>,
}

impl Overrides {
    fn read(
        store: &impl Store,
        partition: PartitionNumber,
        topic: TopicNumber,
        times: &RangeInclusive<i64>,
    ) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let mut damaged = false;
        let from = overrides::key(partition, topic, DueKey::new(*times.start(), 0));
        let to = overrides::key(partition, topic, DueKey::new(*times.end(), u64::MAX));
        store.scan(Family::Override, &from, &to, &mut |key, value| {
            match (overrides::decode_key(key), Override::decode(value)) {
                (Ok((_, due)), Ok(Override::Gone)) => drop(found.gone.insert(due)),
                (Ok((_, due)), Ok(Override::Here)) => found.here.push(due),
                _ => damaged = true,
            }
            if damaged {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if damaged {
            return Err(DAMAGED_OVERRIDE);
        }
        Ok(found)
    }
}

/// Visits every scheduled event due in `times` (Unix ms), and perhaps others: the events of every
/// chunk that may hold one, on every level, without those that were cancelled or moved away, and
/// those that were moved there.
fn visit_scheduled(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    times: RangeInclusive<i64>,
    visit: &mut dyn FnMut(DueKey),
) -> Result<(), StoreError> {
    let overrides = Overrides::read(store, partition, topic, &times)?;
    visit_chunks(store, partition, topic, times, &mut |due| {
        if overrides.gone.is_empty() || !overrides.gone.contains(&due) {
            visit(due);
        }
    })?;
    if !crate::mutant!("moved-not-found") {
        overrides.here.into_iter().for_each(visit);
    }
    Ok(())
}

/// Visits the events of every chunk that may hold one due in `times` (Unix ms), on every level, as
/// they were published.
fn visit_chunks(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    times: RangeInclusive<i64>,
    visit: &mut dyn FnMut(DueKey),
) -> Result<(), StoreError> {
    let levels = chunk::LEVELS - u8::from(crate::mutant!("far-level-not-read"));
    for level in 0..levels {
        let from = chunk::key(partition, topic, Bucket::holding(level, *times.start()), 0);
        let to = chunk::key(
            partition,
            topic,
            Bucket::holding(level, *times.end()),
            u64::MAX,
        );
        let mut damaged = false;
        store.scan(Family::Chunk, &from, &to, &mut |key, value| {
            let read = chunk::decode_key(key).and_then(|(_, bucket, first_offset)| {
                chunk::decode(bucket, first_offset, value, &mut *visit)
            });
            damaged = read.is_err();
            if damaged {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if damaged {
            return Err(DAMAGED_CHUNK);
        }
    }
    Ok(())
}

/// Adds the runs in `(after, upto]`, clipped to it, until `limit` events; returns how many events.
fn read_runs(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    limit: u64,
    found: &mut Vec<Run>,
) -> Result<u64, StoreError> {
    let from = run::key(partition, topic, after.due_ms, 0);
    let to = run::key(partition, topic, upto.due_ms, upto.offset).to_vec();
    let to = [to.as_slice(), &[0]].concat();
    let mut events = 0;
    let mut result = Ok(());
    store.scan(Family::Run, &from, &to, &mut |key, value| {
        let (Ok((_, due_ms, first_offset)), Ok(count)) = (run::decode_key(key), run::decode(value))
        else {
            result = Err(DAMAGED_RUN);
            return ControlFlow::Break(());
        };
        let whole = Run {
            topic,
            due_ms,
            first_offset,
            count,
            ready_ms: due_ms,
        };
        if let Some(clipped) = clip(whole, after, upto) {
            events += clipped.count;
            found.push(clipped);
        }
        if events >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    result.map(|()| events)
}

/// The part of a run within `(after, upto]`.
#[must_use]
pub fn clip(run: Run, after: DueKey, upto: DueKey) -> Option<Run> {
    let mut first = run.first_offset;
    let mut end = run.first_offset + run.count;
    if run.due_ms < after.due_ms || run.due_ms > upto.due_ms {
        return None;
    }
    if run.due_ms == after.due_ms {
        first = first.max(after.offset.saturating_add(1));
    }
    if run.due_ms == upto.due_ms {
        end = end.min(upto.offset.saturating_add(1));
    }
    (first < end).then(|| Run {
        first_offset: first,
        count: end - first,
        ..run
    })
}

/// Joins runs from `from` on that follow each other in offset and share a due time.
fn merge_neighbours(runs: &mut Vec<Run>, from: usize) {
    let mut kept = from;
    for i in from..runs.len() {
        let run = runs[i];
        if kept > from {
            let last = &mut runs[kept - 1];
            if last.due_ms == run.due_ms && last.first_offset + last.count == run.first_offset {
                last.count += run.count;
                continue;
            }
        }
        runs[kept] = run;
        kept += 1;
    }
    runs.truncate(kept);
}

/// Visits every scheduled event of a topic that is due in the finest level's `buckets` (`from..to`),
/// in no particular order.
pub fn scheduled(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    buckets: Range<i64>,
    visit: &mut dyn FnMut(Timer),
) -> Result<(), StoreError> {
    if buckets.is_empty() {
        return Ok(());
    }
    let times = chunk::bucket_start_ms(buckets.start)..=chunk::bucket_start_ms(buckets.end);
    visit_scheduled(store, partition, topic, times, &mut |due| {
        if buckets.contains(&chunk::bucket_of(due.due_ms)) {
            visit(Timer {
                due_ms: due.due_ms,
                topic,
                offset: due.offset,
            });
        }
    })
}

/// Visits every scheduled event of a topic with a due key in `(after, upto]`, in no particular order.
pub fn visit(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    visit: &mut dyn FnMut(DueKey),
) -> Result<(), StoreError> {
    if after >= upto {
        return Ok(());
    }
    let times = after.due_ms..=upto.due_ms;
    visit_scheduled(store, partition, topic, times, &mut |due| {
        if due > after && due <= upto {
            visit(due);
        }
    })
}

/// How many scheduled events of a topic have due keys in `(after, upto]`.
pub fn count_scheduled(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
) -> Result<u64, StoreError> {
    let mut count = 0;
    visit(store, partition, topic, after, upto, &mut |_| count += 1)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_runs_to_a_stretch() {
        let run = Run {
            topic: 0,
            due_ms: 10,
            first_offset: 5,
            count: 4,
            ready_ms: 10,
        };
        let clipped = |after, upto| clip(run, after, upto).map(|run| (run.first_offset, run.count));
        assert_eq!(clipped(DueKey::MIN, DueKey::MAX), Some((5, 4)));
        assert_eq!(
            clipped(DueKey::new(10, 5), DueKey::new(10, 7)),
            Some((6, 2))
        );
        assert_eq!(clipped(DueKey::new(10, 8), DueKey::MAX), None);
        assert_eq!(clipped(DueKey::MIN, DueKey::new(9, 100)), None);
        assert_eq!(
            clipped(DueKey::new(9, u64::MAX), DueKey::new(10, 5)),
            Some((5, 1))
        );
    }
}
