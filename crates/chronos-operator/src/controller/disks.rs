//! Whether the disks of the nodes are as asked for: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::seen;
use crate::api::quantity;

/// What is not as asked for, of the worst kind that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    /// In one word.
    pub(super) reason: &'static str,
    /// In a sentence.
    pub(super) why: String,
}

/// Looks at the claims of so many nodes. `None`: all have a volume of at least `wanted_bytes`.
pub(super) fn lacking(
    claims: &BTreeMap<u32, PersistentVolumeClaim>,
    nodes: u32,
    wanted_bytes: u64,
) -> Option<Lacking> {
    let names = |of: &dyn Fn(&PersistentVolumeClaim) -> bool| {
        let those = claims.range(..nodes).filter(|(_, claim)| of(claim));
        let names: Vec<String> = those.map(|(_, claim)| claim.name_any()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let found = |reason, why| Some(Lacking { reason, why });
    if let Some(names) = names(&|claim| seen::claim(claim).is_at_risk()) {
        let why = format!("Somebody is deleting a disk that is in use: {names}.");
        return found("ClaimDeleted", why);
    }
    if let Some(names) = names(&|claim| capacity_bytes(claim).is_none()) {
        let why = format!("No volume yet: {names}; `kubectl describe pvc` says why.");
        return found("ClaimPending", why);
    }
    if (0..nodes).any(|ordinal| !claims.contains_key(&ordinal)) {
        return found("ClaimPending", "Not every node has a claim yet.".to_owned());
    }
    let names = names(&|claim| capacity_bytes(claim) < Some(wanted_bytes))?;
    found(
        "Growing",
        format!("Not as large as asked for yet: {names}."),
    )
}

fn capacity_bytes(claim: &PersistentVolumeClaim) -> Option<u64> {
    let capacity = claim.status.as_ref()?.capacity.as_ref()?;
    quantity::bytes(&capacity.get("storage")?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::RETIRED_ANNOTATION;

    fn claim(
        ordinal: u32,
        metadata: Value,
        capacity: Option<&str>,
    ) -> (u32, PersistentVolumeClaim) {
        let mut whole = json!({ "name": format!("data-db-{ordinal}") });
        for (key, value) in metadata.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let status = capacity.map(|size| json!({ "capacity": { "storage": size } }));
        let claim = json!({ "metadata": whole, "status": status });
        (ordinal, serde_json::from_value(claim).unwrap())
    }

    fn reason(claims: &[(u32, PersistentVolumeClaim)], nodes: u32) -> &'static str {
        let claims = claims.iter().cloned().collect();
        lacking(&claims, nodes, 2 << 30).map_or("", |lacking| lacking.reason)
    }

    #[test]
    fn disks_are_as_asked_for_when_each_node_has_one_of_the_size() {
        let plain = |ordinal, size| claim(ordinal, json!({}), size);
        let full = [plain(0, Some("2Gi")), plain(1, Some("3Gi"))];
        assert_eq!(reason(&full, 2), "");
        assert_eq!(reason(&full, 3), "ClaimPending");
        assert_eq!(reason(&[], 0), "");
        assert_eq!(reason(&[plain(0, None)], 1), "ClaimPending");
        assert_eq!(reason(&[plain(0, Some("1Gi"))], 1), "Growing");
        // What is left of a node that is gone does not matter.
        assert_eq!(reason(&[plain(0, Some("2Gi")), plain(1, None)], 1), "");
    }

    #[test]
    fn a_disk_that_somebody_deletes_is_told_of_first() {
        let gone = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let deleted = claim(1, gone.clone(), Some("2Gi"));
        assert_eq!(
            reason(&[claim(0, json!({}), None), deleted], 2),
            "ClaimDeleted"
        );
        let mut retired = gone;
        retired["annotations"] = json!({ RETIRED_ANNOTATION: "7" });
        assert_eq!(reason(&[claim(0, retired, Some("2Gi"))], 1), "");
    }
}
