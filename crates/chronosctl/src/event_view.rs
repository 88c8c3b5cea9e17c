//! A stored event as it is printed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chronos_client::Event;
use serde::Serialize;

/// An event in JSON and YAML. A payload that is not UTF-8 is given in base64 instead.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    message_id: String,
    topic: String,
    partition_id: i32,
    offset: i64,
    schedule_ts: i64,
    created_ts: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        let text = String::from_utf8(event.payload.to_vec()).ok();
        Self {
            message_id: event.message_id.clone(),
            topic: event.topic.clone(),
            partition_id: event.partition_id,
            offset: event.offset,
            schedule_ts: event.schedule_ts,
            created_ts: event.created_ts,
            meta: event.meta.clone(),
            payload_base64: text.is_none().then(|| STANDARD.encode(&event.payload)),
            payload: text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_or_base64() {
        let mut event = Event {
            message_id: "m".into(),
            payload: "höhe".into(),
            ..Event::default()
        };
        let json = serde_json::to_value(EventView::from(&event)).unwrap();
        assert_eq!(json["payload"], "höhe");
        assert_eq!(json.get("payload_base64"), None);
        assert_eq!(json.get("meta"), None);
        event.payload = vec![0xff, 0x00].into();
        let json = serde_json::to_value(EventView::from(&event)).unwrap();
        assert_eq!(json.get("payload"), None);
        assert_eq!(json["payload_base64"], "/wA=");
    }
}
