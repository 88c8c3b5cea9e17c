//! Stored events read again.

use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::StoredEvent;

/// `ReplayEvent` around a stored event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayEvent {
    /// The event.
    pub event: StoredEvent,
    /// Position in this stream, from 0.
    pub replay_offset: i64,
    /// Events right before this one that are no longer stored.
    pub skipped: i64,
    /// The event's place on the axis of the replay, Unix ms.
    pub axis_ts: i64,
}

impl ReplayEvent {
    /// The numbers, with the fields they have.
    fn numbers(&self) -> [(u32, i64); 3] {
        [
            (2, self.replay_offset),
            (100, self.skipped),
            (101, self.axis_ts),
        ]
    }
}

impl Message for ReplayEvent {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.event.encode_field(buf);
        for (tag, number) in self.numbers() {
            if number != 0 {
                encoding::int64::encode(tag, &number, buf);
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => self.event.merge_field(wire_type, buf, ctx),
            2 => encoding::int64::merge(wire_type, &mut self.replay_offset, buf, ctx),
            100 => encoding::int64::merge(wire_type, &mut self.skipped, buf, ctx),
            101 => encoding::int64::merge(wire_type, &mut self.axis_ts, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let numbers = self.numbers();
        let sent = numbers.iter().filter(|(_, number)| *number != 0);
        self.event.field_len()
            + sent
                .map(|(tag, number)| encoding::int64::encoded_len(*tag, number))
                .sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cronos_db;
    use crate::raw::Stamp;

    #[test]
    fn decodes_as_the_generated_type() {
        for replay_offset in [0, 1, i64::MAX] {
            let event = cronos_db::Event {
                message_id: "m".into(),
                offset: 9,
                ..Default::default()
            };
            let stamp = Stamp {
                created_ts: 7,
                offset: 3,
                partition_id: 2,
                checksum: u32::MAX,
                term: 1,
                schedule_ts: None,
            };
            let raw = ReplayEvent {
                event: StoredEvent::new(event.encode_to_vec().into(), stamp),
                replay_offset,
                skipped: replay_offset / 2,
                axis_ts: -replay_offset,
            };
            let wire = raw.encode_to_vec();
            assert_eq!(wire.len(), raw.encoded_len());
            let plain = cronos_db::ReplayEvent::decode(wire.as_slice()).unwrap();
            assert_eq!(plain.replay_offset, replay_offset);
            assert_eq!(
                (plain.skipped, plain.axis_ts),
                (replay_offset / 2, -replay_offset)
            );
            let event = plain.event.unwrap();
            assert_eq!((event.message_id.as_str(), event.offset), ("m", 3));
            assert_eq!((event.partition_id, event.checksum), (2, u32::MAX));
            assert_eq!(
                ReplayEvent::decode(wire.as_slice())
                    .unwrap()
                    .encode_to_vec(),
                wire
            );
        }
    }
}
