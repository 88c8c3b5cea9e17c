//! ChronosCluster: what a user writes.

// Columns repeat words such as `type_`; the lint takes them for one attribute.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ChronosClusterStatus, Given, PodOverrides, Settings, Tls, duration, schema};

/// A ChronosDB cluster.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "chronosdb.io",
    version = "v1alpha1",
    kind = "ChronosCluster",
    namespaced,
    doc = "A ChronosDB cluster: nodes that keep events and deliver them at their time.",
    status = "ChronosClusterStatus",
    derive = "PartialEq",
    shortname = "chc",
    category = "chronos",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.currentVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Under-replicated", type_ = "integer", json_path = ".status.underReplicated", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.phaseReason", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name must have at most 40 characters: pods and volumes get longer names made of it").reason(Reason::FieldValueInvalid),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must begin with a letter and have only a-z, 0-9 and -: Services get names made of it").reason(Reason::FieldValueInvalid)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas % 2 == 1 || (has(self.allowEvenReplicas) && self.allowEvenReplicas)").message("replicas should be odd: an even number needs one more node for the same safety; set allowEvenReplicas: true to have it anyway").field_path(".replicas"),
    validation = Rule::new("!has(self.replicationFactor) || self.replicationFactor <= self.replicas").message("replicationFactor must not exceed replicas: each copy needs a node of its own").field_path(".replicationFactor"),
    validation = Rule::new("has(self.replicationFactor) == has(oldSelf.replicationFactor) && (!has(self.replicationFactor) || self.replicationFactor == oldSelf.replicationFactor)").message("replicationFactor is fixed when the cluster is made").field_path(".replicationFactor"),
    validation = Rule::new("(has(self.storage) ? quantity(self.storage.size) : quantity('10Gi')).compareTo(has(oldSelf.storage) ? quantity(oldSelf.storage.size) : quantity('10Gi')) >= 0").message("storage.size can only grow (it is 10Gi when left out): a volume cannot be made smaller").field_path(".storage"),
    validation = Rule::new("(has(self.storage) && has(self.storage.className) ? self.storage.className : '') == (has(oldSelf.storage) && has(oldSelf.storage.className) ? oldSelf.storage.className : '')").message("storage.className is fixed when the cluster is made").field_path(".storage"),
    validation = Rule::new("(has(self.tls) && has(self.tls.internalSecretName)) == (has(oldSelf.tls) && has(oldSelf.tls.internalSecretName)) || (has(oldSelf.hibernate) && oldSelf.hibernate && has(self.hibernate) && self.hibernate)").message("tls.internalSecretName can be added or taken away only while hibernate is true: nodes with and without it do not understand each other").field_path(".tls")
)]
pub struct ChronosClusterSpec {
    /// Nodes. An odd number, unless allowEvenReplicas is set. `kubectl scale` changes it.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 99))]
    pub replicas: u32,
    /// Allows an even number of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_even_replicas: Option<bool>,
    /// Partitions, fixed when the cluster is made. More partitions spread the load over more nodes.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 4096))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("partitions is fixed when the cluster is made"))]
    pub partitions: u32,
    /// Copies of each partition, fixed when the cluster is made. Left out: as many as there are
    /// nodes at that time, but at most 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub replication_factor: Option<u32>,
    /// The image of the nodes. Left out: the one that the operator had when the cluster was made,
    /// so that an upgrade of the operator restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never. A change restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(Always|IfNotPresent|Never)$"))]
    pub image_pull_policy: Option<String>,
    /// Processor and memory of a node. Left out: 250m and 512Mi are requested, without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::as_it_is")]
    pub resources: Option<Given<ResourceRequirements>>,
    /// Where a node keeps its data. Left out: 10Gi of the default StorageClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Settings of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Settings>,
    /// Additions to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverrides>,
    /// TLS for clients and between nodes. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How nodes are spread over zones (label topology.kubernetes.io/zone). Left out: Preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_spread: Option<ZoneSpread>,
    /// How changes reach running nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
    /// Whether voluntary evictions are limited to one node at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_disruption_budget: Option<DisruptionBudget>,
    /// The Service for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ClientService>,
    /// Objects for the Prometheus operator. They are made where its kinds exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// Namespaces besides the cluster's own whose ScheduledTopics may name it; `*` means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub topic_namespaces: Vec<String>,
    /// Stops all nodes and keeps their disks. Set it back to go on where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hibernate: Option<bool>,
    /// Makes the operator leave this cluster alone: no change is made until it is unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

fn default_replicas() -> u32 {
    3
}

fn default_partitions() -> u32 {
    16
}

impl Default for ChronosClusterSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            allow_even_replicas: None,
            partitions: default_partitions(),
            replication_factor: None,
            image: None,
            image_pull_policy: None,
            resources: None,
            storage: None,
            config: None,
            pod: None,
            tls: None,
            zone_spread: None,
            update_strategy: None,
            pod_disruption_budget: None,
            service: None,
            monitoring: None,
            topic_namespaces: Vec::new(),
            hibernate: None,
            paused: None,
        }
    }
}

/// The disk of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The size, such as 100Gi. It can be raised while the cluster runs, and never lowered.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))").message("storage.size must be a quantity such as 10Gi"))]
    pub size: String,
    /// The StorageClass. Left out: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// What becomes of the disks when the cluster is deleted. Left out: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<WhenGone>,
    /// What becomes of a node's disk when the node was removed. Left out: Retain. A disk that was
    /// retained is deleted when a node of the same name is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_scaled_down: Option<WhenGone>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: "10Gi".to_owned(),
            class_name: None,
            when_deleted: None,
            when_scaled_down: None,
        }
    }
}

/// What becomes of a disk that nobody uses any more.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum WhenGone {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// How nodes are spread over zones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum ZoneSpread {
    /// Evenly where that is possible.
    #[default]
    Preferred,
    /// A node that would make it uneven is not scheduled.
    Required,
    /// Zones do not matter.
    Disabled,
}

/// How changes reach running nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Who restarts the nodes. Left out: RollingUpdate.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub update_type: Option<UpdateType>,
    /// How long a node's leaderships may take to move to others before it is stopped all the same.
    /// Left out: 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    pub drain_timeout: Option<String>,
    /// The next node is not restarted while an event is overdue by more than this. Left out: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    pub max_overdue: Option<String>,
}

/// Who restarts nodes when their pods are to change.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum UpdateType {
    /// The operator, one at a time.
    #[default]
    RollingUpdate,
    /// Somebody who deletes the pods.
    OnDelete,
}

/// Whether voluntary evictions are limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Left out: true. A cluster of one node has no budget, which would block every drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// The Service for clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientService {
    /// Its type. Left out: ClusterIP.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub service_type: Option<ServiceType>,
    /// Its annotations, for example for a load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How a Service is reached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum ServiceType {
    /// From inside the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// On a port of every Kubernetes node.
    NodePort,
    /// Through a load balancer of the provider.
    LoadBalancer,
}

/// Objects for the Prometheus operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Makes a ServiceMonitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<bool>,
    /// Makes a PrometheusRule with alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_rule: Option<bool>,
    /// Labels of both, by which a Prometheus finds them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;
