//! Replies and deliveries, scanned in place. Fields that nobody here reads are skipped.

use super::protobuf::{Fields, Malformed, Value};

/// `PublishResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// Whether the event was accepted.
    pub success: bool,
    /// Why not.
    pub error: String,
}

impl Published {
    /// Scans `message`.
    pub(crate) fn scan(message: &[u8]) -> Result<Self, Malformed> {
        let mut reply = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Value::Uint(value)) => reply.success = value != 0,
                (2, Value::Bytes(text)) => reply.error = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
        Ok(reply)
    }
}

/// `PublishBatchResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchPublished {
    /// Whether no event failed.
    pub success: bool,
    /// The first error.
    pub error: String,
    /// Events accepted.
    pub published: u64,
    /// Events refused because their id was known.
    pub duplicates: u64,
    /// Events refused for another reason.
    pub errors: u64,
}

impl BatchPublished {
    /// Scans `message`.
    pub(crate) fn scan(message: &[u8]) -> Result<Self, Malformed> {
        let mut reply = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Value::Uint(value)) => reply.success = value != 0,
                (2, Value::Bytes(text)) => reply.error = String::from_utf8_lossy(text).into_owned(),
                (3, Value::Uint(value)) => reply.published = value,
                (4, Value::Uint(value)) => reply.duplicates = value,
                (5, Value::Uint(value)) => reply.errors = value,
                _ => {}
            }
        }
        Ok(reply)
    }
}

/// The fields of an `Event` that are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// message_id.
    pub id: &'a [u8],
    /// schedule_ts in Unix ms.
    pub schedule_ms: i64,
    /// The payload.
    pub payload: &'a [u8],
    /// Offset in its partition.
    pub offset: i64,
}

impl<'a> Event<'a> {
    /// Scans `message` over what `self` already holds: in protobuf the last value of a field
    /// counts.
    fn merge(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            match field? {
                (1, Value::Bytes(id)) => self.id = id,
                (2, Value::Uint(value)) => self.schedule_ms = value as i64,
                (3, Value::Bytes(payload)) => self.payload = payload,
                (7, Value::Uint(value)) => self.offset = value as i64,
                _ => {}
            }
        }
        Ok(())
    }
}

/// `Delivery`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// The event, when the field is set.
    pub event: Option<Event<'a>>,
    /// The events of a batch, which some servers send instead of single ones.
    pub batch: Vec<Event<'a>>,
    /// What the ack must name.
    pub delivery_id: &'a [u8],
    /// 1 for the first attempt.
    pub attempt: u64,
    /// The events of a batch that was asked for, each with its attempt.
    pub batched: Vec<(Event<'a>, u64)>,
}

/// A message of `batched`.
fn batched(message: &[u8]) -> Result<(Event<'_>, u64), Malformed> {
    let (mut event, mut attempt) = (Event::default(), 0);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(bytes)) => event.merge(bytes)?,
            (2, Value::Uint(value)) => attempt = value,
            _ => {}
        }
    }
    Ok((event, attempt))
}

impl<'a> Delivery<'a> {
    /// Scans `message`.
    pub(crate) fn scan(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut delivery = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Value::Bytes(event)) => delivery.event.get_or_insert_default().merge(event)?,
                (2, Value::Bytes(id)) => delivery.delivery_id = id,
                (3, Value::Uint(value)) => delivery.attempt = value,
                (5, Value::Bytes(bytes)) => {
                    let mut event = Event::default();
                    event.merge(bytes)?;
                    delivery.batch.push(event);
                }
                (101, Value::Bytes(bytes)) => delivery.batched.push(batched(bytes)?),
                _ => {}
            }
        }
        Ok(delivery)
    }

    /// The events delivered with their attempts: the single one, or those of the batch when there
    /// is no single one.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&Event<'a>, u64)> {
        let batch = if self.event.is_none() {
            self.batch.as_slice()
        } else {
            &[]
        };
        let alike = self.event.iter().chain(batch);
        let batched = self
            .batched
            .iter()
            .map(|(event, attempt)| (event, *attempt));
        alike.map(|event| (event, self.attempt)).chain(batched)
    }
}

/// `AckResponse`: whether the ack was taken.
pub(crate) fn ack_taken(message: &[u8]) -> Result<bool, Malformed> {
    let mut taken = false;
    for field in Fields::new(message) {
        if let (1, Value::Uint(value)) = field? {
            taken = value != 0;
        }
    }
    Ok(taken)
}
