//! Events to publish.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chronos_proto::cronos_db::Event;
use chronos_proto::raw::{DURABLE_ACK, PARTITION_KEY};

/// The wall clock, Unix ms.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// An event to publish, due now unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    topic: String,
    message_id: String,
    payload: Bytes,
    schedule_ts_ms: i64,
    deliver_after_ms: Option<i64>,
    expires_at_ms: i64,
    priority: i32,
    meta: BTreeMap<String, String>,
}

impl NewEvent {
    /// An event of `topic` (up to 255 bytes) with a `message_id` (1 to 128 bytes) that no
    /// other event has, and a payload of 1 byte to 4 MiB.
    pub fn new(
        topic: impl Into<String>,
        message_id: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            topic: topic.into(),
            message_id: message_id.into(),
            payload: payload.into(),
            schedule_ts_ms: now_ms(),
            deliver_after_ms: None,
            expires_at_ms: 0,
            priority: 0,
            meta: BTreeMap::new(),
        }
    }

    /// Deliver at this time, Unix ms.
    #[must_use]
    pub fn at_ms(mut self, schedule_ts_ms: i64) -> Self {
        self.schedule_ts_ms = schedule_ts_ms;
        self.deliver_after_ms = None;
        self
    }

    /// Deliver this long from now, by the clock of this machine.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.at_ms(now_ms().saturating_add(delay_ms))
    }

    /// Deliver this long after the server took the event, by the server's clock.
    #[must_use]
    pub fn after_arrival(mut self, delay: Duration) -> Self {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.schedule_ts_ms = 0;
        self.deliver_after_ms = Some(delay_ms);
        self
    }

    /// Do not deliver after this time, Unix ms, which must be after the time of delivery.
    #[must_use]
    pub fn expires_at_ms(mut self, expires_at_ms: i64) -> Self {
        self.expires_at_ms = expires_at_ms;
        self
    }

    /// 0 (unless told otherwise) to 9: higher goes first among events due in the same millisecond.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = i32::from(priority);
        self
    }

    /// Adds a pair of meta, replacing one of the same key.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Routes the event by this key instead of its id: events of one key share a partition.
    #[must_use]
    pub fn partition_key(self, key: impl Into<String>) -> Self {
        self.meta(PARTITION_KEY, key)
    }

    /// Asks for an fsync before the answer whatever the node's fsync mode.
    #[must_use]
    pub fn durable_ack(self) -> Self {
        self.meta(DURABLE_ACK, "true")
    }
}

impl From<NewEvent> for Event {
    fn from(new: NewEvent) -> Self {
        Self {
            message_id: new.message_id,
            schedule_ts: new.schedule_ts_ms,
            payload: new.payload,
            topic: new.topic,
            meta: new.meta,
            deliver_after_ms: new.deliver_after_ms,
            expires_at: new.expires_at_ms,
            priority: new.priority,
            ..Self::default()
        }
    }
}
