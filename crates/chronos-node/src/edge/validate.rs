//! What an event must satisfy to be accepted. The first two messages and `payload is required` are
//! compared by existing clients, in this order.

use chronos_core::command::publish::MAX_PRIORITY;
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

/// Reads an encoded event that came in at `now_ms` and checks it. Where the event says how long
/// after that it is due, `schedule_ts` is set to the time that makes.
pub fn event(bytes: &[u8], now_ms: i64) -> Result<EventFields<'_>, Invalid> {
    let mut fields = scan_event(bytes).map_err(Invalid::Encoding)?;
    let after = resolve(&mut fields, now_ms);
    check(&fields, bytes.len(), after)?;
    Ok(fields)
}

/// Turns a delay into a time. What is wrong with the delay is told only when everything before it
/// in the order of the rules is right.
fn resolve(fields: &mut EventFields<'_>, now_ms: i64) -> Result<(), Invalid> {
    let Some(after_ms) = fields.deliver_after_ms else {
        return Ok(());
    };
    if fields.schedule_ts != 0 {
        return rule("schedule_ts and deliver_after_ms are both given, only one may be");
    }
    if after_ms < 0 {
        return rule(format!(
            "deliver_after_ms {after_ms} is negative: it counts from now on"
        ));
    }
    match now_ms.checked_add(after_ms) {
        Some(schedule_ts) if schedule_ts <= LAST_SCHEDULE_MS => {
            fields.schedule_ts = schedule_ts;
            Ok(())
        }
        _ => rule(format!(
            "deliver_after_ms {after_ms} ends after the year 9999"
        )),
    }
}

fn check(
    fields: &EventFields<'_>,
    event_bytes: usize,
    after: Result<(), Invalid>,
) -> Result<(), Invalid> {
    let EventFields {
        message_id,
        topic,
        payload,
        schedule_ts,
        meta_bytes,
        expires_at,
        priority,
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
    after?;
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
    if !(0..=i32::from(MAX_PRIORITY)).contains(priority) {
        return rule(format!(
            "priority {priority} is not between 0 and {MAX_PRIORITY}"
        ));
    }
    if *expires_at != 0 && *expires_at <= *schedule_ts {
        return rule(format!(
            "expires_at {expires_at} is not after schedule_ts {schedule_ts}"
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

    const NOW_MS: i64 = 1_700_000_000_000;

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
        super::event(&event.encode_to_vec(), NOW_MS)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rules_are_checked_in_the_order_clients_know() {
        assert!(event(&valid().encode_to_vec(), NOW_MS).is_ok());
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
        assert!(event(&largest.encode_to_vec(), NOW_MS).is_ok());
        assert!(matches!(event(&[0xff], NOW_MS), Err(Invalid::Encoding(_))));
    }

    #[test]
    fn a_delay_becomes_a_time_by_the_clock_given() {
        let after = |after_ms| Event {
            schedule_ts: 0,
            deliver_after_ms: Some(after_ms),
            ..valid()
        };
        for (after_ms, schedule_ts) in [(0, NOW_MS), (5, NOW_MS + 5)] {
            let bytes = after(after_ms).encode_to_vec();
            assert_eq!(event(&bytes, NOW_MS).unwrap().schedule_ts, schedule_ts);
        }
        assert!(refusal(|e| e.deliver_after_ms = Some(0)).contains("both given"));
        assert!(refusal(|e| *e = after(-1)).contains("negative"));
        let unnamed = |e: &mut Event| (*e = after(-1), e.message_id.clear()).1;
        assert_eq!(refusal(unnamed), "message_id is required");
    }

    /// apache/rocketmq#10872 and #5376: a delay that overflowed was delivered at once.
    #[test]
    fn a_delay_that_overflows_is_refused_and_never_due_at_once() {
        let last_ms = LAST_SCHEDULE_MS - NOW_MS;
        let after = |after_ms| Event {
            schedule_ts: 0,
            deliver_after_ms: Some(after_ms),
            ..valid()
        };
        let bytes = after(last_ms).encode_to_vec();
        let fields = event(&bytes, NOW_MS).unwrap();
        assert_eq!(fields.schedule_ts, LAST_SCHEDULE_MS);
        for after_ms in [
            last_ms + 1,
            i64::MAX - NOW_MS,
            i64::MAX - NOW_MS + 1,
            i64::MAX,
        ] {
            assert!(refusal(|e| *e = after(after_ms)).contains("year 9999"));
        }
        // 2^31 and 2^32 ms are ordinary delays.
        for after_ms in [1 << 31, 1 << 32] {
            let bytes = after(after_ms).encode_to_vec();
            assert_eq!(
                event(&bytes, NOW_MS).unwrap().schedule_ts,
                NOW_MS + after_ms
            );
        }
    }

    #[test]
    fn options_have_limits() {
        assert!(refusal(|e| e.priority = 10).contains("between 0 and 9"));
        assert!(refusal(|e| e.priority = -1).contains("between 0 and 9"));
        for expires_at in [-1, 1] {
            assert!(refusal(|e| e.expires_at = expires_at).contains("not after schedule_ts"));
        }
        let mut good = valid();
        (good.priority, good.expires_at) = (9, 2);
        assert!(event(&good.encode_to_vec(), NOW_MS).is_ok());
    }
}
