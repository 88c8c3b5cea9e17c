//! From a ChronosCluster to what the planner strives for: pure.

use std::collections::BTreeSet;

use super::tls::Missing;
use crate::api::{
    ChronosCluster, FORCE_REPLACE_ANNOTATION, PAUSE_ANNOTATION, Storage, WhenGone, duration,
};
use crate::build::{Names, Record, claim_size_bytes, ordinal, template_hash};
use crate::plan::{Desired, Replace};

/// How long leaderships may take to move when nobody said, ms.
const DRAIN_TIMEOUT_MS: u64 = 120_000;
/// Most lateness of an event with which the next node is restarted when nobody said, ms.
const MAX_OVERDUE_MS: u64 = 10_000;

pub(super) fn desired(
    cluster: &ChronosCluster,
    record: &Record,
    missing: Option<&Missing>,
) -> Desired {
    let spec = &cluster.spec;
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let milliseconds = |text: &Option<String>, default: u64| {
        let given = text.as_deref().and_then(duration::milliseconds);
        given
            .and_then(|ms| u64::try_from(ms).ok())
            .unwrap_or(default)
    };
    let scaled_down = |storage: &Storage| storage.when_scaled_down;
    let when_scaled_down = spec.storage.as_ref().and_then(scaled_down);
    Desired {
        replicas: spec.replicas,
        copies: record.replication_factor,
        template: template_hash(cluster, record),
        claim_bytes: claim_size_bytes(cluster),
        fixed_claims: BTreeSet::new(),
        paused: is_paused(cluster),
        hibernate: spec.hibernate.unwrap_or(false),
        update: strategy.update_type.unwrap_or_default(),
        // A pod that is made now would wait for the Secret.
        held_back: missing.map(Missing::to_string),
        drain_timeout_ms: milliseconds(&strategy.drain_timeout, DRAIN_TIMEOUT_MS),
        max_overdue_ms: milliseconds(&strategy.max_overdue, MAX_OVERDUE_MS),
        delete_retired: when_scaled_down == Some(WhenGone::Delete),
        replace: replace(cluster),
        cluster_id: record.cluster_id.clone(),
    }
}

pub(super) fn is_paused(cluster: &ChronosCluster) -> bool {
    cluster.spec.paused.unwrap_or(false)
        || annotation(cluster, PAUSE_ANNOTATION).is_some_and(|value| value == "true")
}

fn replace(cluster: &ChronosCluster) -> Option<Replace> {
    let (pod, number) = annotation(cluster, FORCE_REPLACE_ANNOTATION)?.split_once(':')?;
    Some(Replace {
        ordinal: ordinal(pod, &Names::of(cluster).stateful_set())?,
        number: number.parse().ok()?,
    })
}

fn annotation<'a>(cluster: &'a ChronosCluster, key: &str) -> Option<&'a str> {
    let annotations = cluster.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(annotations: serde_json::Value) -> ChronosCluster {
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n", "annotations": annotations },
            "spec": { "updateStrategy": { "drainTimeout": "30s" } },
        }))
        .unwrap()
    }

    #[test]
    fn a_member_is_given_up_by_its_pod_and_number() {
        let named = cluster(json!({ FORCE_REPLACE_ANNOTATION: "db-1:7" }));
        assert_eq!(
            replace(&named),
            Some(Replace {
                ordinal: 1,
                number: 7
            })
        );
        for wrong in ["db-1", "other-1:7", "db-1:x", ""] {
            let named = cluster(json!({ FORCE_REPLACE_ANNOTATION: wrong }));
            assert_eq!(replace(&named), None, "{wrong}");
        }
    }

    #[test]
    fn what_nobody_said_has_a_default() {
        let plain = cluster(json!({}));
        let desired = desired(&plain, &Record::new(&plain, "i"), None);
        assert_eq!(desired.drain_timeout_ms, 30_000);
        assert_eq!(desired.max_overdue_ms, MAX_OVERDUE_MS);
        assert_eq!((desired.replicas, desired.copies), (3, 3));
        assert!(!desired.paused && !desired.hibernate);
        assert!(is_paused(&cluster(json!({ PAUSE_ANNOTATION: "true" }))));
    }
}
