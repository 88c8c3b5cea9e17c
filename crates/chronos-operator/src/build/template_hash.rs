//! When a pod is out of date: when what the user asked for differs from what it was made of.
//!
//! The hash is of the spec, not of the pod template. An operator of another version may write the
//! template a little differently; that reaches a pod when it restarts anyway, and restarts none.

use chronos_client::fnv1a_64;
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde::Serialize;

use super::Record;
use crate::api::{
    ChronosCluster, Given, PodOverrides, RESTART_ANNOTATION, Settings, Tls, ZoneSpread,
};

/// Whatever changes the pods. A field that is added must be left out while it is unset, or every
/// cluster restarts.
#[derive(Serialize)]
struct Inputs<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Given<ResourceRequirements>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a Settings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a PodOverrides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone_spread: Option<ZoneSpread>,
    /// The names of Secrets, and not what they hold: that reaches running nodes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_at: Option<&'a str>,
}

/// The hash, 16 hexadecimal digits.
pub fn template_hash(cluster: &ChronosCluster, record: &Record) -> String {
    let spec = &cluster.spec;
    let annotations = cluster.metadata.annotations.as_ref();
    let inputs = Inputs {
        image: record.image(cluster),
        resources: spec.resources.as_ref(),
        config: spec.config.as_ref(),
        pod: spec.pod.as_ref(),
        zone_spread: spec.zone_spread,
        tls: spec.tls.as_ref(),
        restart_at: annotations
            .and_then(|all| all.get(RESTART_ANNOTATION))
            .map(String::as_str),
    };
    // Maps are ordered and the fields are fixed, so equal specs give equal text.
    let text = serde_json::to_vec(&inputs).unwrap_or_default();
    format!("{:016x}", fnv1a_64(&text))
}
