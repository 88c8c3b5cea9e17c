//! ScheduledTopic: what a user writes.

// Columns repeat words such as `type_`; the lint takes them for one attribute.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ScheduledTopicStatus, duration, schema};

/// A topic of a ChronosDB cluster, with its settings.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "chronosdb.io",
    version = "v1alpha1",
    kind = "ScheduledTopic",
    namespaced,
    doc = "A topic of a ChronosDB cluster, with its settings.",
    status = "ScheduledTopicStatus",
    derive = "PartialEq",
    shortname = "sct",
    category = "chronos",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name"
    ),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(
        name = "Partitions",
        type_ = "integer",
        json_path = ".status.partitions"
    ),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextFire",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)").message("topicName cannot change: make another ScheduledTopic").field_path(".topicName"),
    validation = Rule::new("has(self.partitions) == has(oldSelf.partitions) && (!has(self.partitions) || self.partitions == oldSelf.partitions)").message("partitions is fixed when the topic is made: delete the ScheduledTopic and its topic, and make it anew").field_path(".partitions")
)]
pub struct ScheduledTopicSpec {
    /// The cluster. A cluster in another namespace must allow it in its topicNamespaces.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot change: make another ScheduledTopic"))]
    pub cluster_ref: ClusterReference,
    /// The topic's name. Left out: metadata.name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub topic_name: Option<String>,
    /// Partitions that its events are spread over. 1: one order for all its events. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub partitions: Option<u32>,
    /// How long events that nobody needs any more are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How long a message id is known after its event was due, such as 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("dedupWindow must be longer than 0s"))]
    pub dedup_window: Option<String>,
    /// A delivery that is not answered in this time has failed, such as 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("ackTimeout", "1ms", "24h"))]
    pub ack_timeout: Option<String>,
    /// Deliveries that may fail before the event is a dead letter, the first one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_retries: Option<u32>,
    /// The waits between deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How far ahead an event may be scheduled, such as 8760h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("maxHorizon must be longer than 0s"))]
    pub max_horizon: Option<String>,
    /// What may be published and may be pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Recurring schedules. The nodes have none yet, so the list must be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    #[x_kube(validation = Rule::new("size(self) == 0").message("the nodes have no recurring schedules yet: publish the events, each with its time"))]
    pub schedules: Vec<serde_json::Value>,
    /// What becomes of the topic when this resource is deleted. Left out: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Makes the operator leave the topic alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A ChronosCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ClusterReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Left out: the topic's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// How long events are kept that are over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Retention {
    /// Their age, such as 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("retention.age must be longer than 0s"))]
    pub age: Option<String>,
    /// The topic's size, such as 10Gi; the oldest go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1Pi'))").message("retention.size must be a quantity such as 10Gi, and at most 1Pi"))]
    pub size: Option<String>,
}

/// The waits between deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Backoff {
    /// The wait before the second delivery, such as 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("backoff.first", "1ms", "24h"))]
    pub first: Option<String>,
    /// By how much every further wait is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub factor: Option<f64>,
    /// The longest wait, such as 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("backoff.max", "1ms", "24h"))]
    pub max: Option<String>,
    /// The share of a wait that is left to chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: Option<f64>,
}

/// What may be published and may be pending. What is left out has no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Events that may be published per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_i64))]
    pub events_per_second: Option<i64>,
    /// Bytes that may be published per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_i64))]
    pub bytes_per_second: Option<i64>,
    /// Events that may wait for their time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_i64))]
    pub max_pending_events: Option<i64>,
    /// Bytes that may wait for their time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_i64))]
    pub max_pending_bytes: Option<i64>,
}

/// What becomes of a topic when its resource is deleted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum DeletionPolicy {
    /// The topic and its events stay in the database.
    #[default]
    Retain,
    /// The topic is deleted with everything in it, pending events too.
    Delete,
}

impl ScheduledTopic {
    /// The topic's name in the database.
    pub fn topic_name(&self) -> &str {
        self.spec
            .topic_name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;
    use kube::core::cel::Validator;
    use serde_json::{Value, json};

    use super::*;

    fn refusals(spec: &Value, old: Option<&Value>) -> Vec<String> {
        let crd = serde_json::to_value(ScheduledTopic::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let whole = |spec: &Value| {
            let mut spec = spec.clone();
            spec["clusterRef"] = json!({ "name": "db" });
            json!({ "metadata": { "name": "orders" }, "spec": spec })
        };
        let old = old.map(whole);
        match Validator::new().validate(schema, &whole(spec), old.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.iter().map(|error| error.to_string()).collect(),
        }
    }

    #[test]
    fn what_the_database_would_refuse_is_refused_at_once() {
        for fine in [
            json!({ "ackTimeout": "24h", "backoff": { "first": "1ms", "max": "1h" } }),
            json!({ "retention": { "age": "8760h", "size": "1Pi" } }),
            json!({ "schedules": [] }),
        ] {
            assert_eq!(refusals(&fine, None), Vec::<String>::new(), "{fine}");
        }
        for (wrong, why) in [
            (json!({ "ackTimeout": "0s" }), "ackTimeout"),
            (json!({ "backoff": { "max": "25h" } }), "backoff.max"),
            (json!({ "retention": { "size": "2Pi" } }), "at most 1Pi"),
            (
                json!({ "schedules": [{ "cron": "0 9 * * *" }] }),
                "no recurring schedules",
            ),
        ] {
            let refusals = refusals(&wrong, None);
            assert_eq!(refusals.len(), 1, "{wrong}: {refusals:?}");
            assert!(refusals[0].contains(why), "{refusals:?}");
        }
    }

    #[test]
    fn what_is_fixed_stays() {
        for (before, after) in [
            (json!({ "partitions": 2 }), json!({ "partitions": 3 })),
            (json!({ "partitions": 2 }), json!({})),
            (json!({ "topicName": "a" }), json!({ "topicName": "b" })),
            (json!({}), json!({ "topicName": "b" })),
        ] {
            assert_eq!(refusals(&after, Some(&before)).len(), 1, "{after}");
            assert!(refusals(&before, Some(&before)).is_empty());
        }
    }

    #[test]
    fn the_crd_has_what_kubectl_shows() {
        let crd = serde_json::to_value(ScheduledTopic::crd()).unwrap();
        assert_eq!(crd["spec"]["names"]["shortNames"], json!(["sct"]));
        assert_eq!(crd["spec"]["names"]["categories"], json!(["chronos"]));
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array();
        // kubectl shows a date that lies ahead as invalid.
        let next = columns
            .unwrap()
            .iter()
            .find(|column| column["name"] == "Next");
        assert_eq!(next.unwrap()["type"], "string");
    }
}
