//! The metrics of the cluster as one node sees it.

use super::define;
use super::register::Register;
use super::{Gauge, IntCounter, IntGauge, IntGaugeVec};

/// The cluster as this node sees it.
pub struct ClusterMetrics {
    /// Nodes.
    pub nodes: IntGauge,
    /// Nodes that are heard from.
    pub nodes_alive: IntGauge,
    /// Partitions.
    pub partitions: IntGauge,
    /// Partitions that this node leads.
    pub partitions_led: IntGauge,
    /// This node's clock against the median, milliseconds.
    pub clock_skew_ms: Gauge,
    /// Leads that this node gave away on purpose.
    pub leads_handed_over: IntCounter,
    /// Copies that were taken whole.
    pub copies_done: IntCounter,
    /// Copies that broke off.
    pub copies_broken_off: IntCounter,
    /// Bytes of copies that this node sent.
    pub copied_bytes_sent: IntCounter,
    /// Bytes of copies that this node received.
    pub copied_bytes_received: IntCounter,
    replication_lag: IntGaugeVec,
}

impl ClusterMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        let copies = register.counters(&define::COPIES);
        let copied_bytes = register.counters(&define::COPIED_BYTES);
        Self {
            leads_handed_over: register.counter(&define::LEADS_HANDED_OVER),
            copies_done: copies.with_label_values(&["done"]),
            copies_broken_off: copies.with_label_values(&["broken_off"]),
            copied_bytes_sent: copied_bytes.with_label_values(&["sent"]),
            copied_bytes_received: copied_bytes.with_label_values(&["received"]),
            nodes: register.gauge(&define::CLUSTER_NODES),
            nodes_alive: register.gauge(&define::CLUSTER_NODES_ALIVE),
            partitions: register.gauge(&define::CLUSTER_PARTITIONS),
            partitions_led: register.gauge(&define::CLUSTER_PARTITIONS_LED),
            clock_skew_ms: register.real_gauge(&define::CLOCK_SKEW),
            replication_lag: register.gauges(&define::REPLICATION_LAG),
        }
    }

    /// Sets how far followers are behind; what is left out is known no more.
    pub fn set_replication_lag(&self, lags: impl IntoIterator<Item = (u32, String, u64)>) {
        self.replication_lag.reset();
        for (partition, follower, lag) in lags {
            let labels = [partition.to_string(), follower];
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let gauge = self.replication_lag.with_label_values(&labels);
            gauge.set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
    }
}
