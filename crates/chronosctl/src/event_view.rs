//! A stored event as it is printed.

use std::collections::BTreeMap;

use chronos_client::Event;
use serde::Serialize;

use crate::payload::{one_line, shown, text_or_base64};

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
        let (payload, payload_base64) = text_or_base64(&event.payload);
        Self {
            message_id: event.message_id.clone(),
            topic: event.topic.clone(),
            partition_id: event.partition_id,
            offset: event.offset,
            schedule_ts: event.schedule_ts,
            created_ts: event.created_ts,
            meta: event.meta.clone(),
            payload,
            payload_base64,
        }
    }
}

impl EventView {
    /// Payload and metadata as rows of a table.
    pub(crate) fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = vec![["payload".to_string(), shown(self.payload.as_deref())]];
        rows.extend(meta_rows(&self.meta));
        rows
    }
}

/// Metadata as rows of a table.
pub(crate) fn meta_rows(meta: &BTreeMap<String, String>) -> impl Iterator<Item = [String; 2]> {
    meta.iter()
        .map(|(key, value)| [format!("meta {key}"), one_line(value.as_bytes())])
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
