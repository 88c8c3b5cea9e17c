//! What a node measures, for Prometheus.
//!
//! [`definitions`] names every metric. [`Metrics`] holds the node's own handles and hands out
//! those of one partition, one index family or one gRPC method; code on a hot path keeps such
//! handles and adds to them once per batch. What is only known on request, such as the size of the
//! index, is set by a hook before each scrape.

mod cluster;
pub mod definitions;
mod partition;
mod process;
mod reference;
mod register;
mod rpc;
mod tls;

use parking_lot::Mutex;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};

pub use cluster::ClusterMetrics;
pub use partition::PartitionMetrics;
pub use reference::reference;
pub use rpc::{Call, Rpc, Shape};
pub use tls::TlsMetrics;

use definitions as define;
use process::Process;
use register::Register;

type Hook = Box<dyn Fn() + Send + Sync>;

/// The metrics of a node.
pub struct Metrics {
    /// Unary publish calls.
    pub publish_unary_requests: IntCounter,
    /// Batch publish calls.
    pub publish_batch_requests: IntCounter,
    /// Events refused because they are malformed or exceed a limit.
    pub rejected_invalid: IntCounter,
    /// Events refused because the node has too much in flight.
    pub rejected_overloaded: IntCounter,
    /// Events refused because their time had passed.
    pub rejected_past: IntCounter,
    /// Events dropped because their time had passed.
    pub dropped_past: IntCounter,
    /// Events refused because the node or the partition does not serve.
    pub rejected_unavailable: IntCounter,
    /// Bytes of publishes received and not yet answered.
    pub publish_inflight_bytes: IntGauge,
    /// From propose to applied.
    pub commit_seconds: Histogram,
    /// Of one command.
    pub apply_seconds: Histogram,
    /// Of one fsync.
    pub wal_fsync_seconds: Histogram,
    /// How late events fired. A task that fires many keeps a [`Histogram::local`] and flushes it.
    pub fire_lateness_seconds: Histogram,
    /// How late events were first handed to a subscriber. See `fire_lateness_seconds`.
    pub delivery_lateness_seconds: Histogram,
    /// Bytes waiting to be written to subscribers.
    pub delivery_inflight_bytes: IntGauge,
    /// Consumer groups.
    pub consumer_groups: IntGauge,
    /// Connected members of all groups.
    pub group_members: IntGauge,
    /// Topics that are paused.
    pub paused_topics: IntGauge,
    /// Groups that are paused.
    pub paused_groups: IntGauge,
    /// Open Subscribe streams.
    pub subscriptions: IntGauge,
    /// Cached blocks of the index.
    pub store_block_cache_bytes: IntGauge,
    /// What is known of the cluster.
    pub cluster: ClusterMetrics,
    partitions: partition::Families,
    store_memtable_bytes: IntGaugeVec,
    store_sst_bytes: IntGaugeVec,
    rpcs: rpc::Families,
    tls: tls::Families,
    process: Process,
    hooks: Mutex<Vec<Hook>>,
    registry: Registry,
}

/// The sizes of one family of the index.
#[derive(Clone)]
pub struct StoreFamilyMetrics {
    /// Changes in memory.
    pub memtable_bytes: IntGauge,
    /// Files.
    pub sst_bytes: IntGauge,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        let requests = register.counters(&define::PUBLISH_REQUESTS);
        let pauses = register.gauges(&define::PAUSES);
        let rejected = register.counters(&define::PUBLISH_REJECTED);
        register
            .gauges(&define::BUILD_INFO)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            publish_unary_requests: requests.with_label_values(&["unary"]),
            publish_batch_requests: requests.with_label_values(&["batch"]),
            rejected_invalid: rejected.with_label_values(&["invalid"]),
            rejected_overloaded: rejected.with_label_values(&["overloaded"]),
            rejected_past: rejected.with_label_values(&["past"]),
            dropped_past: rejected.with_label_values(&["dropped"]),
            rejected_unavailable: rejected.with_label_values(&["unavailable"]),
            publish_inflight_bytes: register.gauge(&define::PUBLISH_INFLIGHT_BYTES),
            commit_seconds: register.histogram(&define::COMMIT_SECONDS),
            apply_seconds: register.histogram(&define::APPLY_SECONDS),
            wal_fsync_seconds: register.histogram(&define::WAL_FSYNC_SECONDS),
            fire_lateness_seconds: register.histogram(&define::FIRE_LATENESS),
            delivery_lateness_seconds: register.histogram(&define::DELIVERY_LATENESS),
            delivery_inflight_bytes: register.gauge(&define::DELIVERY_INFLIGHT_BYTES),
            consumer_groups: register.gauge(&define::CONSUMER_GROUPS),
            group_members: register.gauge(&define::GROUP_MEMBERS),
            paused_topics: pauses.with_label_values(&["topic"]),
            paused_groups: pauses.with_label_values(&["group"]),
            subscriptions: register.gauge(&define::SUBSCRIPTIONS),
            store_block_cache_bytes: register.gauge(&define::STORE_BLOCK_CACHE_BYTES),
            cluster: ClusterMetrics::new(&register),
            partitions: partition::Families::new(&register),
            store_memtable_bytes: register.gauges(&define::STORE_MEMTABLE_BYTES),
            store_sst_bytes: register.gauges(&define::STORE_SST_BYTES),
            rpcs: rpc::Families::new(&register),
            tls: tls::Families::new(&register),
            process: Process::new(&register),
            hooks: Mutex::new(Vec::new()),
            registry,
        }
    }

    /// The handles of one partition. The same partition always gets the same counts.
    pub fn partition(&self, partition: u32) -> PartitionMetrics {
        self.partitions.of(partition)
    }

    /// The handles of one family of the index.
    pub fn store_family(&self, family: &str) -> StoreFamilyMetrics {
        StoreFamilyMetrics {
            memtable_bytes: self.store_memtable_bytes.with_label_values(&[family]),
            sst_bytes: self.store_sst_bytes.with_label_values(&[family]),
        }
    }

    /// The handles of one gRPC method, such as `cronos_db.EventService` and `Publish`.
    pub fn rpc(&self, service: &str, method: &str, shape: Shape) -> Rpc {
        self.rpcs.of(service, method, shape)
    }

    /// The handles of TLS on one listener: `clients` or `nodes`.
    pub fn tls(&self, listener: &str) -> TlsMetrics {
        self.tls.of(listener)
    }

    /// Calls `hook` before every scrape, on a thread that may block, to set what is only known on
    /// request. A hook must not add hooks.
    pub fn on_scrape(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.lock().push(Box::new(hook));
    }

    /// The metrics now, as Prometheus text. It may block.
    ///
    /// # Errors
    /// A metric cannot be written, which would be a mistake in its definition.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        {
            // Two scrapes at once must not both add the processor time since the last one.
            let hooks = self.hooks.lock();
            hooks.iter().for_each(|hook| hook());
            self.process.refresh();
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The registry, for metrics of other crates.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Touches everything that has labels, so that it is shown.
    fn all() -> Metrics {
        let metrics = Metrics::new();
        metrics.partition(0);
        metrics.store_family("due");
        let lag = (0, "node2".to_owned(), 1);
        metrics.cluster.set_replication_lag([lag]);
        let rpc = metrics.rpc("cronos_db.EventService", "Publish", Shape::Unary);
        rpc.start().finish(tonic::Code::Ok);
        metrics.tls("clients");
        metrics
    }

    #[test]
    fn every_definition_is_registered_and_nothing_else() {
        let metrics = all();
        metrics.process.refresh();
        let shown: BTreeMap<String, (String, Vec<String>)> = metrics
            .registry()
            .gather()
            .iter()
            .map(|family| {
                let mut labels: Vec<String> = family.get_metric()[0]
                    .get_label()
                    .iter()
                    .map(|label| label.name().to_owned())
                    .collect();
                labels.sort();
                (family.name().to_owned(), (family.help().to_owned(), labels))
            })
            .collect();
        let defined: BTreeMap<String, (String, Vec<String>)> = define::GROUPS
            .iter()
            .flat_map(|group| group.definitions)
            .map(|definition| {
                let mut labels: Vec<String> =
                    definition.labels.iter().map(|l| (*l).to_owned()).collect();
                labels.sort();
                (
                    definition.name.to_owned(),
                    (definition.help.to_owned(), labels),
                )
            })
            .collect();
        assert_eq!(shown, defined);
    }

    #[test]
    fn handles_of_one_partition_share_their_counts() {
        let metrics = all();
        metrics.partition(7).accepted.inc_by(40);
        metrics.partition(7).accepted.inc_by(2);
        metrics.partition(7).next_fire_timestamp_seconds.set(1.5);
        let text = metrics.render().unwrap();
        for line in [
            "chronos_publish_events_total{outcome=\"accepted\",partition=\"7\"} 42",
            "chronos_next_fire_timestamp_seconds{partition=\"7\"} 1.5",
            "chronos_publish_events_total{outcome=\"accepted\",partition=\"0\"} 0",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Publish\",grpc_service=\"cronos_db.EventService\",grpc_type=\"unary\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn hooks_run_before_each_scrape() {
        let metrics = all();
        let sst = metrics.store_family("dedup").sst_bytes;
        metrics.on_scrape(move || sst.add(5));
        metrics.render().unwrap();
        let text = metrics.render().unwrap();
        assert!(
            text.contains("chronos_store_sst_bytes{family=\"dedup\"} 10\n"),
            "{text}"
        );
    }

    #[test]
    fn a_call_that_is_dropped_counts_as_cancelled() {
        let metrics = Metrics::new();
        let rpc = metrics.rpc("s", "m", Shape::ServerStream);
        drop(rpc.start());
        let text = metrics.render().unwrap();
        assert!(text.contains("grpc_code=\"Canceled\""), "{text}");
        assert!(text.contains("grpc_type=\"server_stream\""), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::new();
        let text = metrics.render().unwrap();
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_start_time_seconds",
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }
}
