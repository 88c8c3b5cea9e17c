//! The StatefulSet. Only the operator deletes its pods (OnDelete), and only the planner says how
//! many there are.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::names::CLAIM;
use super::{Names, Record, metadata, pod, selector};
use crate::api::{ChronosCluster, Malformed, WhenGone, quantity};

/// Where a disk's size comes from when nobody said.
const DEFAULT_SIZE: &str = "10Gi";

/// The set with so many pods. `existing` is the one that there is: Kubernetes refuses any change
/// of its claim templates, so they stay, and disks are grown claim by claim.
///
/// # Errors
/// Something that the spec gives as it is cannot be read.
pub fn stateful_set(
    cluster: &ChronosCluster,
    record: &Record,
    replicas: u32,
    existing: Option<&StatefulSet>,
) -> Result<StatefulSet, Malformed> {
    let names = Names::of(cluster);
    let storage = cluster.spec.storage.clone().unwrap_or_default();
    let kept = existing.and_then(|set| set.spec.as_ref()?.volume_claim_templates.clone());
    Ok(StatefulSet {
        metadata: metadata(cluster, names.stateful_set()),
        spec: Some(StatefulSetSpec {
            replicas: i32::try_from(replicas).ok(),
            service_name: Some(names.nodes_service()),
            selector: LabelSelector {
                match_labels: Some(selector(names.cluster())),
                ..LabelSelector::default()
            },
            // Founding needs the first nodes at the same time, and a restart of all of them needs
            // a majority before any is ready.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(policy(storage.when_deleted)),
                    // Never by the set: it does not know whether the member was removed.
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            template: pod::template(cluster, record)?,
            volume_claim_templates: Some(kept.unwrap_or_else(|| vec![claim(cluster)])),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}

/// The size that a node's disk is to have at least, bytes.
pub fn claim_size_bytes(cluster: &ChronosCluster) -> u64 {
    let size = cluster.spec.storage.as_ref().map(|storage| &storage.size);
    size.and_then(|size| quantity::bytes(size))
        .or_else(|| quantity::bytes(DEFAULT_SIZE))
        .unwrap_or(0)
}

fn claim(cluster: &ChronosCluster) -> PersistentVolumeClaim {
    let storage = cluster.spec.storage.clone().unwrap_or_default();
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(storage.size))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(CLAIM.to_owned()),
            labels: Some(selector(Names::of(cluster).cluster())),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.class_name,
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn policy(when: Option<WhenGone>) -> String {
    match when.unwrap_or_default() {
        WhenGone::Retain => "Retain",
        WhenGone::Delete => "Delete",
    }
    .to_owned()
}
