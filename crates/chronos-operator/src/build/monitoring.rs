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

/// Alerts, each about this cluster and no other.
pub fn prometheus_rule(cluster: &ChronosCluster) -> DynamicObject {
    // A cluster that sleeps has no node that could answer.
    let sleeps = cluster.spec.hibernate == Some(true);
    let alerts = ALERTS
        .iter()
        .filter(|alert| !sleeps || alert.name != SILENCE);
    let rules: Vec<Value> = alerts.map(|alert| alert.rule(cluster)).collect();
    object(
        cluster,
        MonitoringKind::PrometheusRule,
        json!({ "groups": [{ "name": "chronosdb", "rules": rules }] }),
    )
}

/// When to raise an alert, and what to say then.
struct Alert {
    name: &'static str,
    /// `NODES` stands for the labels of the nodes' own metrics, `DISKS` for those of the kubelet's about
    /// the nodes' disks.
    expression: &'static str,
    /// How long the expression has to hold.
    wait: &'static str,
    severity: &'static str,
    summary: &'static str,
}

impl Alert {
    fn rule(&self, cluster: &ChronosCluster) -> Value {
        let names = Names::of(cluster);
        let (namespace, name) = names.key();
        let nodes = format!(
            "namespace=\"{namespace}\",service=\"{}\"",
            names.nodes_service()
        );
        let disks = format!(
            "namespace=\"{namespace}\",persistentvolumeclaim=~\"{}-[0-9]+\"",
            names.claim_prefix()
        );
        let expression = self.expression.replace("NODES", &nodes);
        json!({
            "alert": self.name,
            "expr": expression.replace("DISKS", &disks),
            "for": self.wait,
            "labels": {
                "severity": self.severity,
                "namespace": namespace,
                "chronos_cluster": name,
            },
            "annotations": { "summary": self.summary },
        })
    }
}

const CRITICAL: &str = "critical";
const WARNING: &str = "warning";
/// The alert that a cluster without nodes raises.
const SILENCE: &str = "ChronosNoNodeAnswers";

/// docs/operations.md says what each of them means. Followers report nothing of what only a leader knows, so
/// a partition that nobody leads has an alert of its own.
static ALERTS: [Alert; 16] = [
    Alert {
        name: "ChronosEventsOverdue",
        expression: "max(chronos_oldest_overdue_seconds{NODES}) > 5",
        wait: "1m",
        severity: CRITICAL,
        summary: "Events whose time has come do not fire.",
    },
    Alert {
        name: "ChronosPartitionsWithoutLeader",
        expression: "sum(cronos_cluster_partitions_leader{NODES}) < max(cronos_cluster_partitions_total{NODES})",
        wait: "1m",
        severity: CRITICAL,
        summary: "A partition has no leader: nothing is published to it, and its events do not fire.",
    },
    Alert {
        name: SILENCE,
        expression: "absent(up{NODES} == 1)",
        wait: "5m",
        severity: CRITICAL,
        summary: "No node answers.",
    },
    Alert {
        name: "ChronosNodeDown",
        expression: "up{NODES} == 0",
        wait: "5m",
        severity: WARNING,
        summary: "{{ $labels.pod }} does not answer; the others serve its partitions.",
    },
    Alert {
        name: "ChronosNodesMissing",
        expression: "max(cronos_cluster_nodes_alive{NODES}) < max(cronos_cluster_nodes_total{NODES})",
        wait: "5m",
        severity: WARNING,
        summary: "A node is not heard from; the others serve its partitions.",
    },
    Alert {
        name: "ChronosCopiesBehind",
        expression: "max by (partition, follower) (cronos_replication_lag{NODES}) > 1000",
        wait: "10m",
        severity: WARNING,
        summary: "The copy of partition {{ $labels.partition }} on {{ $labels.follower }} lacks what others have.",
    },
    Alert {
        name: "ChronosClocksApart",
        expression: "max by (pod) (abs(cronos_clock_skew_ms{NODES})) > 1000",
        wait: "5m",
        severity: WARNING,
        summary: "The clock of {{ $labels.pod }} is off, and events fire by it.",
    },
    Alert {
        name: "ChronosFiringLate",
        expression: "histogram_quantile(0.99, sum by (le) (rate(chronos_fire_lateness_seconds_bucket{NODES}[5m]))) > 0.1",
        wait: "10m",
        severity: WARNING,
        summary: "Events fire late: there is too much load, or a disk is slow.",
    },
    Alert {
        name: "ChronosDeliveryLate",
        expression: "histogram_quantile(0.99, sum by (le) (rate(chronos_delivery_lateness_seconds_bucket{NODES}[5m]))) > 0.1",
        wait: "15m",
        severity: WARNING,
        summary: "Events are delivered late: there is too much load, or groups that were away catch up.",
    },
    Alert {
        name: "ChronosDiskWritesSlow",
        expression: "histogram_quantile(0.99, sum by (le) (rate(chronos_wal_fsync_seconds_bucket{NODES}[5m]))) > 0.05",
        wait: "10m",
        severity: WARNING,
        summary: "Writes to disk are slow, and so is every publish.",
    },
    Alert {
        name: "ChronosDiskFull",
        expression: "kubelet_volume_stats_available_bytes{DISKS} / kubelet_volume_stats_capacity_bytes{DISKS} < 0.1",
        wait: "10m",
        severity: WARNING,
        summary: "The disk {{ $labels.persistentvolumeclaim }} is nearly full: raise spec.storage.size.",
    },
    Alert {
        name: "ChronosDeadLetters",
        expression: "sum(increase(chronos_events_dead_lettered_total{NODES}[10m])) > 0",
        wait: "0m",
        severity: WARNING,
        summary: "Consumers give up on events; look at the dead letters.",
    },
    Alert {
        name: "ChronosAcksMissing",
        expression: "sum(rate(chronos_ack_timeouts_total{NODES}[5m])) > 0",
        wait: "10m",
        severity: WARNING,
        summary: "Consumers do not answer deliveries in time.",
    },
    Alert {
        name: "ChronosPublishesRefused",
        expression: "sum(rate(chronos_publish_rejected_events_total{NODES,reason=\"overloaded\"}[5m])) > 0",
        wait: "5m",
        severity: WARNING,
        summary: "Events are refused, because more come in than the disks take.",
    },
    Alert {
        name: "ChronosCertificateExpires",
        expression: "min by (listener) (chronos_tls_certificate_expiry_timestamp_seconds{NODES}) - time() < 7 * 86400",
        wait: "15m",
        severity: WARNING,
        summary: "The certificate for {{ $labels.listener }} expires within a week: it is not renewed.",
    },
    Alert {
        name: "ChronosDescriptorsRunOut",
        expression: "max by (pod) (process_open_fds{NODES} / process_max_fds{NODES}) > 0.8",
        wait: "5m",
        severity: WARNING,
        summary: "{{ $labels.pod }} has nearly as many files and connections open as it may.",
    },
];

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

#[cfg(test)]
mod tests;
