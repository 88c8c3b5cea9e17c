//! Publish and PublishBatch: check, route, hand to the partitions, answer.
//!
//! A rejected event is an answer, not an error: the call ends `OK` with `success=false` and the
//! reason, which existing clients compare.

use super::admission::Admission;
use super::past::{self, Late};
use super::schedule::find;
use super::status;
use super::validate::{self, Invalid};
use super::view::View;
use crate::config::Config;
use crate::engine::topics::{self, Topic};
use crate::engine::{self, Engine, Handle, Message, Refused, clock};
use crate::metrics::Metrics;
use bytes::Bytes;
use chronos_core::catalog::topics::Field;
use chronos_core::command::change::Action;
use chronos_core::command::publish::{Builder, NewEvent, Options};
use chronos_core::keys::change::State;
use chronos_core::mutant;
use chronos_core::partition::Published;
use chronos_core::types::{PartitionNumber, route};
use chronos_proto::cronos_db::{ExistingEvent, PublishBatchResponse, PublishResponse};
use chronos_proto::raw::{self, EventFields};
use chronos_wal::FsyncMode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

/// What a duplicate is answered; compared by clients.
const DUPLICATE: &str = "duplicate message_id";

/// How long a publish waits for others to finish when too many bytes are under way.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(5);

/// Takes publishes in.
#[derive(Clone)]
pub struct Publisher {
    engine: View,
    metrics: Arc<Metrics>,
    pub(super) dedup_ttl_ms: u64,
    max_inflight_bytes: usize,
    /// Answers leave before the disk has the event, unless the publisher asks otherwise.
    replies_early: bool,
}

impl Publisher {
    /// Publishes into this engine.
    pub fn new(engine: View, metrics: Arc<Metrics>, config: &Config) -> Self {
        Self {
            engine,
            metrics,
            dedup_ttl_ms: u64::try_from(config.dedup.ttl.as_millis()).unwrap_or(u64::MAX),
            max_inflight_bytes: usize::try_from(config.limits.max_inflight_bytes)
                .unwrap_or(usize::MAX),
            replies_early: config.wal.fsync_mode == FsyncMode::Periodic,
        }
    }

    /// The same into these partitions.
    pub fn over(&self, view: View) -> Self {
        Self {
            engine: view,
            ..self.clone()
        }
    }

    /// Publishes one event.
    pub async fn publish(&self, request: raw::PublishRequest) -> Result<PublishResponse, Status> {
        self.metrics.publish_unary_requests.inc();
        let refuse = |error: String| {
            self.metrics.rejected_invalid.inc();
            PublishResponse {
                success: false,
                error,
                ..PublishResponse::default()
            }
        };
        let policy = past::policy(request.past)?;
        let Some(bytes) = request.event else {
            return Ok(refuse("event is required".into()));
        };
        let now_ms = clock::now_ms();
        let mut fields = match validate::event(&bytes, now_ms) {
            Ok(fields) => fields,
            Err(Invalid::Rule(error)) => return Ok(refuse(error)),
            Err(Invalid::Encoding(error)) => {
                return Err(Status::invalid_argument(error.to_string()));
            }
        };
        match past::judge(policy, fields.schedule_ts, now_ms) {
            Late::Store => {}
            Late::Refuse => {
                self.metrics.rejected_past.inc();
                return Ok(PublishResponse {
                    error: past::reason(fields.schedule_ts, now_ms),
                    ..PublishResponse::default()
                });
            }
            Late::Drop => {
                self.metrics.dropped_past.inc();
                return Ok(PublishResponse {
                    error: past::reason(fields.schedule_ts, now_ms),
                    dropped: true,
                    ..PublishResponse::default()
                });
            }
        }
        let mut admission = Admission::new(&self.engine, now_ms);
        admission.add(fields.topic, bytes.len(), fields.schedule_ts)?;
        let _room = admission.admit(self.engine.engine()).await?;
        let poison =
            mutant!("dedup-before-append-poison") && route(fields.message_id.as_bytes(), 16) == 0;
        if poison {
            fields.schedule_ts = validate::LAST_SCHEDULE_MS;
        }
        let mut sections = Sections::new(&self.engine, 1);
        let partition = sections.push(&fields, &bytes, request.allow_duplicate);
        let (schedule_ts, durable) = (fields.schedule_ts, fields.durable_ack);
        let (window_ms, section) = sections
            .into_iter()
            .next()
            .map(|((_, window_ms), section)| (window_ms, section))
            .unwrap_or_default();
        let published = self
            .send((partition, window_ms), section, durable)
            .await
            .map_err(|failed| failed.status())?;
        if published.accepted == 0 {
            let existing = match (request.return_existing, published.known_offsets.first()) {
                (true, Some(offset)) => self.existing(partition, *offset).await?,
                _ => None,
            };
            return Ok(PublishResponse {
                success: false,
                error: DUPLICATE.into(),
                existing,
                ..PublishResponse::default()
            });
        }
        if poison {
            return Err(Status::failed_precondition(
                "not taken, but its id is remembered",
            ));
        }
        Ok(PublishResponse {
            success: true,
            error: String::new(),
            offset: published.first_offset as i64,
            partition_id: partition as i32,
            schedule_ts,
            ..PublishResponse::default()
        })
    }

    /// The event that made another one a duplicate.
    async fn existing(
        &self,
        partition: PartitionNumber,
        offset: u64,
    ) -> Result<Option<ExistingEvent>, Status> {
        let Some(handle) = self.engine.partition(partition) else {
            return Ok(None);
        };
        let Some(found) = find::at(&handle, offset)? else {
            return Ok(None);
        };
        let changed = found.change(Action::Get, None).await?;
        Ok(Some(ExistingEvent {
            offset: offset as i64,
            partition_id: partition as i32,
            schedule_ts: changed.version.schedule_ms,
            version: changed.version.version as i64,
            fired: changed.fired,
            cancelled: changed.version.state == State::Cancelled,
        }))
    }

    /// Publishes many events; each is judged alone. Of partitions that were named, those that took
    /// nothing are told and not counted, for they may be led elsewhere.
    pub async fn publish_batch(
        &self,
        request: raw::PublishBatchRequest,
    ) -> Result<(PublishBatchResponse, BTreeSet<PartitionNumber>), Status> {
        self.metrics.publish_batch_requests.inc();
        let mut response = PublishBatchResponse::default();
        let mut sections = Sections::new(&self.engine, request.events.len());
        let mut durable = false;
        let mut late = 0;
        let policy = past::policy(request.past)?;
        let now_ms = clock::now_ms();
        let mut admission = Admission::new(&self.engine, now_ms);
        for bytes in &request.events {
            match validate::event(bytes, now_ms) {
                Ok(fields) => match past::judge(policy, fields.schedule_ts, now_ms) {
                    Late::Store => {
                        durable |= fields.durable_ack;
                        admission.add(fields.topic, bytes.len(), fields.schedule_ts)?;
                        sections.push(&fields, bytes, request.allow_duplicate);
                    }
                    Late::Refuse => {
                        late += 1;
                        response.add_error(1, past::reason(fields.schedule_ts, now_ms));
                    }
                    Late::Drop => response.dropped_count += 1,
                },
                Err(Invalid::Encoding(error)) => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
                Err(Invalid::Rule(error)) => response.add_error(1, error),
            }
        }
        // Whoever named the partitions knows other topics than this node, or knew them: nothing is taken
        // before both know the same.
        if let Some(named) = self.engine.named()
            && sections.partitions().any(|number| !named.contains(&number))
        {
            return Ok((PublishBatchResponse::default(), named.clone()));
        }
        let _room = admission.admit(self.engine.engine()).await?;
        self.metrics
            .rejected_invalid
            .inc_by(response.error_count as u64 - late);
        self.metrics.rejected_past.inc_by(late);
        self.metrics
            .dropped_past
            .inc_by(response.dropped_count as u64);
        let sent = sections.into_iter().map(|(share, section)| {
            let events = section.count();
            async move { (share.0, events, self.send(share, section, durable).await) }
        });
        let mut outcomes = futures::future::join_all(sent).await;
        // Overload refuses the call as a whole when nothing of it was taken.
        let is_refused = |(.., outcome): &Sent| matches!(outcome, Err(Failed::Overloaded));
        if !outcomes.is_empty() && outcomes.iter().all(is_refused) {
            return Err(status::overloaded());
        }
        let not_taken = match self.engine.is_part() {
            true => taken_out(&mut outcomes),
            false => BTreeSet::new(),
        };
        let (mut first, mut last) = (i64::MAX, -1);
        for (_, events, outcome) in outcomes {
            match outcome {
                Ok(published) => {
                    response.published_count += published.accepted as i32;
                    response.duplicate_count += published.duplicates.len() as i32;
                    if published.accepted > 0 {
                        first = first.min(published.first_offset as i64);
                        last = last
                            .max(published.first_offset as i64 + i64::from(published.accepted) - 1);
                    }
                }
                Err(failed) => response.add_error(events, failed.status().message().to_owned()),
            }
        }
        response.success = response.error_count == 0;
        if !request.events.is_empty() {
            (response.first_offset, response.last_offset) =
                if last < 0 { (-1, -1) } else { (first, last) };
        }
        Ok((response, not_taken))
    }

    /// Hands events to a partition and waits for the outcome.
    async fn send(
        &self,
        (partition, window_ms): Share,
        section: Builder,
        durable: bool,
    ) -> Result<Published, Failed> {
        let Some(handle) = self.engine.partition(partition) else {
            return Err(Failed::Refused(Refused::NotLeader(partition)));
        };
        let permit = self.room_for(section.len()).await?;
        let events = section.count();
        let section = section.finish_with(self.dedup_ttl_ms, window_ms);
        let published = handle
            .ask(|reply| {
                Message::Publish(engine::Publish {
                    section,
                    events,
                    permit,
                    reply,
                })
            })
            .await
            .map_err(Failed::Refused)?;
        if durable && self.replies_early {
            sync(handle.clone()).await?;
        }
        Ok(published)
    }

    pub(super) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failed> {
        // A single publish larger than the bound goes alone.
        let places = bytes.min(self.max_inflight_bytes).max(1) as u32;
        let room = Arc::clone(self.engine.inflight());
        match Arc::clone(&room).try_acquire_many_owned(places) {
            Ok(permit) => Ok(permit),
            Err(_) => {
                match tokio::time::timeout(WAIT_FOR_ROOM, room.acquire_many_owned(places)).await {
                    Ok(Ok(permit)) => Ok(permit),
                    Ok(Err(_)) | Err(_) => {
                        self.metrics.rejected_overloaded.inc();
                        Err(Failed::Overloaded)
                    }
                }
            }
        }
    }
}

/// What became of a section: its partition, its events, and the outcome.
type Sent = (PartitionNumber, u32, Result<Published, Failed>);

/// Takes out the partitions that surely took nothing because they are not served here.
fn taken_out(outcomes: &mut Vec<Sent>) -> BTreeSet<PartitionNumber> {
    let is_elsewhere = |outcome: &Result<Published, Failed>| match outcome {
        Err(Failed::Refused(Refused::NotLeader(_) | Refused::Stopping(_))) => true,
        Ok(_) => false,
        Err(Failed::Refused(Refused::Unknown(_) | Refused::Failed(_) | Refused::NoCatalog)) => {
            false
        }
        Err(Failed::Overloaded) => false,
    };
    let named = |elsewhere: bool| -> BTreeSet<PartitionNumber> {
        let outcomes = outcomes.iter();
        outcomes
            .filter(|(.., outcome)| is_elsewhere(outcome) == elsewhere)
            .map(|(partition, ..)| *partition)
            .collect()
    };
    let not_taken = &named(true) - &named(false);
    outcomes.retain(|(partition, ..)| !not_taken.contains(partition));
    not_taken
}

/// Waits until the disk has everything published so far.
async fn sync(handle: Handle) -> Result<(), Failed> {
    let number = handle.number;
    let synced = tokio::task::spawn_blocking(move || handle.wal.sync()).await;
    match synced {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Failed::Refused(Refused::Failed(number))),
    }
}

/// Why a partition's share of a publish has no outcome.
pub(super) enum Failed {
    Refused(Refused),
    Overloaded,
}

impl Failed {
    pub(super) fn status(&self) -> Status {
        match self {
            Failed::Refused(refused) => status::of_refused(refused),
            Failed::Overloaded => status::overloaded(),
        }
    }
}

/// A partition, and how long its topic remembers message ids, ms, if not as long as the node.
pub(super) type Share = (PartitionNumber, Option<u64>);

/// The events of a request, sorted by partition.
pub(super) struct Sections {
    topics: Arc<topics::Map>,
    partitions: u32,
    events: usize,
    builders: BTreeMap<Share, Builder>,
}

impl Sections {
    pub(super) fn new(engine: &Engine, events: usize) -> Self {
        Self {
            topics: engine.topics().map(),
            partitions: engine.partition_count(),
            events,
            builders: BTreeMap::new(),
        }
    }

    pub(super) fn push(
        &mut self,
        fields: &EventFields<'_>,
        bytes: &Bytes,
        allow_duplicate: bool,
    ) -> PartitionNumber {
        let (topic, key) = (fields.topic.as_bytes(), fields.routing_key().as_bytes());
        let known = match self.topics.is_empty() {
            true => None,
            false => self.topics.get(topic),
        };
        let partition = placed(known, self.partitions, topic, key);
        let window_ms = known.and_then(|known| known.get(Field::DedupWindowMs));
        let part = |range: &std::ops::Range<usize>| (range.start as u32, range.len() as u8);
        let share = self.events / self.partitions as usize + 1;
        let builder = self
            .builders
            .entry((partition, window_ms))
            .or_insert_with(|| Builder::new(share, share * bytes.len()));
        let event = NewEvent {
            schedule_ms: fields.schedule_ts,
            body: bytes,
            id: part(&fields.message_id_range),
            topic: part(&fields.topic_range),
            allow_duplicate,
        };
        let options = Options {
            stamped: fields.deliver_after_ms.is_some(),
            expires: fields.expires_at != 0,
            priority: fields.priority as u8,
        };
        builder.push_with(event, options);
        partition
    }

    fn partitions(&self) -> impl Iterator<Item = PartitionNumber> {
        self.builders.keys().map(|(partition, _)| *partition)
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Share, Builder)> {
        self.builders.into_iter()
    }
}

/// The partition that an event belongs to.
pub(super) fn partition_of(
    topics: &topics::Map,
    partitions: u32,
    fields: &EventFields<'_>,
) -> PartitionNumber {
    let (topic, key) = (fields.topic.as_bytes(), fields.routing_key().as_bytes());
    placed(topics.get(topic), partitions, topic, key)
}

fn placed(
    known: Option<&Arc<Topic>>,
    partitions: u32,
    topic: &[u8],
    key: &[u8],
) -> PartitionNumber {
    match (partitions, known) {
        (1, _) => 0,
        (count, Some(known)) => known.partition(topic, key, count),
        (count, None) => route(key, count),
    }
}

trait AddError {
    fn add_error(&mut self, events: u32, error: String);
}

impl AddError for PublishBatchResponse {
    fn add_error(&mut self, events: u32, error: String) {
        self.error_count += events as i32;
        if self.error.is_empty() {
            self.error = error;
        }
    }
}
