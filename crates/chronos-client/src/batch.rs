//! Publishing many events.

use std::collections::BTreeMap;

use bytes::Bytes;
use chronos_proto::cronos_db::{Event, PublishBatchResponse};
use chronos_proto::raw::PublishBatchRequest;
use futures::future::join_all;
use prost::Message;

use crate::client::Answer;
use crate::{Client, Error, partition_of, routing_key};

/// Most bytes of events in one request; leaves room below the 16 MiB message limit for one
/// event more than fits.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Most events in one request.
const MAX_REQUEST_EVENTS: usize = 10_000;

/// What became of one event of a batch. The wire reports counts per request, so it is known
/// for each event only where all events of its request fared alike.
#[derive(Clone, Debug)]
pub enum EventOutcome {
    /// Stored by this call.
    Stored {
        /// The partition that took it.
        partition_id: u32,
        /// Position in the partition, from 0.
        offset: u64,
    },
    /// Stored, but not known where: an earlier try of this call got no answer.
    StoredEarlier,
    /// Its id was stored before this call.
    Duplicate,
    /// Refused; the text is that of the first refused event of its request.
    Rejected(String),
    /// One of several in a request that fared differently; [`BatchOutcome`] has the counts.
    /// Publishing it again with the same id is safe, and tells.
    Unclear,
    /// Its request failed, and may have taken effect or not.
    Failed(Error),
}

/// What became of a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchOutcome {
    /// Per event, in the order given.
    pub events: Vec<EventOutcome>,
    /// How many events were stored by this call.
    pub stored: usize,
    /// How many events had a known id; after a try without answer, stored ones are among them.
    pub duplicates: usize,
    /// How many events were refused.
    pub rejected: usize,
    /// How many events were in requests that failed.
    pub failed: usize,
    /// The first failure or refusal.
    pub first_error: Option<Error>,
}

impl BatchOutcome {
    /// True when every event is stored, now or before.
    pub fn is_complete(&self) -> bool {
        self.rejected == 0 && self.failed == 0
    }

    fn add(&mut self, part: Part, answer: Result<Answer<PublishBatchResponse>, Error>) {
        let count = part.positions.len();
        match answer {
            Ok(answer) => {
                let response = &answer.value;
                self.stored += count_of(response.published_count);
                self.duplicates += count_of(response.duplicate_count);
                self.rejected += count_of(response.error_count);
                if response.error_count > 0 && self.first_error.is_none() {
                    self.first_error = Some(Error::rejected(response.error.clone()));
                }
                for (nth, position) in part.positions.into_iter().enumerate() {
                    self.events[position] = outcome(part.partition_id, count, nth, &answer);
                }
            }
            Err(error) => {
                self.failed += count;
                for position in part.positions {
                    self.events[position] = EventOutcome::Failed(error.clone());
                }
                self.first_error.get_or_insert(error);
            }
        }
    }
}

/// One request: events of one partition, in the order given.
#[derive(Default)]
struct Part {
    partition_id: u32,
    positions: Vec<usize>,
    events: Vec<Bytes>,
    bytes: usize,
}

impl Client {
    /// Stores many events, of any topics and keys, with one or more requests per partition,
    /// which run side by side. Returns when all are answered.
    pub async fn publish_batch(
        &self,
        events: impl IntoIterator<Item = impl Into<Event>>,
    ) -> BatchOutcome {
        let parts = split(events.into_iter().map(Into::into), self.partition_count());
        let positions: usize = parts.iter().map(|part| part.positions.len()).sum();
        let mut outcome = BatchOutcome {
            events: vec![EventOutcome::Unclear; positions],
            ..BatchOutcome::default()
        };
        let answers = join_all(parts.into_iter().map(|part| async move {
            let answer = self.publish_part(&part).await;
            (part, answer)
        }))
        .await;
        for (part, answer) in answers {
            outcome.add(part, answer);
        }
        outcome
    }

    async fn publish_part(&self, part: &Part) -> Result<Answer<PublishBatchResponse>, Error> {
        self.call(Some(part.partition_id), |channel| {
            let mut client = self.raw_events(channel);
            let request = PublishBatchRequest {
                past: 0,
                events: part.events.clone(),
                allow_duplicate: false,
            };
            async move { client.publish_batch(request).await }
        })
        .await
    }
}

fn split(events: impl Iterator<Item = Event>, partition_count: u32) -> Vec<Part> {
    let mut full = Vec::new();
    let mut open: BTreeMap<u32, Part> = BTreeMap::new();
    for (position, event) in events.enumerate() {
        let partition_id = partition_of(routing_key(&event), partition_count);
        let event = Bytes::from(event.encode_to_vec());
        let part = open.entry(partition_id).or_default();
        if part.events.len() >= MAX_REQUEST_EVENTS
            || (!part.events.is_empty() && part.bytes + event.len() > MAX_REQUEST_BYTES)
        {
            full.push(std::mem::take(part));
        }
        part.partition_id = partition_id;
        part.positions.push(position);
        part.bytes += event.len();
        part.events.push(event);
    }
    full.extend(open.into_values());
    full
}

fn count_of(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}

fn outcome(
    partition_id: u32,
    count: usize,
    nth: usize,
    answer: &Answer<PublishBatchResponse>,
) -> EventOutcome {
    let response = &answer.value;
    if count_of(response.published_count) == count {
        // Offsets of one partition are contiguous in request order when all were stored.
        match u64::try_from(response.first_offset) {
            Ok(first) => EventOutcome::Stored {
                partition_id,
                offset: first + nth as u64,
            },
            Err(_) => EventOutcome::StoredEarlier,
        }
    } else if count_of(response.duplicate_count) == count {
        if answer.retried_uncertain {
            EventOutcome::StoredEarlier
        } else {
            EventOutcome::Duplicate
        }
    } else if count_of(response.error_count) == count {
        EventOutcome::Rejected(response.error.clone())
    } else {
        EventOutcome::Unclear
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::NewEvent;
    use crate::fake::{Fake, PublishStep};

    fn events(ids: std::ops::Range<usize>) -> Vec<NewEvent> {
        ids.map(|id| NewEvent::new("t", format!("id-{id}"), "p"))
            .collect()
    }

    #[tokio::test]
    async fn every_event_gets_its_own_partition_and_offset() {
        let fake = Fake::start(4).await;
        let client = fake.client().await;
        let outcome = client.publish_batch(events(0..100)).await;
        assert!(outcome.is_complete());
        assert_eq!((outcome.stored, outcome.events.len()), (100, 100));
        for (id, outcome) in outcome.events.iter().enumerate() {
            let EventOutcome::Stored {
                partition_id,
                offset,
            } = outcome
            else {
                panic!("{id}: {outcome:?}");
            };
            assert_eq!(*partition_id, partition_of(&format!("id-{id}"), 4));
            let stored = fake.stored_at(*partition_id, *offset).unwrap();
            assert_eq!(stored.message_id, format!("id-{id}"));
        }
    }

    #[tokio::test]
    async fn counts_are_told_where_events_cannot_be() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        client.publish_batch(events(0..2)).await;
        let again = client.publish_batch(events(0..2)).await;
        assert!(matches!(
            again.events[..],
            [EventOutcome::Duplicate, EventOutcome::Duplicate]
        ));
        assert!(again.is_complete());

        let mut mixed = events(1..3);
        mixed.push(NewEvent::new("t", "", "p"));
        let mixed = client.publish_batch(mixed).await;
        assert_eq!((mixed.stored, mixed.duplicates, mixed.rejected), (1, 1, 1));
        assert!(
            mixed
                .events
                .iter()
                .all(|o| matches!(o, EventOutcome::Unclear))
        );
        assert!(matches!(mixed.first_error, Some(Error::Rejected(_))));
        assert!(!mixed.is_complete());
    }

    #[tokio::test]
    async fn duplicates_after_an_uncertain_try_are_stored_earlier() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        fake.script_publish([PublishStep::StoreThenFail(Status::unavailable("gone"))]);
        let outcome = client.publish_batch(events(0..3)).await;
        assert!(
            outcome
                .events
                .iter()
                .all(|o| matches!(o, EventOutcome::StoredEarlier))
        );
    }

    #[tokio::test]
    async fn a_failed_request_fails_its_events() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        fake.script_publish([PublishStep::Fail(Status::permission_denied("no"))]);
        let outcome = client.publish_batch(events(0..2)).await;
        assert_eq!(outcome.failed, 2);
        assert!(matches!(outcome.events[1], EventOutcome::Failed(_)));
    }

    #[test]
    fn requests_stay_within_their_limits() {
        let big = |id: usize| Event {
            message_id: id.to_string(),
            payload: vec![0; 3 * 1024 * 1024].into(),
            ..Event::default()
        };
        let parts = split((0..5).map(big), 1);
        assert_eq!(
            parts.iter().map(|p| p.events.len()).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        let small = |id: usize| Event {
            message_id: id.to_string(),
            ..Event::default()
        };
        let parts = split((0..MAX_REQUEST_EVENTS + 1).map(small), 1);
        assert_eq!(parts.len(), 2);
        assert!(split(std::iter::empty(), 1).is_empty());
    }
}
