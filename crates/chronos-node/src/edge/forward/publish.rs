//! Publishing at the leaders of the partitions that events belong to.
//!
//! A share whose outcome is not known is not sent again: that it is a duplicate then would not tell
//! whether this call has published it or one before. The client hears that it is not known, as from
//! a leader itself.

use super::Forwarded;
use super::call::{Answer, Call, Partitions, Share, name_leaders, with_leaders};
use super::event_service::client;
use super::outcome::Repeat;
use super::scope;
use crate::edge::admission::Admission;
use crate::edge::event_service::Events;
use crate::edge::publish::partition_of;
use crate::edge::status::NOT_TAKEN;
use crate::edge::validate::{self, Invalid};
use crate::engine::clock;
use bytes::Bytes;
use chronos_core::types::PartitionNumber;
use chronos_proto::cronos_db::{PublishBatchResponse, PublishResponse};
use chronos_proto::raw;
use chronos_proto::server::event_service_server::EventService;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

impl Forwarded<Events> {
    /// Publishes one event where it belongs.
    pub(super) async fn publish_at_leader(
        &self,
        call: Call,
        request: Request<raw::PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let Some(event) = &request.get_ref().event else {
            return self.local.publish(request).await;
        };
        let engine = &self.forwarder.engine;
        let partition = match validate::event(event, clock::now_ms()) {
            Ok(fields) => partition_of(&engine.topics().map(), engine.partition_count(), &fields),
            // Refused without a look at any partition.
            Err(_) => return self.local.publish(request).await,
        };
        let message = request.into_inner();
        let answer = call.ask_one(partition, Repeat::Untaken, |share: Share| {
            let message = message.clone();
            let local = self.part(&call, &share);
            async move {
                match &share.peer {
                    None => local.publish(Request::new(message)).await,
                    Some(peer) => client(peer.channel()).publish(share.request(message)).await,
                }
            }
        });
        let answer = answer.await?;
        let mut response = answer.value;
        name_leaders(response.metadata_mut(), [&answer.share]);
        Ok(response)
    }

    /// Publishes events that no client sent, each where it belongs.
    pub async fn publish_anywhere(
        &self,
        request: raw::PublishBatchRequest,
    ) -> Result<PublishBatchResponse, Status> {
        if self.forwarder.routes.is_alone() {
            let published = self.local.publisher().publish_batch(request).await;
            return published.map(|(response, _)| response);
        }
        let call = Call::new(self.forwarder.clone(), &MetadataMap::new());
        let published = self.publish_batch_at_leaders(call, Request::new(request));
        published.await.map(Response::into_inner)
    }

    /// Publishes many events, each where it belongs, those of a partition in their order.
    pub(super) async fn publish_batch_at_leaders(
        &self,
        call: Call,
        request: Request<raw::PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        if request.get_ref().events.is_empty() {
            return self.local.publish_batch(request).await;
        }
        let request = request.into_inner();
        let Sorted { events, refused } = self.sort(&request.events)?;
        let of = |events| raw::PublishBatchRequest {
            events,
            allow_duplicate: request.allow_duplicate,
            past: request.past,
        };
        let mut whole = Merged::default();
        if !refused.is_empty() {
            let response = self.local.publish_batch(Request::new(of(refused))).await?;
            whole.add(response.into_inner());
        }
        let mut open = events;
        let (mut failed, mut shares) = (Vec::new(), Vec::new());
        let mut wait = call.waiting();
        while !open.is_empty() {
            let partitions = open.iter().map(|(partition, _)| *partition).collect();
            let asked = call.ask_each(partitions, Repeat::Untaken, |share: Share| {
                let message = of(within(&open, &share.partitions));
                let local = self.part(&call, &share);
                async move {
                    match &share.peer {
                        None => local.publish_batch(Request::new(message)).await,
                        Some(peer) => {
                            let mut client = client(peer.channel());
                            client.publish_batch(share.request(message)).await
                        }
                    }
                }
            });
            let answers = match asked.await {
                Ok(answers) => answers,
                Err(status) if whole.is_nothing() && failed.is_empty() => return Err(status),
                Err(status) => {
                    failed.push((open.len(), status));
                    break;
                }
            };
            let mut again = Partitions::new();
            for Answer { share, value } in answers {
                let sent = within(&open, &share.partitions).len();
                match value {
                    Ok(response) => {
                        let left = not_taken(response.metadata(), call.all().len() as u32);
                        let left = &left & &share.partitions;
                        let judged = sent - within(&open, &left).len();
                        again.extend(left);
                        whole.add_all(response.into_inner(), judged);
                    }
                    Err(status) => failed.push((sent, status)),
                }
                shares.push(share);
            }
            open = self.placed_again(within(&open, &again));
            if !open.is_empty() && !wait.for_change().await {
                let gone = Status::unavailable(
                    "the leaders changed while the events were published: try again",
                );
                failed.push((open.len(), gone));
                break;
            }
        }
        if whole.is_nothing() {
            // Refused as a whole, unless nothing is known of a part.
            failed.sort_by_key(|(_, status)| status.code() != Code::Aborted);
            if let Some((_, status)) = failed.into_iter().next() {
                return Err(status);
            }
            return Ok(with_leaders(whole.finish(), &shares));
        }
        for (events, status) in failed {
            whole.add_error(events, status.message());
        }
        Ok(with_leaders(whole.finish(), &shares))
    }

    /// Where events belong that were checked before: topics may have been made or changed since.
    fn placed_again(&self, events: Vec<Bytes>) -> Vec<(PartitionNumber, Bytes)> {
        let engine = &self.forwarder.engine;
        let (topics, count) = (engine.topics().map(), engine.partition_count());
        let placed = events.into_iter().filter_map(|bytes| {
            let fields = raw::scan_event(&bytes).ok()?;
            let partition = partition_of(&topics, count, &fields);
            Some((partition, bytes))
        });
        placed.collect()
    }

    /// Where the events belong, in their order; and those that no partition has to see to be refused.
    fn sort(&self, events: &[Bytes]) -> Result<Sorted, Status> {
        let engine = &self.forwarder.engine;
        let (topics, count) = (engine.topics().map(), engine.partition_count());
        let now_ms = clock::now_ms();
        // What refuses the whole request has to do so before a part of it is taken.
        let mut admission = Admission::new(engine, now_ms);
        let mut sorted = Sorted::default();
        for bytes in events {
            match validate::event(bytes, now_ms) {
                Ok(fields) => {
                    admission.add(fields.topic, bytes.len(), fields.schedule_ts)?;
                    let partition = partition_of(&topics, count, &fields);
                    sorted.events.push((partition, bytes.clone()));
                }
                Err(Invalid::Rule(_)) => sorted.refused.push(bytes.clone()),
                Err(Invalid::Encoding(error)) => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
            }
        }
        Ok(sorted)
    }
}

#[derive(Default)]
struct Sorted {
    events: Vec<(PartitionNumber, Bytes)>,
    refused: Vec<Bytes>,
}

fn within(events: &[(PartitionNumber, Bytes)], partitions: &Partitions) -> Vec<Bytes> {
    let within = events.iter().filter(|(it, _)| partitions.contains(it));
    within.map(|(_, bytes)| bytes.clone()).collect()
}

/// The partitions that took nothing of their share.
fn not_taken(metadata: &MetadataMap, count: u32) -> Partitions {
    let named = metadata
        .get(NOT_TAKEN)
        .and_then(|named| named.to_str().ok());
    let partitions = named.and_then(|named| scope::decode(named, count));
    partitions.unwrap_or_default()
}

/// The answers to the shares, as one.
#[derive(Default)]
struct Merged {
    response: PublishBatchResponse,
    /// The smallest and the greatest offset written.
    offsets: Option<(i64, i64)>,
}

impl Merged {
    fn add(&mut self, part: PublishBatchResponse) {
        let whole = &mut self.response;
        whole.published_count += part.published_count;
        whole.duplicate_count += part.duplicate_count;
        whole.error_count += part.error_count;
        whole.dropped_count += part.dropped_count;
        if whole.error.is_empty() {
            whole.error = part.error;
        }
        if part.published_count > 0 {
            let (first, last) = self.offsets.unwrap_or((i64::MAX, -1));
            self.offsets = Some((first.min(part.first_offset), last.max(part.last_offset)));
        }
    }

    /// Adds an answer about so many events. Those that it does not tell of are not said to be published.
    fn add_all(&mut self, part: PublishBatchResponse, events: usize) {
        let told =
            part.published_count + part.duplicate_count + part.error_count + part.dropped_count;
        let untold = events.saturating_sub(usize::try_from(told).unwrap_or(0));
        self.add(part);
        if untold > 0 {
            self.add_error(
                untold,
                "the leader does not say what became of an event: retry",
            );
        }
    }

    fn add_error(&mut self, events: usize, error: &str) {
        self.response.error_count += events as i32;
        if self.response.error.is_empty() {
            error.clone_into(&mut self.response.error);
        }
    }

    /// Whether no event was judged.
    fn is_nothing(&self) -> bool {
        let PublishBatchResponse {
            published_count,
            duplicate_count,
            error_count,
            dropped_count,
            ..
        } = &self.response;
        published_count + duplicate_count + error_count + dropped_count == 0
    }

    fn finish(self) -> PublishBatchResponse {
        let (first_offset, last_offset) = self.offsets.unwrap_or((-1, -1));
        PublishBatchResponse {
            success: self.response.error_count == 0,
            first_offset,
            last_offset,
            ..self.response
        }
    }
}
