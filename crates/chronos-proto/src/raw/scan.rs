//! Reading an encoded event in place.

use std::ops::Range;

use prost::encoding::{self, DecodeContext, WireType};

use super::{DURABLE_ACK, PARTITION_KEY};

/// The fields of one encoded event, borrowed from its bytes. An absent field has its
/// proto3 default, and an empty range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFields<'a> {
    /// The client's id of the event.
    pub message_id: &'a str,
    /// Where message_id lies in the input, bytes.
    pub message_id_range: Range<usize>,
    /// When to deliver, Unix ms.
    pub schedule_ts: i64,
    /// What to deliver.
    pub payload: &'a [u8],
    /// Where the payload lies in the input, bytes.
    pub payload_range: Range<usize>,
    /// The topic.
    pub topic: &'a str,
    /// Where the topic lies in the input, bytes.
    pub topic_range: Range<usize>,
    /// Meta value of `partition_key`, if present.
    pub partition_key: Option<&'a str>,
    /// True when meta `cronos.durable_ack` is "true".
    pub durable_ack: bool,
    /// Sum of all meta keys and values, bytes; an entry that is overwritten counts too.
    pub meta_bytes: usize,
    /// Number of meta entries; one that is overwritten counts too.
    pub meta_entries: usize,
    /// When the server took the event, Unix ms; in a request, whatever the client wrote.
    pub created_ts: i64,
    /// Position in the partition; in a request, whatever the client wrote.
    pub offset: i64,
    /// The partition; in a request, whatever the client wrote.
    pub partition_id: i32,
    /// The checksum; in a request, whatever the client wrote.
    pub checksum: u32,
    /// The Raft term; in a request, whatever the client wrote.
    pub term: i64,
    /// Not to be delivered after this time, Unix ms; 0 for never too late.
    pub expires_at: i64,
    /// Goes before events of lower priority that are due at the same time.
    pub priority: i32,
    /// Deliver this long after the server took the event, ms.
    pub deliver_after_ms: Option<i64>,
}

impl<'a> EventFields<'a> {
    /// What the event is routed by: `partition_key` if it is not empty, else message_id.
    pub fn routing_key(&self) -> &'a str {
        match self.partition_key {
            Some(key) if !key.is_empty() => key,
            _ => self.message_id,
        }
    }
}

/// Why bytes are not an encoded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Truncated, or not protobuf, or a known field with a wrong wire type.
    Malformed,
    /// A string is not UTF-8. The name is that of the field.
    NotUtf8(&'static str),
}

impl std::fmt::Display for ScanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("event is not valid protobuf"),
            Self::NotUtf8(field) => write!(f, "{field} is not valid UTF-8"),
        }
    }
}

impl std::error::Error for ScanError {}

impl From<prost::DecodeError> for ScanError {
    fn from(_: prost::DecodeError) -> Self {
        Self::Malformed
    }
}

/// Reads the fields of an encoded `Event` in one pass, allocating nothing for valid input.
///
/// Accepts exactly what decoding into [`cronos_db::Event`](crate::cronos_db::Event) accepts
/// (except groups nested about a hundred deep in unknown fields): unknown fields are
/// skipped, the last occurrence of a field or meta key wins.
///
/// # Errors
/// [`ScanError::Malformed`] for truncated or ill-formed bytes, [`ScanError::NotUtf8`] for a
/// message_id, topic, meta key or meta value that is not UTF-8.
pub fn scan_event(input: &[u8]) -> Result<EventFields<'_>, ScanError> {
    let mut fields = EventFields::default();
    let mut rest = input;
    while !rest.is_empty() {
        let (tag, wire_type) = encoding::decode_key(&mut rest)?;
        match tag {
            1 => {
                let value = take_bytes(wire_type, &mut rest)?;
                fields.message_id = utf8(value, "message_id")?;
                fields.message_id_range = range_before(input, rest, value.len());
            }
            2 => fields.schedule_ts = take_varint(wire_type, &mut rest)? as i64,
            3 => {
                fields.payload = take_bytes(wire_type, &mut rest)?;
                fields.payload_range = range_before(input, rest, fields.payload.len());
            }
            4 => {
                let value = take_bytes(wire_type, &mut rest)?;
                fields.topic = utf8(value, "topic")?;
                fields.topic_range = range_before(input, rest, value.len());
            }
            5 => {
                let entry = scan_meta_entry(take_bytes(wire_type, &mut rest)?)?;
                fields.meta_bytes += entry.key.len() + entry.value.len();
                fields.meta_entries += 1;
                match entry.key {
                    PARTITION_KEY => fields.partition_key = Some(entry.value),
                    DURABLE_ACK => fields.durable_ack = entry.value == "true",
                    _ => {}
                }
            }
            6 => fields.created_ts = take_varint(wire_type, &mut rest)? as i64,
            7 => fields.offset = take_varint(wire_type, &mut rest)? as i64,
            8 => fields.partition_id = take_varint(wire_type, &mut rest)? as i32,
            9 => fields.checksum = take_varint(wire_type, &mut rest)? as u32,
            10 => fields.term = take_varint(wire_type, &mut rest)? as i64,
            100 => fields.expires_at = take_varint(wire_type, &mut rest)? as i64,
            101 => fields.priority = take_varint(wire_type, &mut rest)? as i32,
            102 => fields.deliver_after_ms = Some(take_varint(wire_type, &mut rest)? as i64),
            _ => encoding::skip_field(wire_type, tag, &mut rest, DecodeContext::default())?,
        }
    }
    Ok(fields)
}

struct MetaEntry<'a> {
    key: &'a str,
    value: &'a str,
}

fn scan_meta_entry(mut rest: &[u8]) -> Result<MetaEntry<'_>, ScanError> {
    let mut entry = MetaEntry { key: "", value: "" };
    while !rest.is_empty() {
        let (tag, wire_type) = encoding::decode_key(&mut rest)?;
        match tag {
            1 => entry.key = utf8(take_bytes(wire_type, &mut rest)?, "meta key")?,
            2 => entry.value = utf8(take_bytes(wire_type, &mut rest)?, "meta value")?,
            _ => encoding::skip_field(wire_type, tag, &mut rest, DecodeContext::default())?,
        }
    }
    Ok(entry)
}

fn take_bytes<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], ScanError> {
    if wire_type != WireType::LengthDelimited {
        return Err(ScanError::Malformed);
    }
    let len = encoding::decode_varint(rest)?;
    let len = usize::try_from(len).map_err(|_| ScanError::Malformed)?;
    let (value, after) = rest.split_at_checked(len).ok_or(ScanError::Malformed)?;
    *rest = after;
    Ok(value)
}

fn take_varint(wire_type: WireType, rest: &mut &[u8]) -> Result<u64, ScanError> {
    if wire_type != WireType::Varint {
        return Err(ScanError::Malformed);
    }
    Ok(encoding::decode_varint(rest)?)
}

fn utf8<'a>(value: &'a [u8], field: &'static str) -> Result<&'a str, ScanError> {
    std::str::from_utf8(value).map_err(|_| ScanError::NotUtf8(field))
}

/// The range of the `len` bytes that end where `rest`, the tail of `input`, begins.
fn range_before(input: &[u8], rest: &[u8], len: usize) -> Range<usize> {
    let end = input.len() - rest.len();
    end - len..end
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::cronos_db::Event;

    pub(in crate::raw) fn any_event() -> impl Strategy<Value = Event> {
        let meta_key = prop_oneof![
            Just(PARTITION_KEY.to_string()),
            Just(DURABLE_ACK.to_string()),
            "\\PC{0,8}",
        ];
        let meta_value = prop_oneof![Just("true".to_string()), "\\PC{0,8}"];
        let body = (
            "\\PC{0,20}",
            any::<i64>(),
            vec(any::<u8>(), 0..40),
            "\\PC{0,10}",
            btree_map(meta_key, meta_value, 0..4),
        );
        let stamp = any::<(i64, i64, i32, u32, i64)>();
        let options = any::<(i64, i32, Option<i64>)>();
        (body, stamp, options).prop_map(
            |((message_id, schedule_ts, payload, topic, meta), stamp, options)| Event {
                message_id,
                schedule_ts,
                payload: payload.into(),
                topic,
                meta,
                created_ts: stamp.0,
                offset: stamp.1,
                partition_id: stamp.2,
                checksum: stamp.3,
                term: stamp.4,
                expires_at: options.0,
                priority: options.1,
                deliver_after_ms: options.2,
            },
        )
    }

    /// Holds the scan against the generated decoder: same verdict, same values.
    fn check(wire: &[u8]) {
        let scanned = scan_event(wire);
        let Ok(event) = Event::decode(wire) else {
            assert!(scanned.is_err(), "accepted what prost refuses: {wire:?}");
            return;
        };
        let fields = scanned.unwrap_or_else(|e| panic!("{e}: prost accepts {wire:?}"));
        assert_eq!(fields.message_id, event.message_id);
        assert_eq!(
            &wire[fields.message_id_range.clone()],
            event.message_id.as_bytes()
        );
        assert_eq!(fields.schedule_ts, event.schedule_ts);
        assert_eq!(fields.payload, event.payload);
        assert_eq!(&wire[fields.payload_range.clone()], event.payload);
        assert_eq!(fields.topic, event.topic);
        assert_eq!(&wire[fields.topic_range.clone()], event.topic.as_bytes());
        assert_eq!(
            fields.partition_key,
            event.meta.get(PARTITION_KEY).map(String::as_str)
        );
        assert_eq!(
            fields.durable_ack,
            event
                .meta
                .get(DURABLE_ACK)
                .is_some_and(|value| value == "true")
        );
        assert_eq!(
            (fields.expires_at, fields.priority, fields.deliver_after_ms),
            (event.expires_at, event.priority, event.deliver_after_ms)
        );
        assert!(fields.meta_entries >= event.meta.len());
        let distinct: usize = event.meta.iter().map(|(k, v)| k.len() + v.len()).sum();
        if fields.meta_entries == event.meta.len() {
            assert_eq!(fields.meta_bytes, distinct);
        }
        assert_eq!(
            (
                fields.created_ts,
                fields.offset,
                fields.partition_id,
                fields.checksum,
                fields.term
            ),
            (
                event.created_ts,
                event.offset,
                event.partition_id,
                event.checksum,
                event.term
            )
        );
    }

    /// Bytes that look like event fields more often than random ones do.
    fn field_like() -> impl Strategy<Value = Vec<u8>> {
        let field = (0u32..13, 0u8..8, vec(any::<u8>(), 0..6), any::<bool>()).prop_map(
            |(tag, wire_type, body, with_len)| {
                let mut field = vec![(tag << 3) as u8 | wire_type];
                if with_len {
                    field.push(body.len() as u8);
                }
                field.extend(body);
                field
            },
        );
        vec(field, 0..5).prop_map(|fields| fields.concat())
    }

    proptest! {
        #[test]
        fn agrees_on_encoded_events(event in any_event()) {
            check(&event.encode_to_vec());
        }

        #[test]
        fn agrees_on_merged_events(first in any_event(), second in any_event()) {
            check(&[first.encode_to_vec(), second.encode_to_vec()].concat());
        }

        #[test]
        fn agrees_on_damaged_events(
            event in any_event(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        ) {
            let mut wire = event.encode_to_vec();
            prop_assume!(!wire.is_empty());
            check(&wire[..cut.index(wire.len())]);
            let at = at.index(wire.len());
            wire[at] = byte;
            check(&wire);
        }

        #[test]
        fn agrees_on_field_like_bytes(wire in field_like()) {
            check(&wire);
        }

        #[test]
        fn agrees_on_random_bytes(wire in vec(any::<u8>(), 0..64)) {
            check(&wire);
        }
    }

    #[test]
    fn says_which_string_is_not_utf8() {
        for (wire, field) in [
            (&[0x0a, 1, 0xff][..], "message_id"),
            (&[0x22, 1, 0xff], "topic"),
            (&[0x2a, 3, 0x0a, 1, 0xff], "meta key"),
            (&[0x2a, 3, 0x12, 1, 0xff], "meta value"),
        ] {
            assert_eq!(scan_event(wire), Err(ScanError::NotUtf8(field)));
        }
    }

    #[test]
    fn edges_of_varints_agree() {
        let mut longest = vec![0x10];
        longest.extend([0xff; 9]);
        for last in [0x00, 0x01, 0x02, 0x7f] {
            check(&[longest.as_slice(), &[last]].concat());
        }
        check(&[0x40, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        check(&[0x48, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        check(&[
            0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ]);
    }

    #[test]
    fn the_routing_key_falls_back_to_the_id() {
        let mut event = Event {
            message_id: "id".into(),
            ..Event::default()
        };
        assert_eq!(
            scan_event(&event.encode_to_vec()).unwrap().routing_key(),
            "id"
        );
        event.meta.insert(PARTITION_KEY.into(), String::new());
        assert_eq!(
            scan_event(&event.encode_to_vec()).unwrap().routing_key(),
            "id"
        );
        event.meta.insert(PARTITION_KEY.into(), "key".into());
        assert_eq!(
            scan_event(&event.encode_to_vec()).unwrap().routing_key(),
            "key"
        );
    }
}
