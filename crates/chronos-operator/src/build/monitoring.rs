//! Objects for the Prometheus operator, whose kinds may not exist: so they are plain JSON.

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

    /// The object of this kind, if the cluster asks for it.
    pub fn object(self, cluster: &ChronosCluster) -> Option<Value> {
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
pub fn service_monitor(cluster: &ChronosCluster) -> Value {
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
pub fn prometheus_rule(cluster: &ChronosCluster) -> Value {
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

fn object(cluster: &ChronosCluster, kind: MonitoringKind, spec: Value) -> Value {
    let mut all_labels = labels::of_object(cluster);
    if let Some(monitoring) = &cluster.spec.monitoring {
        all_labels.extend(monitoring.labels.clone());
    }
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind.name(),
        "metadata": {
            "name": cluster.metadata.name,
            "namespace": cluster.metadata.namespace,
            "labels": all_labels,
            "ownerReferences": [owner(cluster)],
        },
        "spec": spec,
    })
}
