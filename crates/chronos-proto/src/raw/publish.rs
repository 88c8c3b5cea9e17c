//! Requests that bring events in.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::embedded::merge_event;

/// `PublishRequest` with its event undecoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// The encoded event, not yet checked; `None` when the field was absent.
    pub event: Option<Bytes>,
    /// True skips the duplicate check of message_id.
    pub allow_duplicate: bool,
    /// A `PastPolicy`.
    pub past: i32,
    /// True asks for the event that has the message_id already.
    pub return_existing: bool,
}

impl Message for PublishRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(event) = &self.event {
            encoding::bytes::encode(1, event, buf);
        }
        if self.allow_duplicate {
            encoding::bool::encode(2, &true, buf);
        }
        if self.past != 0 {
            encoding::int32::encode(100, &self.past, buf);
        }
        if self.return_existing {
            encoding::bool::encode(101, &true, buf);
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
            1 => {
                self.event = Some(merge_event(self.event.as_ref(), wire_type, buf, ctx)?);
                Ok(())
            }
            2 => encoding::bool::merge(wire_type, &mut self.allow_duplicate, buf, ctx),
            100 => encoding::int32::merge(wire_type, &mut self.past, buf, ctx),
            101 => encoding::bool::merge(wire_type, &mut self.return_existing, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        self.event
            .as_ref()
            .map_or(0, |event| encoding::bytes::encoded_len(1, event))
            + if self.allow_duplicate {
                encoding::bool::encoded_len(2, &true)
            } else {
                0
            }
            + if self.past != 0 {
                encoding::int32::encoded_len(100, &self.past)
            } else {
                0
            }
            + if self.return_existing {
                encoding::bool::encoded_len(101, &true)
            } else {
                0
            }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `PublishBatchRequest` with its events undecoded.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PublishBatchRequest {
    /// The encoded events in request order, not yet checked.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
    /// True skips the duplicate check of every message_id.
    #[prost(bool, tag = "2")]
    pub allow_duplicate: bool,
    /// A `PastPolicy`.
    #[prost(int32, tag = "100")]
    pub past: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cronos_db::{self, Event};

    fn event(id: &str) -> Event {
        Event {
            message_id: id.into(),
            schedule_ts: 5,
            payload: Bytes::from_static(b"p"),
            ..Event::default()
        }
    }

    #[test]
    fn single_request_is_the_same_on_the_wire() {
        for allow_duplicate in [false, true] {
            for wanted in [None, Some(Event::default()), Some(event("a"))] {
                let plain = cronos_db::PublishRequest {
                    event: wanted.clone(),
                    allow_duplicate,
                    return_existing: !allow_duplicate,
                    past: i32::from(allow_duplicate) * 2,
                };
                let raw = PublishRequest::decode(plain.encode_to_vec().as_slice()).unwrap();
                assert_eq!(
                    raw.event,
                    wanted.as_ref().map(|e| Bytes::from(e.encode_to_vec()))
                );
                assert_eq!(raw.allow_duplicate, allow_duplicate);
                assert_eq!(raw.return_existing, !allow_duplicate);
                assert_eq!(raw.past, plain.past);
                assert_eq!(raw.encode_to_vec(), plain.encode_to_vec());
                assert_eq!(raw.encoded_len(), plain.encoded_len());
            }
        }
    }

    #[test]
    fn batch_request_is_the_same_on_the_wire() {
        let plain = cronos_db::PublishBatchRequest {
            events: vec![event("a"), Event::default(), event("b")],
            allow_duplicate: true,
            past: 1,
        };
        let raw = PublishBatchRequest::decode(plain.encode_to_vec().as_slice()).unwrap();
        assert_eq!(raw.events.len(), 3);
        for (bytes, event) in raw.events.iter().zip(&plain.events) {
            assert_eq!(&Event::decode(bytes.clone()).unwrap(), event);
        }
        assert_eq!(raw.encode_to_vec(), plain.encode_to_vec());
    }

    #[test]
    fn an_event_in_two_parts_is_merged() {
        let mut wire = cronos_db::PublishRequest {
            event: Some(event("first")),
            allow_duplicate: false,
            ..Default::default()
        }
        .encode_to_vec();
        let second = cronos_db::PublishRequest {
            event: Some(Event {
                topic: "t".into(),
                message_id: "second".into(),
                ..Event::default()
            }),
            allow_duplicate: true,
            ..Default::default()
        };
        wire.extend(second.encode_to_vec());

        let plain = cronos_db::PublishRequest::decode(wire.as_slice()).unwrap();
        let raw = PublishRequest::decode(wire.as_slice()).unwrap();
        assert_eq!(Event::decode(raw.event.unwrap()).ok(), plain.event);
        assert!(raw.allow_duplicate);
    }

    #[test]
    fn parts_that_are_only_well_formed_together_are_refused() {
        // Field 4 (topic) announces two bytes; the part ends after one.
        let wire = [0x0a, 3, 0x22, 2, b'a', 0x0a, 1, b'b'];
        assert!(cronos_db::PublishRequest::decode(wire.as_slice()).is_err());
        assert!(PublishRequest::decode(wire.as_slice()).is_err());
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut wire = vec![0x78, 0x96, 0x01]; // field 15, varint
        wire.extend([0xfa, 0x07, 1, 0xff]); // field 127, bytes
        wire.extend([0x7b, 0x08, 1, 0x7c]); // field 15, group
        let plain = cronos_db::PublishRequest {
            event: Some(event("a")),
            allow_duplicate: true,
            ..Default::default()
        };
        wire.extend(plain.encode_to_vec());
        assert!(
            PublishRequest::decode(wire.as_slice())
                .unwrap()
                .event
                .is_some()
        );
        assert!(
            PublishBatchRequest::decode(wire.as_slice())
                .unwrap()
                .allow_duplicate
        );
    }

    #[test]
    fn wrong_wire_types_and_truncation_are_errors() {
        for wire in [
            &[0x08, 1][..],
            &[0x0d, 0, 0, 0, 0],
            &[0x12, 0],
            &[0x0a, 5, 1],
            &[0x0a],
            &[0x80],
            &[0x0c],
            &[0x00],
        ] {
            assert!(PublishRequest::decode(wire).is_err(), "{wire:?}");
            assert!(PublishBatchRequest::decode(wire).is_err(), "{wire:?}");
        }
    }
}
