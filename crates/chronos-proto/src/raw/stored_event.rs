//! An event as it leaves: the bytes received, then what the server says about them.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use super::embedded::merge_event;

/// What the server knows about a stored event and its publisher does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When the server took the event, Unix ms.
    pub created_ts: i64,
    /// Position in the partition, from 0.
    pub offset: i64,
    /// The partition that holds the event.
    pub partition_id: i32,
    /// CRC32C of the event bytes as received.
    pub checksum: u32,
    /// The Raft term in which the event was accepted.
    pub term: i64,
    /// When it is to be delivered, Unix ms, if that is not what the bytes say.
    pub schedule_ts: Option<i64>,
}

impl Stamp {
    fn encoded_len(&self) -> usize {
        encoding::int64::encoded_len(6, &self.created_ts)
            + encoding::int64::encoded_len(7, &self.offset)
            + encoding::int32::encoded_len(8, &self.partition_id)
            + encoding::uint32::encoded_len(9, &self.checksum)
            + encoding::int64::encoded_len(10, &self.term)
            + (self.schedule_ts).map_or(0, |time| encoding::int64::encoded_len(2, &time))
    }

    /// Zeros are written too: the publisher may have sent something else in the field.
    fn encode(&self, buf: &mut impl BufMut) {
        encoding::int64::encode(6, &self.created_ts, buf);
        encoding::int64::encode(7, &self.offset, buf);
        encoding::int32::encode(8, &self.partition_id, buf);
        encoding::uint32::encode(9, &self.checksum, buf);
        encoding::int64::encode(10, &self.term, buf);
        if let Some(schedule_ts) = &self.schedule_ts {
            encoding::int64::encode(2, schedule_ts, buf);
        }
    }
}

/// An event to send: encoded bytes that [`scan_event`](super::scan_event) accepted, followed
/// by a stamp. The last occurrence of a scalar field wins, so the stamp overrides whatever
/// the bytes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredEvent {
    /// The encoded event.
    pub bytes: Bytes,
    /// The overriding fields; `None` after decoding, when they are part of `bytes`.
    pub stamp: Option<Stamp>,
}

impl StoredEvent {
    /// A stored event with what the server says about it.
    pub fn new(bytes: Bytes, stamp: Stamp) -> Self {
        Self {
            bytes,
            stamp: Some(stamp),
        }
    }

    fn body_len(&self) -> usize {
        self.bytes.len() + self.stamp.as_ref().map_or(0, Stamp::encoded_len)
    }

    /// Length of this event as field 1 of a message, key and length included.
    pub(super) fn field_len(&self) -> usize {
        let body_len = self.body_len();
        encoding::key_len(1) + encoding::encoded_len_varint(body_len as u64) + body_len
    }

    /// Writes this event as field 1 of a message.
    pub(super) fn encode_field(&self, buf: &mut impl BufMut) {
        encoding::encode_key(1, WireType::LengthDelimited, buf);
        encoding::encode_varint(self.body_len() as u64, buf);
        buf.put_slice(&self.bytes);
        if let Some(stamp) = &self.stamp {
            stamp.encode(buf);
        }
    }

    /// Reads one occurrence of field 1 of a message.
    pub(super) fn merge_field(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let before = (!self.bytes.is_empty()).then_some(&self.bytes);
        self.bytes = merge_event(before, wire_type, buf, ctx)?;
        self.stamp = None;
        Ok(())
    }
}
