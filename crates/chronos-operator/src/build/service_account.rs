//! The ServiceAccount of the pods: an identity without rights.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{Names, metadata};
use crate::api::ChronosCluster;

/// No token is mounted: the server never calls Kubernetes.
pub fn service_account(cluster: &ChronosCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, Names::of(cluster).cluster().to_owned()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
