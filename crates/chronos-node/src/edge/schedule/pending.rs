//! Reading what is pending: pages in due order, and how many by time.

use crate::engine::{Handle, ReadError};
use chronos_core::partition::released;
use chronos_core::store::{Store, StoreError};
use chronos_core::types::{DueKey, PartitionNumber, TopicNumber};
use chronos_proto::cronos_db::ScheduledEvent;
use chronos_proto::raw::scan_event;
use prost::Message;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events looked at for one page, whether they match or not: a page must not take for ever.
const MOST_LOOKED_AT: usize = 20_000;

/// A place in the order in which the events of all partitions fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When, Unix milliseconds.
    pub due_ms: i64,
    /// At the same time, partitions follow each other.
    pub partition: PartitionNumber,
    /// Within a partition, offsets do.
    pub offset: u64,
}

impl Place {
    /// As a page token.
    pub fn token(self) -> String {
        let Self {
            due_ms,
            partition,
            offset,
        } = self;
        format!("{due_ms}:{partition}:{offset}")
    }

    /// Reads a page token.
    pub fn from_token(token: &str) -> Option<Self> {
        let mut parts = token.split(':');
        let place = Self {
            due_ms: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    /// The due key in a partition up to which everything comes before this place or is it.
    fn in_partition(self, partition: PartitionNumber) -> DueKey {
        match partition.cmp(&self.partition) {
            std::cmp::Ordering::Less => DueKey::new(self.due_ms, u64::MAX),
            std::cmp::Ordering::Equal => DueKey::new(self.due_ms, self.offset),
            std::cmp::Ordering::Greater => DueKey::new(self.due_ms, 0).before(),
        }
    }
}

/// Which pending events.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Their topic.
    pub topic: String,
    /// Above this key.
    pub after: DueKey,
    /// Up to this key.
    pub upto: DueKey,
    /// With this routing key.
    pub key: Option<String>,
    /// With an id that begins like this.
    pub prefix: Option<String>,
}

impl Filter {
    /// Whether events must be read to know if they match.
    pub fn reads_events(&self) -> bool {
        self.key.is_some() || self.prefix.is_some()
    }

    /// The topic's number in a partition, and the stretch of pending events there.
    pub fn stretch(&self, handle: &Handle) -> Option<(TopicNumber, DueKey, DueKey)> {
        let state = handle.state.lock();
        let topic = state.topics().get(self.topic.as_bytes())?;
        Some((topic, self.after.max(state.horizon()), self.upto))
    }

    /// Those of `offsets` that match, in their order. What is no longer stored does not.
    pub fn matching(&self, handle: &Handle, offsets: &[u64]) -> Result<Vec<u64>, ReadError> {
        if !self.reads_events() {
            return Ok(offsets.to_vec());
        }
        let (mut matching, mut failed) = (Vec::new(), None);
        handle
            .events
            .read(offsets, &mut |offset, event| match event {
                Ok(event) if self.matches(&event.body) => matching.push(offset),
                Ok(_) | Err(ReadError::Missing { .. }) => {}
                Err(error) => failed = failed.take().or(Some(error)),
            });
        failed.map_or(Ok(matching), Err)
    }

    fn matches(&self, body: &[u8]) -> bool {
        scan_event(body).is_ok_and(|fields| {
            let key = self.key.as_ref();
            let prefix = self.prefix.as_ref();
            key.is_none_or(|key| fields.routing_key() == key)
                && prefix.is_none_or(|prefix| fields.message_id.starts_with(prefix.as_str()))
        })
    }
}

/// Due keys of a topic in `(after, upto]` in due order, about `limit` of them.
pub fn due_keys(
    store: &impl Store,
    partition: PartitionNumber,
    stretch: (TopicNumber, DueKey, DueKey),
    limit: u64,
) -> Result<Vec<DueKey>, StoreError> {
    let (topic, after, upto) = stretch;
    let runs = released::read(store, partition, topic, after, upto, limit)?;
    Ok(runs
        .iter()
        .flat_map(|run| {
            (run.first_offset..run.first_offset + run.count)
                .map(|offset| DueKey::new(run.due_ms, offset))
        })
        .collect())
}

/// A page: the places of events that match, in order, and where the next page begins.
pub struct Page {
    /// The events.
    pub places: Vec<Place>,
    /// The place after which the next page begins; `None` when there is nothing more.
    pub next: Option<Place>,
}

/// A page ends with the event that makes it this large: with that event it still fits into a message.
pub const PAGE_BYTES: usize = 8 << 20;

/// What events take in an answer.
pub fn bytes(events: &[ScheduledEvent]) -> usize {
    events.iter().map(Message::encoded_len).sum()
}

/// How many of these events, at least one, fit into a page.
pub fn fitting(events: &[ScheduledEvent]) -> usize {
    let mut bytes = 0;
    let full = events.iter().position(|event| {
        bytes += event.encoded_len();
        bytes >= PAGE_BYTES
    });
    full.map_or(events.len(), |last| last + 1)
}

/// Reads a page of at most `size` events after `after`. Blocks on the index and the log.
pub fn page(
    partitions: &[Handle],
    store: &impl Store,
    filter: &Filter,
    after: Option<Place>,
    size: usize,
) -> Result<Page, ReadError> {
    let (mut places, mut after, mut looked_at) = (Vec::new(), after, 0);
    loop {
        // With a filter, more are looked at than are wanted.
        let want = match filter.reads_events() {
            true => size.max(256),
            false => size - places.len() + 1,
        };
        let some = next_places(partitions, store, filter, after, want)?;
        let is_end = some.len() < want;
        looked_at += some.len();
        for handle in partitions {
            let offsets: Vec<u64> = (some.iter())
                .filter(|place| place.partition == handle.number)
                .map(|place| place.offset)
                .collect();
            let matching = filter.matching(handle, &offsets)?;
            let mut matching = matching.into_iter().peekable();
            // Both lists are in due order.
            places.extend(some.iter().filter(|place| {
                place.partition == handle.number
                    && matching.next_if(|offset| *offset == place.offset).is_some()
            }));
        }
        let from = places.partition_point(|place| after.is_some_and(|after| *place <= after));
        places[from..].sort_unstable();
        if places.len() > size {
            places.truncate(size);
            let next = places.last().copied();
            return Ok(Page { places, next });
        }
        after = some.last().copied().or(after);
        if is_end {
            return Ok(Page { places, next: None });
        }
        if looked_at >= MOST_LOOKED_AT {
            return Ok(Page {
                places,
                next: after,
            });
        }
    }
}

/// The next `want` events of the topic in every partition together, whatever else the filter says.
fn next_places(
    partitions: &[Handle],
    store: &impl Store,
    filter: &Filter,
    after: Option<Place>,
    want: usize,
) -> Result<Vec<Place>, ReadError> {
    let mut first = BinaryHeap::new();
    for handle in partitions {
        let Some((topic, from, upto)) = filter.stretch(handle) else {
            continue;
        };
        let from = after.map_or(from, |after| from.max(after.in_partition(handle.number)));
        let due = due_keys(store, handle.number, (topic, from, upto), want as u64)?;
        first.extend(due.into_iter().take(want).map(|due| {
            Reverse(Place {
                due_ms: due.due_ms,
                partition: handle.number,
                offset: due.offset,
            })
        }));
    }
    Ok(
        std::iter::from_fn(|| first.pop().map(|Reverse(place)| place))
            .take(want)
            .collect(),
    )
}

/// Pending events by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Unix milliseconds.
    pub from_ms: i64,
    /// Milliseconds.
    pub bucket_ms: i64,
    /// By bucket.
    pub counts: Vec<i64>,
    /// Before the first bucket.
    pub before: i64,
}

impl Histogram {
    /// Adds the pending events of one topic in one partition. Blocks on the index.
    pub fn add(
        &mut self,
        store: &impl Store,
        partition: PartitionNumber,
        topic: TopicNumber,
        horizon: DueKey,
    ) -> Result<(), StoreError> {
        let last = (self.counts.len() as i64).saturating_mul(self.bucket_ms);
        let upto = DueKey::new(self.from_ms.saturating_add(last), 0).before();
        released::visit(
            store,
            partition,
            topic,
            horizon,
            upto,
            &mut |due| match usize::try_from((due.due_ms - self.from_ms).div_euclid(self.bucket_ms))
            {
                Ok(bucket) => self.counts[bucket] += 1,
                Err(_) => self.before += 1,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_come_back_and_others_are_refused() {
        let place = Place {
            due_ms: -5,
            partition: 3,
            offset: u64::MAX,
        };
        assert_eq!(Place::from_token(&place.token()), Some(place));
        for bad in ["", "1", "1:2", "1:2:3:4", "a:b:c", "1:-2:3"] {
            assert_eq!(Place::from_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_place_divides_every_partition() {
        let place = Place {
            due_ms: 10,
            partition: 1,
            offset: 7,
        };
        assert_eq!(place.in_partition(0), DueKey::new(10, u64::MAX));
        assert_eq!(place.in_partition(1), DueKey::new(10, 7));
        assert_eq!(place.in_partition(2), DueKey::new(9, u64::MAX));
    }
}
