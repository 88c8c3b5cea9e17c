//! Reading the index in due order: released events for groups that lag, timers for the wheel.
//!
//! The index does not know when a late event was scheduled, only the due time it was given, so the
//! runs read here have `ready_ms == due_ms`.

use super::effects::Run;
use crate::keys::{chunk, run};
use crate::store::{Family, Store, StoreError};
use crate::types::{DueKey, PartitionNumber, TopicNumber};
use crate::wheel::Timer;
use std::ops::ControlFlow;

const DAMAGED_CHUNK: StoreError = StoreError::Damaged {
    family: Family::Chunk,
    reason: "a chunk of scheduled events is malformed",
};
const DAMAGED_RUN: StoreError = StoreError::Damaged {
    family: Family::Run,
    reason: "a run of due events is malformed",
};

/// The events of a topic with due keys in `(after, upto]`, in due order, until at least `limit`
/// events are found or there are no more. One time bucket of scheduled events is held in memory.
pub fn read(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    limit: u64,
) -> Result<Vec<Run>, StoreError> {
    let mut found = Vec::new();
    let mut after = after;
    while after < upto {
        // The next bucket that holds anything scheduled bounds how far runs may be taken alone.
        let bucket = next_bucket(store, partition, topic, after, upto)?;
        let before_bucket = match bucket {
            Some(bucket) => upto.min(DueKey::new(chunk::bucket_start_ms(bucket), 0).before()),
            None => upto,
        };
        if after < before_bucket {
            let count = read_runs(
                store,
                partition,
                topic,
                after,
                before_bucket,
                limit,
                &mut found,
            )?;
            if count >= limit {
                return Ok(found);
            }
            after = before_bucket;
        }
        let Some(bucket) = bucket else {
            return Ok(found);
        };
        let last_bucket = bucket >= chunk::bucket_of(i64::MAX);
        let end = match last_bucket {
            true => upto,
            false => upto.min(DueKey::new(chunk::bucket_start_ms(bucket + 1), 0).before()),
        };
        let from = found.len();
        read_bucket(store, partition, topic, bucket, after, end, &mut found)?;
        read_runs(store, partition, topic, after, end, u64::MAX, &mut found)?;
        found[from..].sort_unstable_by_key(Run::first);
        merge_neighbours(&mut found, from);
        if found.iter().map(|run| run.count).sum::<u64>() >= limit {
            return Ok(found);
        }
        after = end;
    }
    Ok(found)
}

/// The first bucket that holds scheduled events and may hold one in `(after, upto]`.
fn next_bucket(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
) -> Result<Option<i64>, StoreError> {
    // The last key of a bucket has nothing above it in there.
    let first_ms = match after.offset {
        u64::MAX => after.due_ms.saturating_add(1),
        _ => after.due_ms,
    };
    let from = chunk::key(partition, topic, chunk::bucket_of(first_ms), 0);
    let to = chunk::key(partition, topic, chunk::bucket_of(upto.due_ms), u64::MAX);
    let mut bucket = Ok(None);
    // A chunk whose last event is at or below `after` may come first; the caller then finds nothing
    // in its bucket and asks again from the next one.
    store.scan(Family::Chunk, &from, &to, &mut |key, _| {
        bucket = chunk::decode_key(key)
            .map(|(_, bucket, _)| Some(bucket))
            .map_err(|_| DAMAGED_CHUNK);
        ControlFlow::Break(())
    })?;
    bucket
}

fn read_bucket(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    bucket: i64,
    after: DueKey,
    upto: DueKey,
    found: &mut Vec<Run>,
) -> Result<(), StoreError> {
    let (from, to) = (
        chunk::key(partition, topic, bucket, 0),
        chunk::key(partition, topic, bucket, u64::MAX),
    );
    let mut result = Ok(());
    store.scan(Family::Chunk, &from, &to, &mut |key, value| {
        let read = chunk::decode_key(key).and_then(|(_, bucket, first_offset)| {
            chunk::decode(bucket, first_offset, value, |due| {
                if due > after && due <= upto {
                    found.push(Run {
                        topic,
                        due_ms: due.due_ms,
                        first_offset: due.offset,
                        count: 1,
                        ready_ms: due.due_ms,
                    });
                }
            })
        });
        match read {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                result = Err(DAMAGED_CHUNK);
                ControlFlow::Break(())
            }
        }
    })?;
    result
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
    let mut events = found.iter().map(|run| run.count).sum();
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

/// Visits every scheduled event of a topic whose bucket is in `buckets` (`from..to`), in no
/// particular order.
pub fn scheduled(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    buckets: std::ops::Range<i64>,
    visit: &mut dyn FnMut(Timer),
) -> Result<(), StoreError> {
    let from = chunk::key(partition, topic, buckets.start, 0);
    let to = chunk::key(partition, topic, buckets.end, 0);
    let mut result = Ok(());
    store.scan(Family::Chunk, &from, &to, &mut |key, value| {
        let read = chunk::decode_key(key).and_then(|(topic, bucket, first_offset)| {
            chunk::decode(bucket, first_offset, value, |due| {
                visit(Timer {
                    due_ms: due.due_ms,
                    topic,
                    offset: due.offset,
                });
            })
        });
        match read {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                result = Err(DAMAGED_CHUNK);
                ControlFlow::Break(())
            }
        }
    })?;
    result
}

/// How many scheduled events of a topic have due keys in `(after, upto]`.
pub fn count_scheduled(
    store: &impl Store,
    partition: PartitionNumber,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
) -> Result<u64, StoreError> {
    if after >= upto {
        return Ok(0);
    }
    let buckets = chunk::bucket_of(after.due_ms)..chunk::bucket_of(upto.due_ms).saturating_add(1);
    let mut count = 0;
    scheduled(store, partition, topic, buckets, &mut |timer| {
        let key = DueKey::new(timer.due_ms, timer.offset);
        count += u64::from(key > after && key <= upto);
    })?;
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
