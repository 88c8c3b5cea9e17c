//! What a cluster is made of: desired objects, as pure functions of the resource and its record.
//!
//! ```text
//! ChronosCluster ─┬─► record        what was decided once: seeds, copies, image
//!                 └─► pod, given, tls ──► stateful_set
//!                     services, service_account, disruption_budget, monitoring
//! ```
//!
//! The pod template does not depend on the number of nodes, so scaling restarts nothing.

mod disruption_budget;
mod given;
mod labels;
mod monitoring;
mod names;
mod pod;
mod record;
mod service_account;
mod services;
mod stateful_set;
mod template_hash;
mod tls;

pub use disruption_budget::disruption_budget;
pub use labels::{RETIRED_ANNOTATION, TEMPLATE_ANNOTATION, selector, selector_text};
pub use monitoring::{MonitoringKind, prometheus_rule, service_monitor};
pub use names::{Names, ordinal};
pub use pod::CONTAINER;
pub use record::Record;
pub use service_account::service_account;
pub use services::{client_service, nodes_service};
pub use stateful_set::{claim_size_bytes, stateful_set};
pub use template_hash::template_hash;
pub use tls::{SECRET_KEYS, TLS_FLAG, TLS_VOLUME};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::api::ChronosCluster;

/// Where clients connect.
pub const GRPC_PORT: i32 = 9000;
/// Where probes and metrics answer.
pub const HTTP_PORT: i32 = 8080;
/// Where the nodes talk to each other.
pub const PEER_PORT: i32 = 7947;

/// The metadata of an object of a cluster: gone when the cluster is.
fn metadata(cluster: &ChronosCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: cluster.metadata.namespace.clone(),
        labels: Some(labels::of_object(cluster)),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// Without blockOwnerDeletion: nothing that the cluster is made of holds up its deletion.
fn owner(cluster: &ChronosCluster) -> OwnerReference {
    OwnerReference {
        api_version: ChronosCluster::api_version(&()).into_owned(),
        kind: ChronosCluster::kind(&()).into_owned(),
        name: cluster.metadata.name.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

#[cfg(test)]
mod tests;
