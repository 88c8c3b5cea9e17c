//! What a cluster may say about its pods beyond what the operator needs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, LocalObjectReference, Toleration, Volume, VolumeMount,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Given, schema};

/// Additions to the pods. What the operator sets itself wins: its labels, variables, ports, probes and the
/// restricted security settings. Volumes, mounts and containers must not have the names and paths of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a Kubernetes node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    pub tolerations: Vec<Given<Toleration>>,
    /// Affinity. The operator spreads pods over Kubernetes nodes and zones besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::as_it_is")]
    pub affinity: Option<Given<Affinity>>,
    /// The priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// The scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Secrets to pull images with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<PullSecret>,
    /// Environment variables of the node's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    pub env: Vec<Given<EnvVar>>,
    /// Containers beside the node's. One without a securityContext gets the node's, which is restricted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    pub sidecars: Vec<Given<Container>>,
    /// Volumes beside the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    pub volumes: Vec<Given<Volume>>,
    /// Where the node's container mounts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::list_as_it_is")]
    pub volume_mounts: Vec<Given<VolumeMount>>,
}

/// A Secret of type kubernetes.io/dockerconfigjson in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct PullSecret {
    /// Its name.
    pub name: String,
}

impl From<&PullSecret> for LocalObjectReference {
    fn from(secret: &PullSecret) -> Self {
        Self {
            name: secret.name.clone(),
        }
    }
}
