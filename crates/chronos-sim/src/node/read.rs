//! Reading events back from a node's log.

use bytes::Bytes;
use chronos_core::command::publish::{SLOT_LEN, Slot, slot_position};
use chronos_core::keys::batch::{self, Batch};
use chronos_core::store::{Family, MemoryStore, Store, StoreError};
use chronos_wal::Wal;

/// The partition that simulations have.
pub const PARTITION: u32 = 0;

/// Why an event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The index does not know where it stands.
    #[error("the index does not know where event {0} stands")]
    Missing(u64),
    /// What stands there is not what was written.
    #[error("event {0} is damaged")]
    Damaged(u64),
    /// The index cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be read.
    #[error(transparent)]
    Wal(#[from] chronos_wal::Error),
}

impl ReadError {
    /// Whether the log has given up the entry that it stood in.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Wal(chronos_wal::Error::NotFound { .. }))
    }
}

/// An event as it stands in the log.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// When it was published for, Unix milliseconds.
    pub schedule_ms: i64,
    /// Its topic.
    pub topic: Vec<u8>,
    /// All of it.
    pub body: Bytes,
}

/// Reads an event. Its checksum is verified.
pub fn read(store: &MemoryStore, wal: &Wal, offset: u64) -> Result<StoredEvent, ReadError> {
    let missing = ReadError::Missing(offset);
    let floor = batch::key(PARTITION, 0);
    let at = batch::key(PARTITION, offset);
    let Some((key, value)) = store.last_at_or_before(Family::Batch, &floor, &at)? else {
        return Err(missing);
    };
    let Some((batch, place)) = Batch::decode(&key, &value)
        .ok()
        .and_then(|batch| batch.place(offset).map(|place| (batch, place)))
    else {
        return Err(missing);
    };
    let slot_at = place.section_position + slot_position(place.slot);
    let bytes = wal.read_body_at(batch.log_index, slot_at, SLOT_LEN as u32)?;
    let Some(bytes) = bytes.first_chunk::<SLOT_LEN>() else {
        return Err(ReadError::Damaged(offset));
    };
    let slot = Slot::decode(bytes);
    let body_at = place.section_position + slot_position(place.section_count);
    // A damaged slot may say anything, and the log refuses what is outside of the record.
    let body_at = body_at.saturating_add(slot.body_position);
    let body = match wal.read_body_at(batch.log_index, body_at, slot.body_len) {
        Err(chronos_wal::Error::OutsideBody { .. }) => return Err(ReadError::Damaged(offset)),
        read => read?,
    };
    if !Slot::verify(bytes, &body) {
        return Err(ReadError::Damaged(offset));
    }
    Ok(StoredEvent {
        schedule_ms: slot.schedule_ms,
        topic: slot.topic_of(&body).unwrap_or_default().to_vec(),
        body,
    })
}
