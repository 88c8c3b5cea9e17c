//! Every metric: its name, its labels and what it means.
//!
//! A label has few values, known in advance: partitions, nodes, outcomes, index families, gRPC methods.
//! Topics, groups, keys and ids are never labels.

/// One metric.
#[derive(Debug)]
pub struct Definition {
    /// The name, with the base unit.
    pub name: &'static str,
    /// What it counts with.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means, as a sentence.
    pub help: &'static str,
}

/// What a metric counts with.
#[derive(Debug)]
pub enum Kind {
    /// Only grows; 0 when the process starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values up to each bound, in the metric's unit, ascending.
    Histogram(&'static [f64]),
}

/// Metrics that belong together in the reference.
pub struct Group {
    /// A heading.
    pub title: &'static str,
    /// The metrics.
    pub definitions: &'static [&'static Definition],
}

macro_rules! metrics {
    ($($title:literal { $($id:ident: $kind:expr, $name:literal, $labels:expr, $help:literal;)* })*) => {
        $($(
            #[doc = $help]
            pub const $id: Definition = Definition {
                name: $name,
                kind: $kind,
                labels: &$labels,
                help: $help,
            };
        )*)*

        /// All metrics, in the order of the reference.
        pub const GROUPS: &[Group] = &[$(Group {
            title: $title,
            definitions: &[$(&$id),*],
        }),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

/// From half a millisecond, which is what the clock's tick allows, to a minute.
const LATENESS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];
/// From a cached write to a disk that hangs.
const DISK: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];
/// From an idle node to one far behind.
const COMMIT: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Work in memory.
const APPLY: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 1.0,
];
/// The bounds that dashboards for gRPC servers expect.
const RPC: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

metrics! {
    "Publishing" {
        PUBLISH_REQUESTS: Counter, "chronos_publish_requests_total", ["kind"],
            "Publish calls received, by kind: unary or batch.";
        PUBLISH_EVENTS: Counter, "chronos_publish_events_total", ["partition", "outcome"],
            "Events that reached a partition to be published, by outcome: accepted, duplicate, or failed (the log did not take it, or it is not known).";
        PUBLISH_REJECTED: Counter, "chronos_publish_rejected_events_total", ["reason"],
            "Events refused before they reached a partition, by reason: invalid, overloaded, unavailable, past (late, and asked to be refused then) or dropped (late, and asked to be dropped).";
        PUBLISH_INFLIGHT_BYTES: Gauge, "chronos_publish_inflight_bytes", [],
            "Bytes of publishes received and not yet answered.";
        COMMIT_SECONDS: Histogram(COMMIT), "chronos_commit_seconds", [],
            "Time from handing a command to the log until it is durable and applied.";
        APPLY_SECONDS: Histogram(APPLY), "chronos_apply_seconds", [],
            "Time to apply one command to a partition's state.";
    }
    "Log" {
        WAL_APPEND_BATCHES: Counter, "chronos_wal_append_batches_total", ["partition"],
            "Records appended to the log; one record is one batch of commands.";
        WAL_APPEND_BYTES: Counter, "chronos_wal_append_bytes_total", ["partition"],
            "Bytes appended to the log.";
        WAL_FSYNC_SECONDS: Histogram(DISK), "chronos_wal_fsync_seconds", [],
            "Duration of one fsync of a log segment.";
        WAL_SEGMENTS: Gauge, "chronos_wal_segments", ["partition"],
            "Segment files of the log.";
        WAL_BYTES: Gauge, "chronos_wal_bytes", ["partition"],
            "Bytes in the segment files of the log.";
        LOG_LIVE_BYTES: Gauge, "chronos_log_live_bytes", ["partition"],
            "Bytes of events in the log that are still needed, as retention saw it last; 0 before its first look.";
        CARRIED_EVENTS: Counter, "chronos_retention_carried_events_total", ["partition"],
            "Events that were still needed and were written to the end of the log, so that its beginning could go.";
        CARRIED_BYTES: Counter, "chronos_retention_carried_bytes_total", ["partition"],
            "Bytes of those events.";
        RETENTION_SEGMENTS: Counter, "chronos_retention_segments_removed_total", ["partition"],
            "Segment files that retention removed.";
    }
    "Firing" {
        EVENTS_PENDING: Gauge, "chronos_events_pending", ["partition"],
            "Events accepted and not yet fired.";
        EVENTS_OVERDUE: Gauge, "chronos_events_overdue", ["partition"],
            "Events that were released and wait to be handed out, as far as groups have read them, once for each group.";
        OLDEST_OVERDUE: Gauge, "chronos_oldest_overdue_seconds", ["partition"],
            "How long ago the longest overdue event should have fired; 0 if none is overdue.";
        NEXT_FIRE: Gauge, "chronos_next_fire_timestamp_seconds", ["partition"],
            "When the next event in the timing wheel fires, in Unix seconds; 0 if the wheel is empty.";
        EVENTS_FIRED: Counter, "chronos_events_fired_total", ["partition"],
            "Events fired, that is released to consumer groups.";
        FIRE_LATENESS: Histogram(LATENESS), "chronos_fire_lateness_seconds", [],
            "How long after its time an event fired. An event that was due when it was published counts from its publish.";
        WHEEL_ENTRIES: Gauge, "chronos_wheel_entries", ["partition"],
            "Events in the timing wheel.";
        WHEEL_BYTES: Gauge, "chronos_wheel_bytes", ["partition"],
            "Memory of the timing wheel.";
    }
    "Delivery" {
        EVENTS_DELIVERED: Counter, "chronos_events_delivered_total", ["partition"],
            "Deliveries read to be sent to a subscriber, each attempt counted.";
        DELIVERY_LATENESS: Histogram(LATENESS), "chronos_delivery_lateness_seconds", [],
            "How long after its time an event was first handed to a subscriber that had credit for it.";
        EVENTS_ACKED: Counter, "chronos_events_acked_total", ["partition"],
            "Deliveries acknowledged.";
        EVENTS_NACKED: Counter, "chronos_events_nacked_total", ["partition"],
            "Deliveries refused by their subscriber.";
        ACK_TIMEOUTS: Counter, "chronos_ack_timeouts_total", ["partition"],
            "Deliveries that were not answered in time.";
        EVENTS_RETRIED: Counter, "chronos_events_retried_total", ["partition"],
            "Deliveries that were not an event's first attempt.";
        EVENTS_DEAD_LETTERED: Counter, "chronos_events_dead_lettered_total", ["partition"],
            "Events that went to a group's dead letters after their last attempt.";
        EVENTS_EXPIRED: Counter, "chronos_events_expired_total", ["partition"],
            "Events settled undelivered because their expires_at had passed or retention had removed them, once for each group.";
        EVENTS_DROPPED: Counter, "chronos_events_dropped_total", ["partition", "reason"],
            "Events settled undelivered, once for each group, by reason: paused (they fell due or waited while a pause with DROP held).";
        EVENTS_CANCELLED: Counter, "chronos_events_cancelled_total", ["partition"],
            "Scheduled events that were cancelled.";
        EVENTS_RESCHEDULED: Counter, "chronos_events_rescheduled_total", ["partition"],
            "Scheduled events that were moved to another time.";
        EVENTS_FIRED_BY_REQUEST: Counter, "chronos_events_fired_by_request_total", ["partition"],
            "Scheduled events that were fired before their time by request.";
        DLQ_EVENTS: Gauge, "chronos_dlq_events", ["partition"],
            "Dead letters of all groups, without those that are being delivered again. In a cluster every replica tells: take the maximum over nodes.";
        CREDITS_IN_USE: Gauge, "chronos_delivery_credits_in_use", ["partition"],
            "Deliveries handed out and not yet answered.";
        DELIVERY_INFLIGHT_BYTES: Gauge, "chronos_delivery_inflight_bytes", [],
            "Bytes of deliveries waiting to be written to subscribers.";
        CONSUMER_GROUPS: Gauge, "chronos_consumer_groups", [],
            "Consumer groups.";
        GROUP_MEMBERS: Gauge, "chronos_group_members", [],
            "Members of all consumer groups that are connected.";
        PAUSES: Gauge, "chronos_pauses", ["target"],
            "Pauses that hold now, by what they pause: topic or group.";
        SUBSCRIPTIONS: Gauge, "chronos_subscriptions", [],
            "Open Subscribe streams.";
    }
    "Index" {
        STORE_MEMTABLE_BYTES: Gauge, "chronos_store_memtable_bytes", ["family"],
            "Index changes in memory, not yet in files.";
        STORE_SST_BYTES: Gauge, "chronos_store_sst_bytes", ["family"],
            "Bytes in the index's files.";
        STORE_BLOCK_CACHE_BYTES: Gauge, "chronos_store_block_cache_bytes", [],
            "Memory of cached blocks of the index.";
    }
    "gRPC" {
        GRPC_STARTED: Counter, "grpc_server_started_total",
            ["grpc_type", "grpc_service", "grpc_method"],
            "Calls that began.";
        GRPC_HANDLED: Counter, "grpc_server_handled_total",
            ["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
            "Calls that ended, by status.";
        GRPC_SECONDS: Histogram(RPC), "grpc_server_handling_seconds",
            ["grpc_type", "grpc_service", "grpc_method"],
            "Duration of calls; of streams, until their end.";
    }
    "TLS" {
        TLS_EXPIRY: Gauge, "chronos_tls_certificate_expiry_timestamp_seconds", ["listener"],
            "When the certificate expires that new connections are served with, in Unix seconds, by listener: clients or nodes.";
        TLS_FAILED: Counter, "chronos_tls_handshakes_failed_total", ["listener"],
            "Connections that ended before their handshake did: without TLS, or without a certificate that is accepted.";
    }
    "Cluster" {
        RAFT_LEADS: Gauge, "chronos_raft_leader", ["partition"],
            "1 where this node leads the partition, 0 where it follows.";
        RAFT_TERM: Gauge, "chronos_raft_term", ["partition"],
            "Raft term of the partition.";
        RAFT_COMMIT_LAG: Gauge, "chronos_raft_commit_lag_entries", ["partition"],
            "Log entries of this replica that it does not know to be committed.";
        LEADS_WON: Counter, "chronos_raft_leads_won_total", ["partition"],
            "How often this node began to lead the partition, by election or by transfer.";
        LEADS_HANDED_OVER: Counter, "chronos_raft_leads_handed_over_total", [],
            "Leads of partitions and of the catalog that this node gave to another node on purpose.";
        COPIES: Counter, "chronos_copies_total", ["outcome"],
            "Copies of partitions that this node took from leaders, by outcome: done, broken_off.";
        COPIED_BYTES: Counter, "chronos_copied_bytes_total", ["direction"],
            "Bytes of copies of partitions: sent as a leader, received from one.";
        REPLICATION_LAG: Gauge, "cronos_replication_lag", ["partition", "follower"],
            "Committed log entries that a follower lacks, on the leader.";
        CLUSTER_NODES: Gauge, "cronos_cluster_nodes_total", [],
            "Nodes of the cluster; 0 on a node that stands alone.";
        CLUSTER_NODES_ALIVE: Gauge, "cronos_cluster_nodes_alive", [],
            "Nodes that this one hears from, itself included.";
        CLUSTER_PARTITIONS: Gauge, "cronos_cluster_partitions_total", [],
            "Partitions of the cluster.";
        CLUSTER_PARTITIONS_LED: Gauge, "cronos_cluster_partitions_leader", [],
            "Partitions that this node leads.";
        CLOCK_SKEW: Gauge, "cronos_clock_skew_ms", [],
            "By how much this node's clock is ahead of the median of all nodes, milliseconds.";
    }
    "Process" {
        BUILD_INFO: Gauge, "chronos_build_info", ["version"],
            "Always 1; the version is in the label.";
        PROCESS_CPU: Counter, "process_cpu_seconds_total", [],
            "Processor time used, user and system.";
        PROCESS_RESIDENT: Gauge, "process_resident_memory_bytes", [],
            "Memory in use.";
        PROCESS_FDS: Gauge, "process_open_fds", [],
            "Open file descriptors.";
        PROCESS_MAX_FDS: Gauge, "process_max_fds", [],
            "The limit of open file descriptors.";
        PROCESS_THREADS: Gauge, "process_threads", [],
            "Threads.";
        PROCESS_START: Gauge, "process_start_time_seconds", [],
            "When the process started, in Unix seconds.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for definition in GROUPS.iter().flat_map(|group| group.definitions) {
            let name = definition.name;
            assert!(names.insert(name), "{name}");
            // Dashboards know the last kind from another program.
            let prefixes = ["chronos_", "grpc_server_", "process_", "cronos_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)));
            let is_counter = matches!(definition.kind, Kind::Counter);
            if !name.starts_with("cronos_") {
                assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            }
            assert!(definition.help.len() > 3 && definition.help.ends_with('.'));
            let bounded = [
                "target",
                "listener",
                "partition",
                "outcome",
                "reason",
                "kind",
                "family",
                "version",
                "follower",
                "direction",
            ];
            for label in definition.labels {
                assert!(
                    bounded.contains(label) || label.starts_with("grpc_"),
                    "{name}"
                );
            }
            if let Kind::Histogram(bounds) = definition.kind {
                assert!(name.ends_with("_seconds"), "{name}");
                assert!(bounds.is_sorted_by(|a, b| a < b), "{name}");
            }
        }
    }
}
