//! Counting what was released, on a replica that does not lead.
//!
//! A leader counts scheduled events as it releases them. A replica that follows counts them in the
//! index, from its last checkpoint on, when it takes the next one.

use super::{Partition, released};
use crate::store::{Store, StoreError};
use crate::types::{DueKey, PartitionNumber, TopicNumber};

/// What is to be counted, as of one moment.
#[derive(Debug, Clone)]
pub struct Counting {
    partition: PartitionNumber,
    /// Of each topic, events with due keys up to `from`.
    released: Vec<u64>,
    from: DueKey,
    upto: DueKey,
}

impl<S: Store> Partition<S> {
    /// What was released since the last checkpoint, to be counted without the partition.
    pub fn counting(&mut self) -> Counting {
        // What is counted from here on is about the time after whatever was deleted.
        self.deletion_seen(None);
        let (mut released, from) = self.saved_released.clone();
        released.resize(self.topics.len().max(released.len()), 0);
        Counting {
            partition: self.number,
            released,
            from,
            upto: self.horizon.max(from),
        }
    }
}

impl Counting {
    /// How many scheduled events of each topic have due keys up to the one returned with them: what
    /// [`Partition::begin_checkpoint`] asks for.
    pub fn count(mut self, store: &impl Store) -> Result<(Vec<u64>, DueKey), StoreError> {
        let Self { from, upto, .. } = self;
        for (topic, released) in (0..).zip(&mut self.released) {
            let topic: TopicNumber = topic;
            *released += released::count_scheduled(store, self.partition, topic, from, upto)?;
        }
        Ok((self.released, upto))
    }
}
