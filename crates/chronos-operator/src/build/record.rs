//! The record of a cluster: what was decided when it was made and must not follow the spec.
//!
//! It is a ConfigMap beside the resource, because a status does not survive a backup. Some of its
//! values become environment variables that are read when a container starts: they may change
//! without a change of the pod template.
//!
//! **Seeds.** A cluster founds itself when all its seeds are there and have fresh disks. The seeds
//! are the first nodes, at most three, chosen when the cluster is made, and stay the same however it
//! is scaled. Once the database has said that it is founded, `seeds` gives way to `join`: a node
//! with a fresh disk may then only join. So the first node never founds a second cluster when it
//! loses its disk.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;

use super::{Names, metadata};
use crate::api::ChronosCluster;

/// Most nodes that found a cluster. Others join it.
const MOST_FOUNDERS: u32 = 3;
/// Copies of a partition when nobody chose a number.
const DEFAULT_COPIES: u32 = 3;

/// What was decided once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first nodes, those with ordinals below this number, found the cluster.
    pub founders: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// The image of a cluster whose spec names none.
    pub image: String,
    /// The database's id, once it was founded.
    pub cluster_id: Option<String>,
    /// Nodes that a new node may ask to join, those with ordinals below this number.
    pub joinable: u32,
}

impl Record {
    /// The record of a cluster that is made now.
    pub fn new(cluster: &ChronosCluster, default_image: &str) -> Self {
        let spec = &cluster.spec;
        let founders = spec.replicas.clamp(1, MOST_FOUNDERS);
        Self {
            founders,
            replication_factor: spec
                .replication_factor
                .unwrap_or(DEFAULT_COPIES)
                .clamp(1, spec.replicas.max(1)),
            image: spec
                .image
                .clone()
                .unwrap_or_else(|| default_image.to_owned()),
            cluster_id: None,
            joinable: founders,
        }
    }

    /// The record of a cluster that has none: a new one, or one that lost it. Its StatefulSet and its
    /// status say what it said.
    pub fn recovered(
        cluster: &ChronosCluster,
        set: Option<&StatefulSet>,
        default_image: &str,
    ) -> Self {
        let mut record = Self::new(cluster, default_image);
        let containers = set
            .and_then(|set| set.spec.as_ref())
            .and_then(|set| set.template.spec.as_ref());
        if let Some(image) = containers.and_then(|pod| pod.containers.first()?.image.clone()) {
            record.image = image;
        }
        if let Some(status) = &cluster.status {
            record.cluster_id.clone_from(&status.cluster_id);
            if let Some(copies) = status.replication_factor {
                record.replication_factor = copies;
            }
        }
        record
    }

    /// Reads a record. `None` if something is missing or makes no sense.
    pub fn read(map: &ConfigMap) -> Option<Self> {
        let data = map.data.as_ref()?;
        let number = |key: &str| data.get(key)?.parse::<u32>().ok();
        Some(Self {
            founders: number("founders")?,
            replication_factor: number("replicationFactor")?,
            image: data.get("image")?.clone(),
            cluster_id: data.get("clusterId").cloned(),
            joinable: number("joinable")?,
        })
    }

    /// The ConfigMap that says it.
    pub fn config_map(&self, cluster: &ChronosCluster) -> ConfigMap {
        let names = Names::of(cluster);
        let addresses = |count: u32| {
            let all: Vec<String> = (0..count).map(|n| names.peer_address(n)).collect();
            all.join(",")
        };
        let mut data = BTreeMap::from([
            ("founders".to_owned(), self.founders.to_string()),
            (
                "replicationFactor".to_owned(),
                self.replication_factor.to_string(),
            ),
            ("image".to_owned(), self.image.clone()),
            ("joinable".to_owned(), self.joinable.to_string()),
        ]);
        match &self.cluster_id {
            None => {
                data.insert("seeds".to_owned(), addresses(self.founders));
            }
            Some(id) => {
                data.insert("clusterId".to_owned(), id.clone());
                data.insert("join".to_owned(), addresses(self.joinable));
            }
        }
        ConfigMap {
            metadata: metadata(cluster, names.record()),
            data: Some(data),
            ..ConfigMap::default()
        }
    }

    /// The image of the nodes: the spec's, or the one that was chosen.
    pub fn image<'a>(&'a self, cluster: &'a ChronosCluster) -> &'a str {
        cluster.spec.image.as_deref().unwrap_or(&self.image)
    }
}
