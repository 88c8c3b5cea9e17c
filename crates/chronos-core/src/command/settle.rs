//! `Settle`: progress of one consumer group.
//!
//! The leader knows which events it delivered and in what order, so it says progress as stretches of
//! the due-key order: every event of the group's topic above `from` and up to `to` is settled.
//! A thousand acks in order are one stretch.

use super::DecodeError;
use crate::types::{DueKey, GroupNumber};
use crate::varint::{put_bytes, put_i64, put_u64, take_i64, take_string, take_u32, take_u64};

/// A delivery that failed and will be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The event.
    pub key: DueKey,
    /// Failed deliveries so far, this one included.
    pub failures: u32,
}

/// An event that failed for the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The event. A stretch that settles it rides in the same command.
    pub key: DueKey,
    /// Deliveries that failed.
    pub attempts: u32,
    /// What the consumer said, or that it did not answer.
    pub reason: String,
}

/// Progress of one group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settle {
    /// The group.
    pub group: GroupNumber,
    /// Settled stretches `(from, to]`.
    pub stretches: Vec<(DueKey, DueKey)>,
    /// Failed deliveries to remember.
    pub failures: Vec<Failure>,
    /// Events to move to the group's dead letters.
    pub deaths: Vec<Death>,
}

fn put_key(out: &mut Vec<u8>, key: DueKey) {
    put_i64(out, key.due_ms);
    put_u64(out, key.offset);
}

fn take_key(input: &mut &[u8]) -> Result<DueKey, DecodeError> {
    Ok(DueKey::new(take_i64(input)?, take_u64(input)?))
}

impl Settle {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty() && self.failures.is_empty() && self.deaths.is_empty()
    }

    /// The section's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 24 * self.stretches.len());
        put_u64(&mut out, u64::from(self.group));
        put_u64(&mut out, self.stretches.len() as u64);
        for (from, to) in &self.stretches {
            put_key(&mut out, *from);
            put_i64(&mut out, to.due_ms.wrapping_sub(from.due_ms));
            put_u64(&mut out, to.offset);
        }
        put_u64(&mut out, self.failures.len() as u64);
        for failure in &self.failures {
            put_key(&mut out, failure.key);
            put_u64(&mut out, u64::from(failure.failures));
        }
        put_u64(&mut out, self.deaths.len() as u64);
        for death in &self.deaths {
            put_key(&mut out, death.key);
            put_u64(&mut out, u64::from(death.attempts));
            put_bytes(&mut out, death.reason.as_bytes());
        }
        out
    }

    /// Reads a section's payload.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let mut settle = Settle {
            group: take_u32(input)?,
            ..Settle::default()
        };
        for _ in 0..take_u64(input)? {
            let from = take_key(input)?;
            let due_ms = from.due_ms.wrapping_add(take_i64(input)?);
            settle
                .stretches
                .push((from, DueKey::new(due_ms, take_u64(input)?)));
        }
        for _ in 0..take_u64(input)? {
            settle.failures.push(Failure {
                key: take_key(input)?,
                failures: take_u32(input)?,
            });
        }
        for _ in 0..take_u64(input)? {
            settle.deaths.push(Death {
                key: take_key(input)?,
                attempts: take_u32(input)?,
                reason: take_string(input)?,
            });
        }
        Ok(settle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = DueKey> {
        (any::<i64>(), any::<u64>()).prop_map(|(due_ms, offset)| DueKey::new(due_ms, offset))
    }

    proptest! {
        #[test]
        fn settles_come_back(
            group: u32,
            stretches in proptest::collection::vec((any_key(), any_key()), 0..5),
            failures in proptest::collection::vec((any_key(), any::<u32>()), 0..5),
            deaths in proptest::collection::vec((any_key(), any::<u32>(), ".*"), 0..5),
        ) {
            let settle = Settle {
                group,
                stretches,
                failures: failures.into_iter().map(|(key, failures)| Failure { key, failures }).collect(),
                deaths: deaths.into_iter().map(|(key, attempts, reason)| Death { key, attempts, reason }).collect(),
            };
            let payload = settle.encode();
            prop_assert_eq!(Settle::decode(&payload), Ok(settle));
            for cut in 0..payload.len() {
                prop_assert!(Settle::decode(&payload[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(payload in prop_oneof![
            any::<Vec<u8>>(),
            // Mostly valid: small numbers and short lists.
            prop::collection::vec(0_u8..4, 4..40),
        ]) {
            if let Ok(settle) = Settle::decode(&payload) {
                prop_assert_eq!(Settle::decode(&settle.encode()), Ok(settle));
            }
        }
    }
}
