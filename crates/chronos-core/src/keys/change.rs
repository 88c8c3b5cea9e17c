//! `Change`: what became of a scheduled event that was cancelled, moved or fired by hand.
//!
//! Key: partition (4) · offset (8, big-endian) · log index of the change (8, big-endian).
//! Value: state, topic, schedule_ts at publish, schedule_ts now, due time now, version, when it was
//! changed, log index of the version before. An event without a record is as it was published.
//!
//! The index may be ahead of the state that is about to apply the log again, so a version is only
//! believed when its log index is not above what is applied: that is why versions are kept apart
//! until a checkpoint covers them.

use super::field;
use crate::types::{PartitionNumber, TopicNumber};
use crate::varint::{Malformed, put_i64, put_u64, take_i64, take_u32, take_u64};

/// What an event has been turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its due time.
    Scheduled,
    /// It will never be delivered.
    Cancelled,
    /// It was fired by hand.
    Fired,
}

/// A version of an event's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Whether it is still to come.
    pub state: State,
    /// The event's topic.
    pub topic: TopicNumber,
    /// When the client wanted it when it was published, Unix milliseconds.
    pub published_ms: i64,
    /// When it is wanted now, Unix milliseconds.
    pub schedule_ms: i64,
    /// When it falls due now, Unix milliseconds: at `schedule_ms`, or right after the change if that
    /// was past.
    pub due_ms: i64,
    /// Counts the changes from 1, which is the event as it was published.
    pub version: u64,
    /// The leader's clock at the change, Unix milliseconds; 0 for the first version.
    pub changed_ms: i64,
    /// Log index of the stored version before this one.
    pub before: Option<u64>,
}

impl Version {
    /// An event as it was published.
    #[must_use]
    pub const fn first(topic: TopicNumber, schedule_ms: i64) -> Self {
        Self {
            state: State::Scheduled,
            topic,
            published_ms: schedule_ms,
            schedule_ms,
            due_ms: schedule_ms,
            version: 1,
            changed_ms: 0,
            before: None,
        }
    }

    /// The value to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        put_u64(
            &mut out,
            match self.state {
                State::Scheduled => 0,
                State::Cancelled => 1,
                State::Fired => 2,
            },
        );
        put_u64(&mut out, u64::from(self.topic));
        put_i64(&mut out, self.published_ms);
        put_i64(&mut out, self.schedule_ms);
        put_i64(&mut out, self.due_ms);
        put_u64(&mut out, self.version);
        put_i64(&mut out, self.changed_ms);
        // No entry with a change has index 0: the first one of a log is the leader's own.
        put_u64(&mut out, self.before.unwrap_or(0));
        out
    }

    /// Reads a value.
    pub fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        Ok(Self {
            state: match take_u64(input)? {
                0 => State::Scheduled,
                1 => State::Cancelled,
                2 => State::Fired,
                _ => return Err(Malformed),
            },
            topic: take_u32(input)?,
            published_ms: take_i64(input)?,
            schedule_ms: take_i64(input)?,
            due_ms: take_i64(input)?,
            version: take_u64(input)?,
            changed_ms: take_i64(input)?,
            before: Some(take_u64(input)?).filter(|index| *index > 0),
        })
    }
}

/// Length of a key, bytes.
pub const KEY_LEN: usize = 20;

/// The key of the version that the entry at `log_index` brought.
#[must_use]
pub fn key(partition: PartitionNumber, offset: u64, log_index: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..12].copy_from_slice(&offset.to_be_bytes());
    key[12..].copy_from_slice(&log_index.to_be_bytes());
    key
}

/// Offset and log index of a key.
pub fn decode_key(key: &[u8]) -> Result<(u64, u64), Malformed> {
    if key.len() != KEY_LEN {
        return Err(Malformed);
    }
    Ok((
        u64::from_be_bytes(field(key, 4).ok_or(Malformed)?),
        u64::from_be_bytes(field(key, 12).ok_or(Malformed)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn versions_come_back(
            state in prop::sample::select(vec![State::Scheduled, State::Cancelled, State::Fired]),
            topic: u32, times: [i64; 4], version: u64, before in prop::option::of(1_u64..),
        ) {
            let [published_ms, schedule_ms, due_ms, changed_ms] = times;
            let version = Version { state, topic, published_ms, schedule_ms, due_ms, version, changed_ms, before };
            let value = version.encode();
            prop_assert_eq!(Version::decode(&value), Ok(version));
            for cut in 0..value.len() {
                prop_assert_eq!(Version::decode(&value[..cut]), Err(Malformed));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(key: Vec<u8>, value in prop::collection::vec(0_u8..5, 0..16)) {
            let _ = decode_key(&key);
            if let Ok(version) = Version::decode(&value) {
                prop_assert_eq!(Version::decode(&version.encode()), Ok(version));
            }
        }

        #[test]
        fn key_order_is_order_of_offsets_then_of_changes(a: (u32, u64, u64), b: (u32, u64, u64)) {
            prop_assert_eq!(a.cmp(&b), key(a.0, a.1, a.2).cmp(&key(b.0, b.1, b.2)));
            prop_assert_eq!(decode_key(&key(a.0, a.1, a.2)), Ok((a.1, a.2)));
        }
    }
}
