//! Events going out to members of consumer groups.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::StoredEvent;

/// `Delivery` around stored events. `batch` is never sent, and skipped when received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The event; not sent when there are `batched` ones.
    pub event: StoredEvent,
    /// The token to acknowledge with. Must be UTF-8: it is a string on the wire.
    pub delivery_id: Bytes,
    /// 1 for the first delivery, then counting up.
    pub attempt: i32,
    /// After how many ms without an ack the event is delivered again.
    pub ack_timeout_ms: i32,
    /// How long after its time the event is handed out, ms; 0 when on time.
    pub lateness_ms: i64,
    /// The events of a batch.
    pub batched: Vec<BatchedEvent>,
}

/// `BatchedEvent` around a stored event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchedEvent {
    /// The event.
    pub event: StoredEvent,
    /// 1 for the first delivery, then counting up.
    pub attempt: i32,
    /// How long after its time the event is handed out, ms; 0 when on time.
    pub lateness_ms: i64,
}

impl Message for BatchedEvent {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.event.encode_field(buf);
        if self.attempt != 0 {
            encoding::int32::encode(2, &self.attempt, buf);
        }
        if self.lateness_ms != 0 {
            encoding::int64::encode(3, &self.lateness_ms, buf);
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
            2 => encoding::int32::merge(wire_type, &mut self.attempt, buf, ctx),
            3 => encoding::int64::merge(wire_type, &mut self.lateness_ms, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let mut len = self.event.field_len();
        if self.attempt != 0 {
            len += encoding::int32::encoded_len(2, &self.attempt);
        }
        if self.lateness_ms != 0 {
            len += encoding::int64::encoded_len(3, &self.lateness_ms);
        }
        len
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Delivery {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.batched.is_empty() {
            self.event.encode_field(buf);
        }
        if !self.delivery_id.is_empty() {
            encoding::encode_key(2, WireType::LengthDelimited, buf);
            encoding::encode_varint(self.delivery_id.len() as u64, buf);
            buf.put_slice(&self.delivery_id);
        }
        if self.attempt != 0 {
            encoding::int32::encode(3, &self.attempt, buf);
        }
        if self.ack_timeout_ms != 0 {
            encoding::int32::encode(4, &self.ack_timeout_ms, buf);
        }
        if self.lateness_ms != 0 {
            encoding::int64::encode(100, &self.lateness_ms, buf);
        }
        encoding::message::encode_repeated(101, &self.batched, buf);
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
            2 => encoding::bytes::merge(wire_type, &mut self.delivery_id, buf, ctx),
            3 => encoding::int32::merge(wire_type, &mut self.attempt, buf, ctx),
            4 => encoding::int32::merge(wire_type, &mut self.ack_timeout_ms, buf, ctx),
            100 => encoding::int64::merge(wire_type, &mut self.lateness_ms, buf, ctx),
            101 => encoding::message::merge_repeated(wire_type, &mut self.batched, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let mut len = match self.batched.is_empty() {
            true => self.event.field_len(),
            false => encoding::message::encoded_len_repeated(101, &self.batched),
        };
        if !self.delivery_id.is_empty() {
            len += encoding::bytes::encoded_len(2, &self.delivery_id);
        }
        if self.attempt != 0 {
            len += encoding::int32::encoded_len(3, &self.attempt);
        }
        if self.ack_timeout_ms != 0 {
            len += encoding::int32::encoded_len(4, &self.ack_timeout_ms);
        }
        if self.lateness_ms != 0 {
            len += encoding::int64::encoded_len(100, &self.lateness_ms);
        }
        len
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cronos_db;
    use crate::raw::Stamp;
    use crate::raw::scan::tests::any_event;

    proptest! {
        #[test]
        fn decodes_as_the_generated_type_with_the_stamp_on_top(
            event in any_event(),
            created_ts: i64, offset: i64, partition_id: i32, checksum: u32, term: i64,
            delivery_id in "\\PC{0,40}",
            attempt: i32,
            ack_timeout_ms: i32,
            lateness_ms: i64,
        ) {
            let raw = Delivery {
                event: StoredEvent::new(
                    event.encode_to_vec().into(),
                    Stamp { created_ts, offset, partition_id, checksum, term, schedule_ts: None },
                ),
                delivery_id: Bytes::from(delivery_id.clone()),
                attempt,
                ack_timeout_ms,
                lateness_ms,
                batched: Vec::new(),
            };
            let wire = raw.encode_to_vec();
            prop_assert_eq!(wire.len(), raw.encoded_len());
            let plain = cronos_db::Delivery::decode(wire.as_slice()).unwrap();
            prop_assert_eq!(&plain, &cronos_db::Delivery {
                event: Some(cronos_db::Event {
                    created_ts, offset, partition_id, checksum, term, ..event
                }),
                delivery_id,
                attempt,
                ack_timeout_ms,
                lateness_ms,
                batch: vec![],
                batched: vec![],
            });

            let again = Delivery::decode(wire.as_slice()).unwrap();
            prop_assert_eq!(again.encode_to_vec(), wire);
        }
    }

    proptest! {
        #[test]
        fn a_batch_decodes_as_the_generated_type(
            events in proptest::collection::vec((any_event(), any::<i32>(), any::<i64>()), 1..4),
            delivery_id in "\\PC{0,40}",
        ) {
            let stamp = Stamp { offset: 7, schedule_ts: Some(9), ..Stamp::default() };
            let raw = Delivery {
                delivery_id: Bytes::from(delivery_id.clone()),
                batched: (events.iter())
                    .map(|(event, attempt, lateness_ms)| BatchedEvent {
                        event: StoredEvent::new(event.encode_to_vec().into(), stamp),
                        attempt: *attempt,
                        lateness_ms: *lateness_ms,
                    })
                    .collect(),
                ..Delivery::default()
            };
            let wire = raw.encode_to_vec();
            prop_assert_eq!(wire.len(), raw.encoded_len());
            let plain = cronos_db::Delivery::decode(wire.as_slice()).unwrap();
            prop_assert_eq!(plain.event, None);
            prop_assert_eq!(plain.delivery_id, delivery_id);
            for (found, (event, attempt, lateness_ms)) in plain.batched.iter().zip(events) {
                let wanted = cronos_db::Event {
                    offset: 7, schedule_ts: 9, created_ts: 0, partition_id: 0, checksum: 0, term: 0,
                    ..event
                };
                prop_assert_eq!(found.event.as_ref(), Some(&wanted));
                prop_assert_eq!((found.attempt, found.lateness_ms), (attempt, lateness_ms));
            }
            let again = Delivery::decode(wire.as_slice()).unwrap();
            prop_assert_eq!(again.encode_to_vec(), wire);
        }
    }

    #[test]
    fn zeros_of_the_stamp_override_too() {
        let event = cronos_db::Event {
            created_ts: 1,
            offset: 2,
            partition_id: 3,
            checksum: 4,
            term: 5,
            ..Default::default()
        };
        let raw = Delivery {
            event: StoredEvent::new(event.encode_to_vec().into(), Stamp::default()),
            ..Default::default()
        };
        let plain = cronos_db::Delivery::decode(raw.encode_to_vec().as_slice()).unwrap();
        assert_eq!(plain.event, Some(cronos_db::Event::default()));
    }

    #[test]
    fn an_event_in_two_parts_is_merged() {
        let part = |event| cronos_db::Delivery {
            event: Some(event),
            ..Default::default()
        };
        let mut wire = part(cronos_db::Event {
            message_id: "m".into(),
            ..Default::default()
        })
        .encode_to_vec();
        wire.extend(
            part(cronos_db::Event {
                topic: "t".into(),
                ..Default::default()
            })
            .encode_to_vec(),
        );
        let plain = cronos_db::Delivery::decode(wire.as_slice()).unwrap();
        let raw = Delivery::decode(wire.as_slice()).unwrap();
        assert_eq!(cronos_db::Event::decode(raw.event.bytes).ok(), plain.event);
    }

    #[test]
    fn a_received_batch_is_skipped() {
        let wire = cronos_db::Delivery {
            batch: vec![cronos_db::Event::default(); 2],
            attempt: 1,
            ..Default::default()
        }
        .encode_to_vec();
        assert_eq!(Delivery::decode(wire.as_slice()).unwrap().attempt, 1);
    }

    #[test]
    fn wrong_wire_types_are_errors() {
        for wire in [
            &[0x08, 1][..],
            &[0x10, 1],
            &[0x1a, 0],
            &[0x22, 0],
            &[0x0a, 1],
        ] {
            assert!(Delivery::decode(wire).is_err(), "{wire:?}");
        }
    }
}
