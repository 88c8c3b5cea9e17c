//! Dispatched events on their way to a member: read from the log, without the expired ones, and put
//! into one message each or into batches.

use super::batch_id::{self, BatchId};
use super::delivery_id::DeliveryId;
use super::subscribe::{give_back, stored};
use crate::delivery::{Dispatch, SessionId};
use crate::engine::{Expired, Handle, Message, ReadError, StoredEvent, clock};
use crate::metrics::PartitionMetrics;
use bytes::BytesMut;
use chronos_core::mutant;
use chronos_core::types::GroupNumber;
use chronos_proto::cronos_db::SubscribeRequest;
use chronos_proto::raw::{self, scan_event};
use std::collections::VecDeque;
use tonic::Status;

/// Dispatched events that are read from the log at a time.
const READ_EVENTS: usize = 256;
/// Events of a batch when only bytes are asked for.
const DEFAULT_BATCH_EVENTS: usize = 1000;
/// Bytes of a batch unless asked for, and the most that may be.
const DEFAULT_BATCH_BYTES: usize = 1 << 20;
const MOST_BATCH_BYTES: usize = 8 << 20;
/// What a batched event takes beyond its body, about.
const EVENT_OVERHEAD_BYTES: usize = 64;

/// How large batches may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Most events.
    pub events: usize,
    /// About how many bytes; a single event may have more.
    bytes: usize,
}

impl Batching {
    /// What a subscription asks for; `None` for one event per message.
    pub fn of(request: &SubscribeRequest) -> Result<Option<Self>, Status> {
        let number = |name, value: i32| {
            usize::try_from(value)
                .map_err(|_| Status::invalid_argument(format!("{name} {value} is negative")))
        };
        let events = number("batch_max_events", request.batch_max_events)?;
        let bytes = number("batch_max_bytes", request.batch_max_bytes)?;
        Ok(match (events, bytes) {
            (0, 0) => None,
            (events, bytes) => Some(Self {
                events: match events {
                    0 => DEFAULT_BATCH_EVENTS,
                    events => events.min(batch_id::MOST_EVENTS as usize),
                },
                bytes: match bytes {
                    0 => DEFAULT_BATCH_BYTES,
                    bytes => bytes.min(MOST_BATCH_BYTES),
                },
            }),
        })
    }
}

/// One subscription's way out of one partition.
pub struct Outgoing<'a> {
    /// The partition.
    pub handle: &'a Handle,
    /// The group.
    pub group: GroupNumber,
    /// The subscription.
    pub session: SessionId,
    /// After how many ms without an answer a delivery is repeated.
    pub ack_timeout_ms: i32,
    /// Counts what is sent.
    pub metrics: &'a PartitionMetrics,
    /// Where ids are written.
    pub ids: &'a mut BytesMut,
}

impl Outgoing<'_> {
    /// Takes some dispatches off the front and reads them: one message each.
    pub fn singles(&mut self, dispatches: &mut VecDeque<Dispatch>) -> VecDeque<raw::Delivery> {
        let read = self.read(dispatches, READ_EVENTS);
        self.ids.reserve(read.events.len() * 64);
        let messages = (read.events.into_iter()).map(|(dispatch, event)| {
            let id = DeliveryId {
                partition: self.handle.number,
                group: self.group,
                key: dispatch.key,
                attempt: dispatch.attempt,
                session: self.session,
            };
            let lateness_ms = read.now_ms.saturating_sub(event.schedule_ms).max(0);
            raw::Delivery {
                event: stored(event, self.handle.number),
                delivery_id: id.encode(self.ids),
                attempt: dispatch.attempt as i32,
                ack_timeout_ms: self.ack_timeout_ms,
                lateness_ms,
                batched: Vec::new(),
            }
        });
        messages.collect()
    }

    /// Takes as many dispatches off the front as a batch may hold, or a few more when it gets too
    /// large, and reads them: as few batches as their sizes allow. Empty when nothing is left to
    /// send of what was taken.
    pub fn batches(
        &mut self,
        dispatches: &mut VecDeque<Dispatch>,
        batching: Batching,
    ) -> VecDeque<raw::Delivery> {
        let mut messages = VecDeque::new();
        let mut batch = Batch::new(self);
        while !dispatches.is_empty() && messages.is_empty() && batch.events.len() < batching.events
        {
            let room = batching.events - batch.events.len();
            let read = self.read(dispatches, room.min(READ_EVENTS));
            for (dispatch, event) in read.events {
                let bytes = event.body.len() + EVENT_OVERHEAD_BYTES;
                if batch.bytes + bytes > batching.bytes && !batch.events.is_empty() {
                    let full = std::mem::replace(&mut batch, Batch::new(self));
                    messages.push_back(full.finish(self));
                }
                batch.bytes += bytes;
                batch.id.push(dispatch);
                batch.events.push(raw::BatchedEvent {
                    attempt: dispatch.attempt as i32,
                    lateness_ms: read.now_ms.saturating_sub(event.schedule_ms).max(0),
                    event: stored(event, self.handle.number),
                });
            }
        }
        if !batch.events.is_empty() {
            messages.push_back(batch.finish(self));
        }
        messages
    }

    /// Reads up to `most` events off the front. Those that expired are settled, those that cannot be
    /// read refused.
    fn read(&self, dispatches: &mut VecDeque<Dispatch>, most: usize) -> Read {
        let some: Vec<_> = dispatches.drain(..dispatches.len().min(most)).collect();
        let offsets: Vec<u64> = some.iter().map(|dispatch| dispatch.key.offset).collect();
        let mut events = Vec::with_capacity(some.len());
        let mut expired = Vec::new();
        let now_ms = clock::now_ms();
        let mut in_order = some.into_iter();
        self.handle.events.read(&offsets, &mut |_, read| {
            // One visit for each offset, in order.
            let Some(dispatch) = in_order.next() else {
                return;
            };
            match self.as_edited(dispatch, read) {
                // Settled like one that expired, in groups that read every topic.
                Ok(event) if self.handle.events.is_deleted(&event) => expired.push(dispatch),
                Ok(event) if event.options.expires && is_over(&event, now_ms) => {
                    expired.push(dispatch);
                }
                Ok(event) => events.push((dispatch, event)),
                // Its time is over, and the group is none that retention waits for.
                Err(ReadError::Missing { .. }) => expired.push(dispatch),
                Err(error) => give_back(self.handle, self.group, dispatch, &error),
            }
        });
        if !expired.is_empty() {
            self.settle_expired(expired);
        }
        self.metrics.delivered.inc_by(events.len() as u64);
        Read { now_ms, events }
    }

    /// A dead letter that was edited goes out as edited.
    fn as_edited(
        &self,
        dispatch: Dispatch,
        read: Result<StoredEvent, ReadError>,
    ) -> Result<StoredEvent, ReadError> {
        let Some(letter) = dispatch.letter else {
            return read;
        };
        let event = read?;
        Ok(match self.handle.edited(self.group, letter)? {
            Some(body) => super::dead_letters::with_body(event, body),
            None => event,
        })
    }

    fn settle_expired(&self, events: Vec<Dispatch>) {
        let inbox = self.handle.inbox.clone();
        let group = self.group;
        tokio::spawn(async move {
            // A closed inbox means that the partition stopped: the next leader finds out again.
            let _ = inbox
                .send(Message::Expired(Expired { group, events }))
                .await;
        });
    }
}

/// Whether the time until which an event may be delivered has passed.
fn is_over(event: &StoredEvent, now_ms: i64) -> bool {
    if mutant!("expiry-ignored") || mutant!("expires-at-once") {
        return mutant!("expires-at-once");
    }
    scan_event(&event.body).is_ok_and(|fields| fields.expires_at != 0 && fields.expires_at < now_ms)
}

struct Read {
    now_ms: i64,
    events: Vec<(Dispatch, StoredEvent)>,
}

/// A batch that is being filled.
struct Batch {
    id: BatchId,
    events: Vec<raw::BatchedEvent>,
    bytes: usize,
}

impl Batch {
    fn new(outgoing: &Outgoing<'_>) -> Self {
        Self {
            id: BatchId::new(outgoing.handle.number, outgoing.group, outgoing.session),
            events: Vec::new(),
            bytes: 0,
        }
    }

    fn finish(self, outgoing: &mut Outgoing<'_>) -> raw::Delivery {
        raw::Delivery {
            delivery_id: self.id.encode(outgoing.ids),
            ack_timeout_ms: outgoing.ack_timeout_ms,
            batched: self.events,
            ..raw::Delivery::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batching(batch_max_events: i32, batch_max_bytes: i32) -> Option<Batching> {
        let request = SubscribeRequest {
            batch_max_events,
            batch_max_bytes,
            ..SubscribeRequest::default()
        };
        Batching::of(&request).unwrap()
    }

    #[test]
    fn batches_come_only_on_request_and_have_limits() {
        assert_eq!(batching(0, 0), None);
        let of = |events, bytes| Some(Batching { events, bytes });
        assert_eq!(batching(7, 0), of(7, 1 << 20));
        assert_eq!(batching(0, 9), of(1000, 9));
        assert_eq!(batching(i32::MAX, i32::MAX), of(10_000, 8 << 20));
        let negative = SubscribeRequest {
            batch_max_events: -1,
            ..SubscribeRequest::default()
        };
        assert!(Batching::of(&negative).is_err());
    }
}
