//! From a ScheduledTopic to the settings of its topic: pure. What the spec leaves out is left out.

use crate::api::{ScheduledTopicSpec, duration, quantity};
use crate::database::TopicSettings;

pub(super) fn settings(spec: &ScheduledTopicSpec) -> TopicSettings {
    let ms = |text: &Option<String>| text.as_deref().and_then(duration::milliseconds);
    let whole = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok());
    let retention = spec.retention.clone().unwrap_or_default();
    let backoff = spec.backoff.clone().unwrap_or_default();
    let limits = spec.limits.clone().unwrap_or_default();
    let size = retention.size.as_deref().and_then(quantity::bytes);
    TopicSettings {
        partitions: whole(spec.partitions),
        retention_age_ms: ms(&retention.age),
        retention_bytes: size.and_then(|size| i64::try_from(size).ok()),
        dedup_window_ms: ms(&spec.dedup_window),
        ack_timeout_ms: ms(&spec.ack_timeout),
        max_retries: whole(spec.max_retries),
        backoff_first_ms: ms(&backoff.first),
        backoff_factor: backoff.factor.map(thousandths),
        backoff_max_ms: ms(&backoff.max),
        backoff_jitter: backoff.jitter.map(thousandths),
        max_horizon_ms: ms(&spec.max_horizon),
        events_per_second: limits.events_per_second,
        bytes_per_second: limits.bytes_per_second,
        max_pending_events: limits.max_pending_events,
        max_pending_bytes: limits.max_pending_bytes,
    }
}

/// What a node makes of such a number. With more decimals it would differ from what the node says for ever.
fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_says_what_it_says_and_no_more() {
        let spec: ScheduledTopicSpec = serde_json::from_value(json!({
            "clusterRef": { "name": "db" },
            "partitions": 1,
            "retention": { "age": "24h", "size": "1Gi" },
            "ackTimeout": "30s",
            "backoff": { "first": "500ms", "factor": 2 },
            "limits": { "maxPendingEvents": 100 },
        }))
        .unwrap();
        assert_eq!(
            settings(&spec),
            TopicSettings {
                partitions: Some(1),
                retention_age_ms: Some(86_400_000),
                retention_bytes: Some(1 << 30),
                ack_timeout_ms: Some(30_000),
                backoff_first_ms: Some(500),
                backoff_factor: Some(2.0),
                max_pending_events: Some(100),
                ..TopicSettings::default()
            }
        );
    }

    #[test]
    fn more_decimals_than_a_node_keeps_are_left_out() {
        for (jitter, factor, kept) in [
            (0.123_456, 1.000_4, (0.123, 1.0)),
            (1.0 / 3.0, 100.0 / 3.0, (0.333, 33.333)),
            (0.25, 1.5, (0.25, 1.5)),
        ] {
            let spec: ScheduledTopicSpec = serde_json::from_value(json!({
                "clusterRef": { "name": "db" },
                "backoff": { "jitter": jitter, "factor": factor },
            }))
            .unwrap();
            let settings = settings(&spec);
            assert_eq!(settings.backoff_jitter, Some(kept.0));
            assert_eq!(settings.backoff_factor, Some(kept.1));
            // As a node takes it and says it again.
            let said = (kept.1 * 1e3).round() as u64 as f64 / 1e3;
            assert_eq!(settings.backoff_factor, Some(said));
        }
    }
}
