//! Labels. What selects pods never changes: not with a version, not with a setting. An operator
//! that looked for its pods by labels that change would take running ones for orphans.

use std::collections::BTreeMap;

use crate::api::ChronosCluster;

/// On a pod template: the hash of what the pods were made of.
pub const TEMPLATE_ANNOTATION: &str = "chronosdb.io/template";
/// On a claim: the number of the member that was removed. The disk never serves again.
pub const RETIRED_ANNOTATION: &str = "chronosdb.io/retired-member";

/// What selects the pods of a cluster, and its claims.
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "chronosdb"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", "node"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The selector as one text.
pub fn selector_text(cluster: &str) -> String {
    let terms: Vec<String> = selector(cluster)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    terms.join(",")
}

/// The labels of an object.
pub(super) fn of_object(cluster: &ChronosCluster) -> BTreeMap<String, String> {
    let mut labels = selector(cluster.metadata.name.as_deref().unwrap_or_default());
    labels.insert(
        "app.kubernetes.io/managed-by".to_owned(),
        "chronos-operator".to_owned(),
    );
    labels
}
