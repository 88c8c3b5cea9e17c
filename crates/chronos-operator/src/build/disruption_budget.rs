//! The PodDisruptionBudget: one over all nodes, whatever their role. A budget per role matches no
//! pod in the moment in which the role changes hands.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Names, metadata, selector};
use crate::api::ChronosCluster;

/// `None` for a cluster of one node, where it would block every drain for ever, and where the
/// spec turned it off. `size` is how many pods there are to be now: nodes that are leaving still vote.
pub fn disruption_budget(cluster: &ChronosCluster, size: u32) -> Option<PodDisruptionBudget> {
    let spec = &cluster.spec;
    let budget = spec.pod_disruption_budget.as_ref();
    let wanted = budget.and_then(|budget| budget.enabled).unwrap_or(true);
    if !wanted || spec.replicas.max(size) < 2 {
        return None;
    }
    let names = Names::of(cluster);
    Some(PodDisruptionBudget {
        metadata: metadata(cluster, names.cluster().to_owned()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(selector(names.cluster())),
                ..LabelSelector::default()
            }),
            // A pod that does not serve protects nothing.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
