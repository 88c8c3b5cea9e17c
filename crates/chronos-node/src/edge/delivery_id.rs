//! The id of a delivery: opaque to clients, and all that an answer needs to be understood, also after
//! a restart.
//!
//! `partition:group:due_ms:offset:attempt:session`, decimal numbers. Names are not in it, so they may
//! hold any characters.

use crate::delivery::SessionId;
use bytes::{Bytes, BytesMut};
use chronos_core::types::{DueKey, GroupNumber, PartitionNumber};
use std::fmt::Write;

/// A delivery, as its id tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryId {
    /// The partition.
    pub partition: PartitionNumber,
    /// The group.
    pub group: GroupNumber,
    /// The event.
    pub key: DueKey,
    /// Which delivery of the event to the group.
    pub attempt: u32,
    /// The subscription it went to.
    pub session: SessionId,
}

impl DeliveryId {
    /// Writes the id; `buffer` serves many ids without an allocation for each.
    pub fn encode(&self, buffer: &mut BytesMut) -> Bytes {
        let Self {
            partition,
            group,
            key,
            attempt,
            session,
        } = self;
        // Writing to a BytesMut cannot fail: it grows.
        let _ = write!(
            buffer,
            "{partition}:{group}:{}:{}:{attempt}:{}",
            key.due_ms, key.offset, session.0
        );
        buffer.split().freeze()
    }

    /// Reads an id; `None` when it is not one.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let id = Self {
            partition: next()?.parse().ok()?,
            group: next()?.parse().ok()?,
            key: DueKey::new(next()?.parse().ok()?, next()?.parse().ok()?),
            attempt: next()?.parse().ok()?,
            session: SessionId(next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_come_back(partition: u32, group: u32, due_ms: i64, offset: u64, attempt: u32, session: u64) {
            let key = DueKey::new(due_ms, offset);
            let id = DeliveryId { partition, group, key, attempt, session: SessionId(session) };
            let text = id.encode(&mut BytesMut::new());
            prop_assert_eq!(DeliveryId::decode(std::str::from_utf8(&text).unwrap()), Some(id));
        }

        #[test]
        fn anything_else_is_refused(text: String) {
            prop_assert_eq!(DeliveryId::decode(&text), None);
        }
    }
}
