//! What an event must satisfy to be accepted. The first two messages and `payload is required` are
//! compared by existing clients, in this order.

use chronos_proto::raw::{EventFields, ScanError, scan_event};

/// Longest message id, bytes.
pub const MESSAGE_ID_BYTES: usize = 128;
/// Longest topic, bytes.
pub const TOPIC_BYTES: usize = 255;
/// Longest name of a consumer group, bytes.
pub const GROUP_BYTES: usize = 255;
/// Largest payload, bytes.
pub const PAYLOAD_BYTES: usize = 4 << 20;
/// Most metadata, keys and values together, bytes.
pub const META_BYTES: usize = 64 << 10;
/// Largest event as sent, unknown fields included, bytes.
pub const EVENT_BYTES: usize = 5 << 20;
/// The last time that can be asked for: the end of the year 9999, Unix milliseconds.
pub const LAST_SCHEDULE_MS: i64 = 253_402_300_799_999;

/// Why an event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not an event at all: the whole request is refused.
    #[error("{0}")]
    Encoding(ScanError),
    /// An event that breaks a rule: only this event is refused.
    #[error("{0}")]
    Rule(String),
}

fn rule(message: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::Rule(message.into()))
}

/// Reads an encoded event and checks it.
pub fn event(bytes: &[u8]) -> Result<EventFields<'_>, Invalid> {
    let fields = scan_event(bytes).map_err(Invalid::Encoding)?;
    check(&fields, bytes.len())?;
    Ok(fields)
}

fn check(fields: &EventFields<'_>, event_bytes: usize) -> Result<(), Invalid> {
    let EventFields {
        message_id,
        topic,
        payload,
        schedule_ts,
        meta_bytes,
        ..
    } = fields;
    if message_id.is_empty() {
        return rule("message_id is required");
    }
    if message_id.len() > MESSAGE_ID_BYTES {
        return rule(format!(
            "message_id has {} bytes, at most {MESSAGE_ID_BYTES} are allowed",
            message_id.len()
        ));
    }
    if topic.len() > TOPIC_BYTES {
        return rule(format!(
            "topic has {} bytes, at most {TOPIC_BYTES} are allowed",
            topic.len()
        ));
    }
    if payload.len() > PAYLOAD_BYTES {
        return rule(format!(
            "payload has {} bytes, at most {PAYLOAD_BYTES} are allowed",
            payload.len()
        ));
    }
    if *schedule_ts <= 0 {
        return rule("schedule_ts is required");
    }
    if *schedule_ts > LAST_SCHEDULE_MS {
        return rule(format!(
            "schedule_ts {schedule_ts} is after the year 9999: it counts milliseconds since 1970"
        ));
    }
    if payload.is_empty() {
        return rule("payload is required");
    }
    if *meta_bytes > META_BYTES {
        return rule(format!(
            "meta has {meta_bytes} bytes, at most {META_BYTES} are allowed"
        ));
    }
    if event_bytes > EVENT_BYTES {
        return rule(format!(
            "the event has {event_bytes} bytes, at most {EVENT_BYTES} are allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronos_proto::cronos_db::Event;
    use prost::Message;

    fn valid() -> Event {
        Event {
            message_id: "id".into(),
            schedule_ts: 1,
            payload: "p".into(),
            ..Event::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Event)) -> String {
        let mut event = valid();
        change(&mut event);
        super::event(&event.encode_to_vec())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rules_are_checked_in_the_order_clients_know() {
        assert!(event(&valid().encode_to_vec()).is_ok());
        assert_eq!(refusal(|e| *e = Event::default()), "message_id is required");
        assert_eq!(
            refusal(|e| (e.schedule_ts, e.payload) = (0, "".into())),
            "schedule_ts is required"
        );
        assert_eq!(
            refusal(|e| e.schedule_ts = i64::MIN),
            "schedule_ts is required"
        );
        assert_eq!(refusal(|e| e.payload = "".into()), "payload is required");
        assert!(refusal(|e| e.schedule_ts = i64::MAX).contains("year 9999"));
        assert!(refusal(|e| e.message_id = "x".repeat(129)).contains("at most 128"));
        assert!(refusal(|e| e.topic = "x".repeat(256)).contains("at most 255"));
        assert!(
            refusal(|e| e.payload = vec![0; PAYLOAD_BYTES + 1].into())
                .contains("payload has 4194305")
        );
        assert!(
            refusal(|e| drop(e.meta.insert("k".into(), "v".repeat(META_BYTES))))
                .contains("meta has")
        );
        let limits = |e: &mut Event| {
            (e.message_id, e.topic) = ("x".repeat(128), "t".repeat(255));
            (e.schedule_ts, e.payload) = (LAST_SCHEDULE_MS, vec![0; PAYLOAD_BYTES].into());
        };
        let mut largest = valid();
        limits(&mut largest);
        assert!(event(&largest.encode_to_vec()).is_ok());
        assert!(matches!(event(&[0xff]), Err(Invalid::Encoding(_))));
    }
}
