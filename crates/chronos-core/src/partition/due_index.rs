//! Writing what one entry accepted to the index: where the events stand, and when they fall due.

use super::publish::Accepting;
use crate::command;
use crate::keys::chunk::{self, Bucket};
use crate::keys::{batch, run};
use crate::store::{Family, WriteBatch};
use crate::types::{DueKey, PartitionNumber};

/// One record for the entry, one for each run of events due on arrival, one for each time bucket of
/// each topic that events were scheduled into.
pub(super) fn write(
    partition: PartitionNumber,
    log_index: u64,
    entry: &command::Batch<'_>,
    accepted: &mut Accepting,
    writes: &mut WriteBatch,
) -> Option<batch::Batch> {
    if accepted.spans.is_empty() {
        return None;
    }
    let record = batch::Batch {
        first_offset: accepted.first_offset,
        log_index,
        now_ms: entry.now_ms,
        term: entry.term,
        schedule_ms: accepted.schedule_ms,
        spans: std::mem::take(&mut accepted.spans),
    };
    writes.put(
        Family::Batch,
        batch::key(partition, accepted.first_offset),
        record.encode(),
    );

    for due in &accepted.runs {
        let key = run::key(partition, due.topic, due.due_ms, due.first_offset);
        writes.put(Family::Run, key, run::encode(due.count));
    }

    if crate::mutant!("forget-far-on-publish") {
        return Some(record);
    }
    accepted
        .timers
        .sort_unstable_by_key(|timer| (timer.topic, timer.due_ms, timer.offset));
    let bucket_of = |timer: &crate::wheel::Timer| Bucket::accepting(timer.due_ms, entry.now_ms);
    let same_chunk = |a: &crate::wheel::Timer, b: &crate::wheel::Timer| {
        a.topic == b.topic && bucket_of(a) == bucket_of(b)
    };
    let mut due = Vec::new();
    for timers in accepted.timers.chunk_by(same_chunk) {
        due.clear();
        due.extend(
            timers
                .iter()
                .map(|timer| DueKey::new(timer.due_ms, timer.offset)),
        );
        let (topic, bucket) = (timers[0].topic, bucket_of(&timers[0]));
        let key = chunk::key(partition, topic, bucket, accepted.first_offset);
        writes.put(
            Family::Chunk,
            key,
            chunk::encode(bucket, accepted.first_offset, &due),
        );
    }
    Some(record)
}
