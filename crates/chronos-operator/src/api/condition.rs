//! Conditions: what is true of a resource, each with a reason that a program can compare.

use serde::{Deserialize, Serialize};

/// One condition, as Kubernetes has them everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When the status last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation of the resource that this was said of.
    #[serde(default)]
    pub observed_generation: i64,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What the conditions of a ChronosCluster are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// All is as the spec says and every node serves.
    Ready,
    /// The database serves every partition.
    Available,
    /// Something is being changed.
    Progressing,
    /// A node or a copy is missing.
    Degraded,
    /// The last reconciliation made no error.
    ReconcileSuccess,
    /// Every disk has the size that was asked for.
    StorageReady,
    /// No node joins or leaves, and no replica moves.
    MembershipStable,
    /// A change of the pods waits for somebody.
    UpgradeBlocked,
    /// The operator leaves this cluster alone.
    Paused,
    /// The objects for the Prometheus operator exist, where they were asked for.
    MonitoringReady,
    /// The Secrets of TLS hold what they should, where they were asked for.
    TlsReady,
}

impl ConditionType {
    /// All of them, in the order of the status.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::Available,
        Self::Progressing,
        Self::Degraded,
        Self::ReconcileSuccess,
        Self::StorageReady,
        Self::MembershipStable,
        Self::UpgradeBlocked,
        Self::Paused,
        Self::MonitoringReady,
        Self::TlsReady,
    ];

    /// The name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::ReconcileSuccess => "ReconcileSuccess",
            Self::StorageReady => "StorageReady",
            Self::MembershipStable => "MembershipStable",
            Self::UpgradeBlocked => "UpgradeBlocked",
            Self::Paused => "Paused",
            Self::MonitoringReady => "MonitoringReady",
            Self::TlsReady => "TLSReady",
        }
    }
}

/// Conditions of these types that say that nobody has looked yet.
pub fn seeded(names: &[&str], generation: i64, now: &str) -> Vec<Condition> {
    names
        .iter()
        .map(|name| Condition {
            type_: (*name).to_owned(),
            status: ConditionStatus::Unknown,
            reason: "NotReconciled".to_owned(),
            message: "The operator has not looked at this yet.".to_owned(),
            last_transition_time: now.to_owned(),
            observed_generation: generation,
        })
        .collect()
}

/// Puts a condition in the place of the one of its type. The time of the old one stays while the
/// status is the same, so that a status that says the same is the same.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time
                    .clone_from(&old.last_transition_time);
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(status: ConditionStatus, reason: &str, time: &str) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status,
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: time.to_owned(),
            observed_generation: 1,
        }
    }

    #[test]
    fn the_time_changes_with_the_status_only() {
        let mut all = seeded(&["Ready", "Paused"], 1, "t0");
        assert_eq!(all[0].status, ConditionStatus::Unknown);
        set_condition(
            &mut all,
            condition(ConditionStatus::False, "Starting", "t1"),
        );
        set_condition(&mut all, condition(ConditionStatus::False, "Waiting", "t2"));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].reason, "Waiting");
        assert_eq!(all[0].last_transition_time, "t1");
        set_condition(&mut all, condition(ConditionStatus::True, "Done", "t3"));
        assert_eq!(all[0].last_transition_time, "t3");
    }
}
