//! A publisher: single events and batches, duplicates, refusals, and retries of what is unknown.

use std::collections::BTreeMap;
use std::ops::Range;

use chronos_proto::cronos_db::{
    Event, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse,
};
use tonic::{Code, Status};

use crate::client::Client;
use crate::history::{Moment, Op, Outcome, Publish, Reply, wall_ms};
use crate::random::Random;
use crate::routing;

use super::{ANSWER_WITHIN, Run};

/// What a publisher does.
#[derive(Clone, Debug)]
pub struct PublishPlan {
    /// Begins every message id; no two publishers of a run share it.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// How many events.
    pub events: usize,
    /// When they fall due, in milliseconds from their publish.
    pub due_in_ms: Range<i64>,
    /// How many of 100 calls are batches.
    pub batch_percent: u64,
    /// The greatest batch.
    pub batch_events: u64,
    /// How many of 100 events are published a second time.
    pub duplicate_percent: u64,
    /// How many of 100 events are first sent in a form that must be refused.
    pub refused_percent: u64,
    /// The greatest payload.
    pub payload_bytes: u64,
    /// Times are rounded up to a multiple of this, so that events fall due together.
    pub round_ms: i64,
    /// How many of 100 events have a priority.
    pub priority_percent: u64,
    /// How many of 100 events expire a millisecond after their time.
    pub fleeting_percent: u64,
    /// How many of 100 events expire an hour after their time.
    pub lasting_percent: u64,
}

impl Default for PublishPlan {
    fn default() -> Self {
        Self {
            name: "p".into(),
            topic: "t".into(),
            events: 100,
            due_in_ms: 0..1_000,
            batch_percent: 30,
            batch_events: 20,
            duplicate_percent: 5,
            refused_percent: 5,
            payload_bytes: 300,
            round_ms: 1,
            priority_percent: 0,
            fleeting_percent: 0,
            lasting_percent: 0,
        }
    }
}

/// Publishes as planned. What ends in doubt is retried until the server answers, so that at the end
/// nothing is in doubt but what a crash left so.
pub async fn publish(run: Run, plan: PublishPlan) {
    let mut publisher = Publisher {
        process: run.process(),
        client: run.client(),
        random: Random::new(run.seed ^ routing::fnv1a_64(plan.name.as_bytes())),
        batches: 0,
        run,
    };
    let mut published = 0;
    while published < plan.events {
        let left = (plan.events - published) as u64;
        let size = if publisher.random.chance(plan.batch_percent) {
            publisher
                .random
                .range(2, plan.batch_events.max(2) + 1)
                .min(left)
        } else {
            1
        };
        let events: Vec<Event> = (0..size)
            .map(|step| publisher.event(&plan, published + step as usize))
            .collect();
        published += events.len();
        if let [event] = events.as_slice() {
            if publisher.random.chance(plan.refused_percent) {
                let broken = Event {
                    payload: Default::default(),
                    ..event.clone()
                };
                publisher.until_answered(&broken).await;
            }
            publisher.until_answered(event).await;
            if publisher.random.chance(plan.duplicate_percent) {
                publisher.until_answered(event).await;
            }
        } else {
            publisher.batch_until_answered(&events).await;
        }
    }
}

struct Publisher {
    process: u32,
    client: Client,
    random: Random,
    batches: u64,
    run: Run,
}

impl Publisher {
    fn event(&mut self, plan: &PublishPlan, number: usize) -> Event {
        let due_in_ms = self
            .random
            .range(0, plan.due_in_ms.end.abs_diff(plan.due_in_ms.start));
        let mut meta = BTreeMap::new();
        if self.random.chance(50) {
            meta.insert(
                "partition_key".to_string(),
                format!("key {}", self.random.range(0, 7)),
            );
        }
        let len = self.random.range(1, plan.payload_bytes.max(1) + 1);
        let due_ms = (wall_ms() + plan.due_in_ms.start)
            .saturating_add_unsigned(due_in_ms)
            .max(1);
        let schedule_ts = due_ms + (plan.round_ms - due_ms % plan.round_ms) % plan.round_ms;
        let mut priority = 0;
        if plan.priority_percent > 0 && self.random.chance(plan.priority_percent) {
            priority = i32::try_from(self.random.range(1, 10)).unwrap_or(1);
        }
        let lasts = match plan.fleeting_percent + plan.lasting_percent {
            0 => 100,
            _ => self.random.range(0, 100),
        };
        let expires_at = if lasts < plan.fleeting_percent {
            schedule_ts + 1
        } else if lasts < plan.fleeting_percent + plan.lasting_percent {
            schedule_ts + 3_600_000
        } else {
            0
        };
        Event {
            message_id: format!("{}-{number}", plan.name),
            topic: plan.topic.clone(),
            schedule_ts,
            priority,
            expires_at,
            payload: self.random.bytes(usize::try_from(len).unwrap_or(1)).into(),
            meta,
            ..Event::default()
        }
    }

    async fn until_answered(&mut self, event: &Event) {
        loop {
            let called = self.run.recorder.now();
            let request = PublishRequest {
                event: Some(event.clone()),
                allow_duplicate: false,
                ..Default::default()
            };
            let mut events = self.client.events.clone();
            let result = answer(events.publish(request)).await;
            match single_reply(result) {
                Some(reply) => return self.write(event, None, called, Some(reply)),
                None => self.write(event, None, called, None),
            }
            self.client = self.run.reachable().await;
        }
    }

    /// A batch whose outcome is unknown is retried as single events, so that each gets its answer.
    async fn batch_until_answered(&mut self, events: &[Event]) {
        self.batches += 1;
        let batch = Some((u64::from(self.process) << 32) | self.batches);
        let called = self.run.recorder.now();
        let request = PublishBatchRequest {
            events: events.to_vec(),
            allow_duplicate: false,
            ..Default::default()
        };
        let mut client = self.client.events.clone();
        let result = answer(client.publish_batch(request)).await;
        let replies = self.batch_replies(events, result);
        for (event, reply) in events.iter().zip(&replies) {
            self.write(event, batch, called, reply.clone());
        }
        if replies.iter().any(Option::is_none) {
            self.client = self.run.reachable().await;
            for event in events {
                self.until_answered(event).await;
            }
        }
    }

    fn batch_replies(
        &self,
        events: &[Event],
        result: Result<PublishBatchResponse, Status>,
    ) -> Vec<Option<Reply>> {
        let partition = |event: &Event| {
            let key = event.meta.get("partition_key").map_or("", String::as_str);
            routing::partition(key, &event.message_id, self.run.settings.partition_count)
        };
        let all_stored = match &result {
            Ok(response) => usize::try_from(response.published_count) == Ok(events.len()),
            Err(_) => false,
        };
        let first_offset = result.map_or(-1, |response| response.first_offset);
        let one_partition = events
            .windows(2)
            .all(|pair| partition(&pair[0]) == partition(&pair[1]));
        let replies = events.iter().zip(first_offset..).map(|(event, offset)| {
            all_stored.then(|| Reply::Stored {
                partition: partition(event),
                offset: one_partition.then_some(offset),
            })
        });
        replies.collect()
    }

    fn write(&self, event: &Event, batch: Option<u64>, called: Moment, reply: Option<Reply>) {
        let outcome = match reply {
            Some(Reply::Stored { .. }) => Outcome::Ok,
            Some(Reply::Duplicate | Reply::Refused { .. }) => Outcome::Fail,
            None => Outcome::Info,
        };
        let publish = Publish {
            id: event.message_id.clone(),
            topic: event.topic.clone(),
            key: event.meta.get("partition_key").cloned().unwrap_or_default(),
            schedule_ts: event.schedule_ts,
            hash: routing::content_hash(&event.payload, &event.meta),
            allow_duplicate: false,
            priority: event.priority,
            expires_at: event.expires_at,
            batch,
            reply,
        };
        self.run
            .recorder
            .record(self.process, called, outcome, Op::Publish(publish));
    }
}

/// What a call is answered, if it is.
async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the client does not wait longer")),
    }
}

/// A status says for certain that nothing was stored only when it is about the request itself.
fn single_reply(result: Result<PublishResponse, Status>) -> Option<Reply> {
    match result {
        Ok(response) if response.success => Some(Reply::Stored {
            partition: response.partition_id,
            offset: Some(response.offset),
        }),
        Ok(response) if response.error == "duplicate message_id" => Some(Reply::Duplicate),
        Ok(response) => Some(Reply::Refused {
            error: response.error,
        }),
        Err(status) => match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition => Some(Reply::Refused {
                error: status.to_string(),
            }),
            _ => None,
        },
    }
}
