//! Topics that keep their events for another time than the node, or up to a size.

use super::RetentionError;
use super::source::Source;
use crate::engine::clock;
use crate::engine::message::Handle;
use crate::engine::topics::{Map, Topic};
use chronos_core::catalog::topics::Field;
use chronos_core::partition::live::{Keep, View};
use chronos_core::types::TopicNumber;
use chronos_store::RocksStore;
use std::sync::Arc;

/// Events of a topic whose sizes are looked at, to say how large the others are.
const SAMPLES: u64 = 48;

/// Adds the rules of the partition's topics to the node's.
pub(super) fn apply(
    handle: &Handle,
    store: &RocksStore,
    topics: &Map,
    view: &View,
    keep: &mut Keep,
) -> Result<(), RetentionError> {
    for (number, topic) in of_partition(handle, topics) {
        let mut since_ms = keep.since_ms;
        if let Some(age_ms) = topic.get(Field::RetentionAgeMs) {
            since_ms = clock::now_ms().saturating_sub_unsigned(age_ms);
            keep.by_topic.insert(number, since_ms);
        }
        if let Some(bytes) = topic.get(Field::RetentionBytes) {
            // A topic is in several partitions; each has its share.
            let bytes = bytes / u64::from(topic.spread(handle.partitions)).max(1);
            let all = view.surplus(store, number, since_ms, 0)?;
            let mut source = Source::new(&handle.events);
            let (mut sampled, mut sampled_bytes) = (0, 0);
            let step = (all.len() / SAMPLES).max(1);
            for offset in (0..all.len())
                .step_by(step as usize)
                .filter_map(|at| all.select(at))
            {
                // What cannot be read says nothing of sizes.
                if let Ok(batch) = handle.events.batch_of(offset)
                    && let Ok(stored) = source.stored_bytes(&batch, offset)
                {
                    sampled += 1;
                    sampled_bytes += stored;
                }
            }
            if let Some(most) = (bytes * sampled).checked_div(sampled_bytes) {
                keep.surplus |= view.surplus(store, number, since_ms, most)?;
            }
        }
    }
    Ok(())
}

/// The topics of a partition that were created.
fn of_partition(handle: &Handle, topics: &Map) -> Vec<(TopicNumber, Arc<Topic>)> {
    let state = handle.state.lock();
    let created = |number: TopicNumber| {
        let topic = topics.get(state.topics().name(number)?)?;
        Some((number, Arc::clone(topic)))
    };
    (0..state.topics().len() as TopicNumber)
        .filter_map(created)
        .collect()
}
