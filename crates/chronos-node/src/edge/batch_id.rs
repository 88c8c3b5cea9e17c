//! The id of a batch of deliveries: opaque to clients, and all that an answer needs to be understood,
//! also after a restart.
//!
//! `b:partition:group:session:` and then runs of events, `due_ms.offset.count.attempt`, separated by
//! commas. All decimal; due times and offsets count from those of the run before.

use crate::delivery::{AckRun, Dispatch, SessionId};
use bytes::{Bytes, BytesMut};
use chronos_core::types::{DueKey, GroupNumber, PartitionNumber};
use std::fmt::Write;

/// Most events of a batch.
pub const MOST_EVENTS: u64 = 10_000;

/// A batch, as its id tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId {
    /// The partition.
    pub partition: PartitionNumber,
    /// The group.
    pub group: GroupNumber,
    /// The subscription it went to.
    pub session: SessionId,
    /// The events, in the order of the batch.
    pub runs: Vec<AckRun>,
}

impl BatchId {
    /// An id without events.
    pub fn new(partition: PartitionNumber, group: GroupNumber, session: SessionId) -> Self {
        Self {
            partition,
            group,
            session,
            runs: Vec::new(),
        }
    }

    /// Adds the next event.
    pub fn push(&mut self, Dispatch { key, attempt, .. }: Dispatch) {
        push(&mut self.runs, key, attempt);
    }

    /// How many events it stands for.
    pub fn events(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Due key and attempt of each event, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = Dispatch> {
        self.runs.iter().flat_map(|run| {
            (0..run.count).map(|n| Dispatch {
                key: DueKey::new(run.first.due_ms, run.first.offset.saturating_add(n)),
                attempt: run.attempt,
                letter: None,
            })
        })
    }

    /// Whether a text is to be read as the id of a batch.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("b:")
    }

    /// Writes the id; `buffer` serves many ids without an allocation for each.
    pub fn encode(&self, buffer: &mut BytesMut) -> Bytes {
        let (partition, group, session) = (self.partition, self.group, self.session.0);
        // Writing to a BytesMut cannot fail: it grows.
        let _ = write!(buffer, "b:{partition}:{group}:{session}:");
        let mut before = DueKey::new(0, 0);
        for (n, run) in self.runs.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let due_ms = run.first.due_ms.wrapping_sub(before.due_ms);
            let offset = run.first.offset.wrapping_sub(before.offset) as i64;
            let _ = write!(
                buffer,
                "{comma}{due_ms}.{offset}.{}.{}",
                run.count, run.attempt
            );
            before = run.first;
        }
        buffer.split().freeze()
    }

    /// Reads an id; `None` when it is not one.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("b:")?.splitn(4, ':');
        let mut next = || parts.next();
        let mut id = Self::new(
            next()?.parse().ok()?,
            next()?.parse().ok()?,
            SessionId(next()?.parse().ok()?),
        );
        let (mut before, mut events) = (DueKey::new(0, 0), 0_u64);
        for run in next()?.split(',') {
            let mut numbers = run.split('.');
            let mut next = || numbers.next();
            let due_ms: i64 = next()?.parse().ok()?;
            let offset: i64 = next()?.parse().ok()?;
            let first = DueKey::new(
                before.due_ms.wrapping_add(due_ms),
                before.offset.wrapping_add(offset as u64),
            );
            let run = AckRun {
                first,
                count: next()?.parse().ok()?,
                attempt: next()?.parse().ok()?,
            };
            events = events.checked_add(run.count)?;
            if next().is_some() || run.count == 0 || events > MOST_EVENTS {
                return None;
            }
            before = first;
            id.runs.push(run);
        }
        Some(id)
    }
}

/// Adds an event to runs, to the last one where it continues that.
pub fn push(runs: &mut Vec<AckRun>, key: DueKey, attempt: u32) {
    match runs.last_mut() {
        Some(run)
            if run.first.due_ms == key.due_ms
                && run.attempt == attempt
                && run.first.offset.checked_add(run.count) == Some(key.offset) =>
        {
            run.count += 1;
        }
        _ => runs.push(AckRun {
            first: key,
            count: 1,
            attempt,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_dispatch() -> impl Strategy<Value = Dispatch> {
        let keys = prop_oneof![
            (0_i64..3, 0_u64..9, 1_u32..3),
            (any::<i64>(), any::<u64>(), any::<u32>()),
        ];
        keys.prop_map(|(due_ms, offset, attempt)| Dispatch {
            key: DueKey::new(due_ms, offset),
            attempt,
            letter: None,
        })
    }

    proptest! {
        #[test]
        fn ids_come_back(
            partition: u32, group: u32, session: u64,
            events in prop::collection::vec(any_dispatch(), 1..20),
        ) {
            let mut id = BatchId::new(partition, group, SessionId(session));
            events.iter().for_each(|event| id.push(*event));
            prop_assert_eq!(id.dispatches().collect::<Vec<_>>(), events);
            let text = id.encode(&mut BytesMut::new());
            let text = std::str::from_utf8(&text).unwrap();
            prop_assert!(BatchId::is_one(text));
            prop_assert_eq!(BatchId::decode(text), Some(id));
        }

        #[test]
        fn anything_else_is_refused(text: String) {
            prop_assert_eq!(BatchId::decode(&text), None);
            prop_assert_eq!(BatchId::decode(&format!("b:1:1:1:{text}")), None);
        }
    }

    #[test]
    fn neighbours_are_one_run_and_no_id_stands_for_more_than_a_batch() {
        let mut id = BatchId::new(0, 0, SessionId(1));
        for offset in 0..1000 {
            id.push(Dispatch {
                key: DueKey::new(5, offset),
                attempt: 1,
                letter: None,
            });
        }
        assert_eq!((id.runs.len(), id.events()), (1, 1000));
        assert!(BatchId::decode("b:0:0:1:5.0.10000.1").is_some());
        for text in [
            "b:0:0:1:5.0.10001.1",
            "b:0:0:1:5.0.10000.1,1.0.1.1",
            "b:0:0:1:5.0.0.1",
            "b:0:0:1:5.0.1.1.1",
            "b:0:0:1:",
            "0:0:5:0:1:1",
        ] {
            assert_eq!(BatchId::decode(text), None, "{text}");
        }
    }
}
