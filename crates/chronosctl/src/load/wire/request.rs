//! Requests as bytes, each with its gRPC header in front.

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, HEADER_BYTES};
use super::protobuf;
use crate::load::ids::EventIds;
use crate::load::payload;

/// Writes the events of one run.
///
/// `PublishRequest` and `PublishBatchRequest` both hold events in field 1, so one encoding serves
/// both.
#[derive(Clone)]
pub(crate) struct EventEncoder {
    ids: EventIds,
    /// Key and length of `message_id`, then the id, which is overwritten for each event.
    id_field: Vec<u8>,
    id_at: usize,
    /// Key and length of `payload`, the payload, which is overwritten for each event, then the
    /// topic.
    tail: Vec<u8>,
    payload_at: usize,
    payload_bytes: usize,
}

impl EventEncoder {
    /// An encoder of events of `topic` with payloads of `payload_bytes`.
    pub(crate) fn new(ids: EventIds, topic: &str, payload_bytes: usize) -> Self {
        let mut id_field = Vec::new();
        protobuf::put_len(&mut id_field, 1, ids.id_bytes());
        let id_at = id_field.len();
        id_field.resize(id_at + ids.id_bytes(), 0);
        let mut tail = Vec::new();
        protobuf::put_len(&mut tail, 3, payload_bytes);
        let payload_at = tail.len();
        tail.resize(payload_at + payload_bytes, 0);
        if !topic.is_empty() {
            protobuf::put_bytes(&mut tail, 4, topic.as_bytes());
        }
        Self {
            ids,
            id_field,
            id_at,
            tail,
            payload_at,
            payload_bytes,
        }
    }

    /// Length of an event due at `schedule_ms`, in bytes.
    pub(crate) fn event_bytes(&self, schedule_ms: i64) -> usize {
        self.id_field.len() + 1 + protobuf::varint_len(schedule_ms as u64) + self.tail.len()
    }

    /// A framed request that publishes `events`, given as (counter, schedule_ts in Unix ms).
    pub(crate) fn request(&mut self, events: impl ExactSizeIterator<Item = (u64, i64)>) -> Bytes {
        let per_event = self.event_bytes(i64::MAX) + 8;
        let mut out = BytesMut::with_capacity(HEADER_BYTES + events.len() * per_event);
        out.put_bytes(0, HEADER_BYTES);
        for (counter, schedule_ms) in events {
            self.put_event(&mut out, counter, schedule_ms);
        }
        let len = out.len() - HEADER_BYTES;
        frame::put_header(&mut &mut out[..HEADER_BYTES], len);
        out.freeze()
    }

    fn put_event(&mut self, out: &mut BytesMut, counter: u64, schedule_ms: i64) {
        self.ids.write(&mut self.id_field[self.id_at..], counter);
        let payload = self.payload_at..self.payload_at + self.payload_bytes;
        payload::fill(&mut self.tail[payload], payload::seed(counter, schedule_ms));
        protobuf::put_len(out, 1, self.event_bytes(schedule_ms));
        out.put_slice(&self.id_field);
        protobuf::put_uint(out, 2, schedule_ms as u64);
        out.put_slice(&self.tail);
    }
}

/// What a subscription asks for.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partition, or -1 for all of the topic.
    pub partition: i32,
    /// Where a new group begins: 0, -1 or an offset.
    pub start_offset: i64,
    /// Deliveries allowed in flight.
    pub credit: u32,
    /// Name of the member.
    pub member: String,
    /// Most events of a delivery; 0 for one event per message.
    pub batch: u32,
}

impl Subscription {
    /// The framed `SubscribeRequest`.
    pub(crate) fn request(&self) -> Bytes {
        let mut message = BytesMut::new();
        protobuf::put_bytes(&mut message, 1, self.group.as_bytes());
        protobuf::put_bytes(&mut message, 2, self.topic.as_bytes());
        // Negative numbers of int32 and int64 fields are sign-extended to 64 bits.
        protobuf::put_uint(&mut message, 3, i64::from(self.partition) as u64);
        protobuf::put_uint(&mut message, 4, self.start_offset as u64);
        protobuf::put_uint(&mut message, 5, u64::from(self.credit));
        protobuf::put_bytes(&mut message, 6, self.member.as_bytes());
        if self.batch > 0 {
            protobuf::put_uint(&mut message, 101, u64::from(self.batch));
        }
        let mut out = BytesMut::with_capacity(HEADER_BYTES + message.len());
        frame::put_header(&mut out, message.len());
        out.put_slice(&message);
        out.freeze()
    }
}

/// Appends a framed `AckRequest` that reports success.
pub(crate) fn put_ack(out: &mut BytesMut, delivery_id: &[u8], next_offset: i64) {
    let next_offset = next_offset as u64;
    let id_len = protobuf::varint_len(delivery_id.len() as u64) + delivery_id.len();
    frame::put_header(out, 1 + id_len + 2 + 1 + protobuf::varint_len(next_offset));
    protobuf::put_bytes(out, 2, delivery_id);
    protobuf::put_uint(out, 3, 1);
    protobuf::put_uint(out, 5, next_offset);
}
