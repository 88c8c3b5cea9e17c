//! `Change`: cancel, move, fire or look at scheduled events.
//!
//! The leader finds the events by their ids and says what never changes of each: offset, topic, when
//! it was published for, and the hash of its id. What may have changed since, `apply` looks up
//! itself, so the outcome is decided at one place in the log.

use super::DecodeError;
use crate::keys::dedup::IdHash;
use crate::types::TopicNumber;
use crate::varint::{put_i64, put_u64, take_i64, take_u32, take_u64};

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: say how it stands.
    Get,
    /// It is never delivered.
    Cancel,
    /// It falls due at this time, Unix milliseconds; a time that is past means now.
    Reschedule(i64),
    /// It falls due now.
    FireNow,
}

/// A change of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The event.
    pub offset: u64,
    /// Its topic.
    pub topic: TopicNumber,
    /// When it was published for, Unix milliseconds.
    pub published_ms: i64,
    /// Hash of its message id.
    pub id: IdHash,
    /// Only if this is its version.
    pub if_version: Option<u64>,
    /// What to do.
    pub action: Action,
}

/// Longest encoding of an item, bytes.
const MOST_ITEM_BYTES: usize = 64;

impl Item {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.offset);
        put_u64(out, u64::from(self.topic));
        put_i64(out, self.published_ms);
        out.extend_from_slice(&self.id.to_le_bytes());
        put_u64(out, self.if_version.map_or(0, |version| version + 1));
        match self.action {
            Action::Get => put_u64(out, 0),
            Action::Cancel => put_u64(out, 1),
            Action::Reschedule(schedule_ms) => {
                put_u64(out, 2);
                put_i64(out, schedule_ms);
            }
            Action::FireNow => put_u64(out, 3),
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let offset = take_u64(input)?;
        let topic = take_u32(input)?;
        let published_ms = take_i64(input)?;
        let (id, rest) = input
            .split_first_chunk::<16>()
            .ok_or(DecodeError::Malformed("a change ends in its id"))?;
        *input = rest;
        let if_version = take_u64(input)?.checked_sub(1);
        let action = match take_u64(input)? {
            0 => Action::Get,
            1 => Action::Cancel,
            2 => Action::Reschedule(take_i64(input)?),
            3 => Action::FireNow,
            _ => return Err(DecodeError::Malformed("a change has an unknown action")),
        };
        Ok(Self {
            offset,
            topic,
            published_ms,
            id: IdHash::from_le_bytes(*id),
            if_version,
            action,
        })
    }
}

/// Changes of one section, judged one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The changes.
    pub items: Vec<Item>,
}

impl Change {
    /// The section's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + MOST_ITEM_BYTES * self.items.len());
        put_u64(&mut out, self.items.len() as u64);
        for item in &self.items {
            item.put(&mut out);
        }
        out
    }

    /// Reads a section's payload.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let mut items = Vec::new();
        for _ in 0..take_u64(input)? {
            items.push(Item::take(input)?);
        }
        Ok(Self { items })
    }
}

/// `Replace`: cancels an event and publishes others, both or neither.
///
/// ```text
/// item length u32, little-endian · item · publish section, see [`super::publish`]
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Replace<'a> {
    /// The event to cancel.
    pub item: Item,
    /// Where the publish section starts within the payload, bytes.
    pub publish_position: u32,
    /// What to publish.
    pub publish: &'a [u8],
}

impl<'a> Replace<'a> {
    /// The payload that cancels `item` and publishes `publish`.
    #[must_use]
    pub fn encode(item: &Item, publish: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(MOST_ITEM_BYTES);
        item.put(&mut encoded);
        let mut out = Vec::with_capacity(4 + encoded.len() + publish.len());
        out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        out.extend_from_slice(&encoded);
        out.extend_from_slice(publish);
        out
    }

    /// Reads a section's payload; the publish section is read by whoever accepts it.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let too_short = DecodeError::Malformed("a replacement runs past the end");
        let (len, rest) = payload.split_first_chunk::<4>().ok_or(too_short)?;
        let len = u32::from_le_bytes(*len);
        let (mut item, publish) = rest.split_at_checked(len as usize).ok_or(too_short)?;
        Ok(Self {
            item: Item::take(&mut item)?,
            publish_position: 4 + len,
            publish,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_item() -> impl Strategy<Value = Item> {
        let action = prop_oneof![
            Just(Action::Get),
            Just(Action::Cancel),
            any::<i64>().prop_map(Action::Reschedule),
            Just(Action::FireNow),
        ];
        let if_version = prop::option::of(0..u64::MAX);
        (any::<(u64, u32, i64, u128)>(), if_version, action).prop_map(
            |((offset, topic, published_ms, id), if_version, action)| Item {
                offset,
                topic,
                published_ms,
                id,
                if_version,
                action,
            },
        )
    }

    proptest! {
        #[test]
        fn changes_come_back(items in prop::collection::vec(any_item(), 0..5)) {
            let change = Change { items };
            let payload = change.encode();
            prop_assert_eq!(Change::decode(&payload), Ok(change));
            for cut in 0..payload.len() {
                prop_assert!(Change::decode(&payload[..cut]).is_err());
            }
        }

        #[test]
        fn replacements_come_back(item in any_item(), publish: Vec<u8>) {
            let payload = Replace::encode(&item, &publish);
            let replace = Replace::decode(&payload).unwrap();
            prop_assert_eq!((replace.item, replace.publish), (item, publish.as_slice()));
            prop_assert_eq!(&payload[replace.publish_position as usize..], publish.as_slice());
        }

        #[test]
        fn any_bytes_are_refused_or_read(payload in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 4..60),
        ]) {
            if let Ok(change) = Change::decode(&payload) {
                prop_assert_eq!(Change::decode(&change.encode()), Ok(change));
            }
            let _ = Replace::decode(&payload);
        }
    }
}
