//! Objects for the Prometheus operator, whose kinds may not exist: so what they say is plain JSON.

use kube::api::{DynamicObject, GroupVersionKind, ObjectMeta, TypeMeta};
use serde_json::{Value, json};

use super::{Names, labels, owner, selector};
use crate::api::ChronosCluster;

/// A kind of the Prometheus operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitoringKind {
    /// What to scrape.
    ServiceMonitor,
    /// When to raise an alert.
    PrometheusRule,
}

impl MonitoringKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ServiceMonitor, Self::PrometheusRule];

    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceMonitor => "ServiceMonitor",
            Self::PrometheusRule => "PrometheusRule",
        }
    }

    /// The kind, and where Kubernetes has it.
    pub fn id(self) -> GroupVersionKind {
        GroupVersionKind::gvk("monitoring.coreos.com", "v1", self.name())
    }

    /// The object of this kind, if the cluster asks for it.
    pub fn object(self, cluster: &ChronosCluster) -> Option<DynamicObject> {
        let monitoring = cluster.spec.monitoring.as_ref()?;
        match self {
            Self::ServiceMonitor => monitoring
                .service_monitor?
                .then(|| service_monitor(cluster)),
            Self::PrometheusRule => monitoring
                .prometheus_rule?
                .then(|| prometheus_rule(cluster)),
        }
    }
}

/// Scrapes every node.
pub fn service_monitor(cluster: &ChronosCluster) -> DynamicObject {
    let names = Names::of(cluster);
    object(
        cluster,
        MonitoringKind::ServiceMonitor,
        json!({
            "selector": { "matchLabels": selector(names.cluster()) },
            "endpoints": [{ "port": "http", "path": "/metrics" }],
        }),
    )
}

/// Alerts that say what is wrong for the events, not for the machine.
pub fn prometheus_rule(cluster: &ChronosCluster) -> DynamicObject {
    let names = Names::of(cluster);
    let of = format!("service=\"{}\"", names.nodes_service());
    let alert = |name: &str, expression: String, wait: &str, severity: &str, summary: &str| {
        json!({
            "alert": name,
            "expr": expression,
            "for": wait,
            "labels": { "severity": severity, "chronos_cluster": names.cluster() },
            "annotations": { "summary": summary },
        })
    };
    object(
        cluster,
        MonitoringKind::PrometheusRule,
        json!({ "groups": [{ "name": "chronosdb", "rules": [
            alert(
                "ChronosEventsOverdue",
                format!("max(chronos_oldest_overdue_seconds{{{of}}}) > 10"),
                "1m",
                "critical",
                "Events whose time has come are not delivered.",
            ),
            alert(
                "ChronosNodeDown",
                format!("up{{{of}}} == 0"),
                "5m",
                "warning",
                "A node does not answer; the others serve its partitions.",
            ),
            alert(
                "ChronosDeadLetters",
                format!("sum(delta(chronos_dlq_events{{{of}}}[15m])) > 0"),
                "15m",
                "warning",
                "Consumers give up on events; look at the dead letters.",
            ),
            alert(
                "ChronosDiskWritesSlow",
                format!(
                    "histogram_quantile(0.99, sum by (le) (rate(chronos_wal_fsync_seconds_bucket{{{of}}}[5m]))) > 0.5"
                ),
                "10m",
                "warning",
                "Writes to disk are slow, and so is every publish.",
            ),
        ] }] }),
    )
}

fn object(cluster: &ChronosCluster, kind: MonitoringKind, spec: Value) -> DynamicObject {
    let mut all_labels = labels::of_object(cluster);
    if let Some(monitoring) = &cluster.spec.monitoring {
        all_labels.extend(monitoring.labels.clone());
    }
    DynamicObject {
        types: Some(TypeMeta {
            api_version: kind.id().api_version(),
            kind: kind.name().to_owned(),
        }),
        metadata: ObjectMeta {
            name: cluster.metadata.name.clone(),
            namespace: cluster.metadata.namespace.clone(),
            labels: Some(all_labels),
            owner_references: Some(vec![owner(cluster)]),
            ..ObjectMeta::default()
        },
        data: json!({ "spec": spec }),
    }
}
