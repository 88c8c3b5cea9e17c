//! An embedded message taken as bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::cronos_db::Event;

/// Reads one occurrence of a singular `Event` field without decoding it.
///
/// A singular message field that comes again means all parts merged, which is what their
/// concatenation decodes to, provided that each part is well formed by itself. No known
/// client sends parts, so only then is anything decoded or copied.
pub(super) fn merge_event(
    before: Option<&Bytes>,
    wire_type: WireType,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<Bytes, DecodeError> {
    let mut part = Bytes::new();
    encoding::bytes::merge(wire_type, &mut part, buf, ctx)?;
    let Some(before) = before else {
        return Ok(part);
    };
    Event::decode(before.clone())?;
    Event::decode(part.clone())?;
    let mut whole = BytesMut::with_capacity(before.len() + part.len());
    whole.put_slice(before);
    whole.put_slice(&part);
    Ok(whole.freeze())
}
