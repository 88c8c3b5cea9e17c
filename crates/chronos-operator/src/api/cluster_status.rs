//! ChronosCluster: what the operator answers.

use serde::{Deserialize, Serialize};

use super::{Condition, schema};

/// What the operator saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChronosClusterStatus {
    /// The generation of the spec that this is about.
    pub observed_generation: i64,
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// In a sentence: what is done, or what is waited for.
    pub phase_reason: String,
    /// Pods that there are.
    pub replicas: u32,
    /// Pods that are ready.
    pub ready_replicas: u32,
    /// Pods made as the spec says now.
    pub updated_replicas: u32,
    /// Selects the pods; for the scale subresource.
    pub selector: String,
    /// The database's id. It never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The copies of each partition that the cluster was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// The image that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The version that every node runs, when they run the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<String>,
    /// Where clients inside the Kubernetes cluster connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Partitions that lack a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_replicated: Option<u32>,
    /// Replicas that are on their way to another node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves: Option<u32>,
    /// The nodes, as the database knows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// What is true of the cluster.
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A cluster in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Phase {
    /// Its nodes start for the first time.
    Creating,
    /// All is as the spec says.
    Running,
    /// Nodes are being added.
    ScalingUp,
    /// Nodes are being removed.
    ScalingDown,
    /// Nodes are being restarted.
    Updating,
    /// Something is broken and being repaired, or waited for.
    Repairing,
    /// Somebody has to decide something.
    Blocked,
    /// Its nodes are being stopped.
    Hibernating,
    /// Its nodes are stopped and their disks kept.
    Hibernated,
    /// The operator leaves it alone.
    Paused,
}

/// A node, as the database knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberStatus {
    /// Its name: the pod's.
    pub name: String,
    /// Its number. A node that lost its disk comes back with another one.
    pub number: u64,
    /// active or draining.
    pub state: String,
    /// Whether the other nodes hear from it.
    pub alive: bool,
    /// Partitions that it leads.
    pub leaders: u32,
    /// Copies of partitions that it has.
    pub replicas: u32,
    /// Log entries that its copies lack, in all.
    pub lag_entries: u64,
    /// Whether it votes in the catalog, and leads it.
    pub catalog: String,
    /// The pod that runs it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The zone that it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}
