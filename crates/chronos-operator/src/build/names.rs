//! The names of a cluster's objects, and the addresses of its nodes.

use crate::api::ChronosCluster;

use super::{GRPC_PORT, PEER_PORT};

/// Names within one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    cluster: String,
    namespace: String,
}

impl Names {
    /// The names of this cluster.
    pub fn of(cluster: &ChronosCluster) -> Self {
        Self {
            cluster: cluster.metadata.name.clone().unwrap_or_default(),
            namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        }
    }

    /// The cluster's own.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The cluster's namespace and name.
    pub fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.cluster.clone())
    }

    /// The StatefulSet's, and so the beginning of the pods'.
    pub fn stateful_set(&self) -> String {
        self.cluster.clone()
    }

    /// The Service that gives every pod a name.
    pub fn nodes_service(&self) -> String {
        format!("{}-nodes", self.cluster)
    }

    /// The Service for clients.
    pub fn client_service(&self) -> String {
        format!("{}-client", self.cluster)
    }

    /// The ConfigMap with the record.
    pub fn record(&self) -> String {
        format!("{}-record", self.cluster)
    }

    /// A pod's name, which is also its node's.
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.cluster)
    }

    /// The claim of a pod's disk.
    pub fn claim(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.claim_prefix())
    }

    /// The beginning of the claims' names.
    pub fn claim_prefix(&self) -> String {
        format!("{CLAIM}-{}", self.cluster)
    }

    /// A host name that resolves to a pod whether it is ready or not.
    pub fn pod_host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.nodes_service(), self.namespace)
    }

    /// Where a node talks to its peers.
    pub fn peer_address(&self, ordinal: u32) -> String {
        format!("{}:{PEER_PORT}", self.pod_host(&self.pod(ordinal)))
    }

    /// Where a node answers clients.
    pub fn grpc_address(&self, ordinal: u32) -> String {
        format!("{}:{GRPC_PORT}", self.pod_host(&self.pod(ordinal)))
    }

    /// Where clients connect.
    pub fn client_address(&self) -> String {
        format!("{}:{GRPC_PORT}", self.client_host())
    }

    /// The host name of the Service for clients, which certificates name.
    pub fn client_host(&self) -> String {
        format!("{}.{}.svc", self.client_service(), self.namespace)
    }
}

/// The name of the volume that holds a node's data.
pub(super) const CLAIM: &str = "data";

/// The number at the end of a pod's or claim's name, if the rest is `prefix`.
pub fn ordinal(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let number = digits.parse().ok()?;
    (digits == u32::to_string(&number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_stateful_set_gives_have_an_ordinal() {
        assert_eq!(ordinal("db-0", "db"), Some(0));
        assert_eq!(ordinal("db-12", "db"), Some(12));
        assert_eq!(ordinal("data-db-3", "data-db"), Some(3));
        for name in [
            "db", "db-", "db-01", "db-x", "db-1-2", "other-1", "db1", "db-+1",
        ] {
            assert_eq!(ordinal(name, "db"), None, "{name}");
        }
    }
}
