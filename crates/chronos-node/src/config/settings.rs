//! Every setting of a node, in the order of the help, the file and the reference.

use std::time::Duration;

use super::setting::{Field, Setting, Unit};

/// A component as the reference shows it: the table in the file, and a heading.
pub struct Component {
    /// The table's name.
    pub table: &'static str,
    /// A heading.
    pub title: &'static str,
}

/// The components, in order.
pub const COMPONENTS: [Component; 16] = [
    component("node", "Node"),
    component("listen", "Listening"),
    component("tls", "TLS for clients"),
    component("wal", "Write-ahead log"),
    component("scheduler", "Scheduler"),
    component("delivery", "Delivery"),
    component("topics", "Topics"),
    component("retention", "Retention"),
    component("dedup", "Deduplication"),
    component("partitions", "Partitions"),
    component("cluster", "Cluster"),
    component("replication_tls", "TLS between nodes"),
    component("raft", "Raft"),
    component("store", "Index"),
    component("limits", "Limits"),
    component("log", "Logs"),
];

const fn component(table: &'static str, title: &'static str) -> Component {
    Component { table, title }
}

/// One gRPC message, which must be able to enter the node.
const MESSAGE_BYTES: u64 = 16 << 20;
const TIB: u64 = 1 << 40;
const DAY: Duration = Duration::from_secs(24 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The settings.
pub const SETTINGS: [Setting; 51] = [
    Setting {
        name: "node-id",
        table: "node",
        key: "id",
        field: Field::Text(|config| &mut config.node.id),
        doc: "This node's name: up to 128 letters, digits, dots, dashes and underscores. Empty: the name stored in the data directory, or node1 for a new directory. A directory of another node is refused.",
    },
    Setting {
        name: "data-dir",
        table: "node",
        key: "data_dir",
        field: Field::Path(|config| &mut config.node.data_dir),
        doc: "The folder that holds everything the node stores. It is made when missing, and belongs to one node and one process.",
    },
    Setting {
        name: "shutdown-timeout",
        table: "node",
        key: "shutdown_timeout",
        field: Field::Duration {
            at: |config| &mut config.node.shutdown_timeout,
            min: Duration::ZERO,
            max: Duration::from_secs(3600),
        },
        doc: "How long a stop waits for open calls and streams before it cuts them off. Nothing acknowledged is lost either way.",
    },
    Setting {
        name: "runtime-threads",
        table: "node",
        key: "runtime_threads",
        field: Field::Count {
            at: |config| &mut config.node.runtime_threads,
            of: "threads",
            min: 0,
            max: 1024,
        },
        doc: "Threads that run network and engine tasks. 0: one per processor.",
    },
    Setting {
        name: "node-rack",
        table: "node",
        key: "rack",
        field: Field::Text(|config| &mut config.node.rack),
        doc: "The rack this node stands in, within its zone. Copies of a partition go to different racks as far as there are so many. Used with -cluster only.",
    },
    Setting {
        name: "node-zone",
        table: "node",
        key: "zone",
        field: Field::Text(|config| &mut config.node.zone),
        doc: "The zone this node stands in, within its region. Copies of a partition, and the voters of the catalog, go to different zones as far as there are so many. Used with -cluster only.",
    },
    Setting {
        name: "node-region",
        table: "node",
        key: "region",
        field: Field::Text(|config| &mut config.node.region),
        doc: "The region this node stands in. Used with -cluster only.",
    },
    Setting {
        name: "grpc-addr",
        table: "listen",
        key: "grpc",
        field: Field::Address(|config| &mut config.listen.grpc),
        doc: "Where gRPC clients connect. An address without a host, such as :9000, listens on all interfaces, IPv6 and IPv4; port 0 takes a free port.",
    },
    Setting {
        name: "http-addr",
        table: "listen",
        key: "http",
        field: Field::Address(|config| &mut config.listen.http),
        doc: "Where /health, /livez, /readyz and /metrics answer. Written like -grpc-addr.",
    },
    Setting {
        name: "reflection",
        table: "listen",
        key: "reflection",
        field: Field::Switch(|config| &mut config.listen.reflection),
        doc: "Whether gRPC reflection answers, so that tools such as grpcurl need no .proto file.",
    },
    Setting {
        name: "grpc-advertise-addr",
        table: "listen",
        key: "grpc_advertise",
        field: Field::Reachable(|config| &mut config.listen.grpc_advertised),
        doc: "Where clients are told to connect by gRPC. Empty: the host of -cluster-advertise-addr, or of what stands in for it, with the port of -grpc-addr; or -grpc-addr itself if it names a host. Used with -cluster only.",
    },
    Setting {
        name: "http-advertise-addr",
        table: "listen",
        key: "http_advertise",
        field: Field::Reachable(|config| &mut config.listen.http_advertised),
        doc: "Where people and probes are told to find /health and /metrics. Found out like -grpc-advertise-addr. Used with -cluster only.",
    },
    Setting {
        name: "tls-enabled",
        table: "tls",
        key: "enabled",
        field: Field::Switch(|config| &mut config.tls.is_enabled),
        doc: "Whether clients have to connect by gRPC with TLS. It needs -tls-cert-file and -tls-key-file. Files of TLS are read again when they change; connections go on. docs/operations.md tells how to make them.",
    },
    Setting {
        name: "tls-cert-file",
        table: "tls",
        key: "cert_file",
        field: Field::Path(|config| &mut config.tls.certificate),
        doc: "The certificate that clients are shown, in PEM form, followed by those between it and its authority.",
    },
    Setting {
        name: "tls-key-file",
        table: "tls",
        key: "key_file",
        field: Field::Path(|config| &mut config.tls.key),
        doc: "The key of that certificate, in PEM form, without a password.",
    },
    Setting {
        name: "tls-ca-file",
        table: "tls",
        key: "ca_file",
        field: Field::Path(|config| &mut config.tls.ca),
        doc: "The authorities that sign the certificates of clients, in PEM form. Used with -tls-client-auth only.",
    },
    Setting {
        name: "tls-client-auth",
        table: "tls",
        key: "client_auth",
        field: Field::Switch(|config| &mut config.tls.client_auth),
        doc: "Whether clients have to show a certificate that an authority in -tls-ca-file signed.",
    },
    Setting {
        name: "segment-size",
        table: "wal",
        key: "segment_size",
        field: Field::Bytes {
            at: |config| &mut config.wal.segment_bytes,
            min: 64 << 10,
            max: 2 << 30,
        },
        doc: "Size at which a log segment is full and the next one begins. Space is freed by whole segments.",
    },
    Setting {
        name: "index-interval",
        table: "wal",
        key: "index_interval",
        field: Field::Count {
            at: |config| &mut config.wal.index_interval,
            of: "records",
            min: 1,
            max: 1_000_000,
        },
        doc: "Log records between two entries of the sparse index. Fewer: faster reads of old events, more memory.",
    },
    Setting {
        name: "fsync-mode",
        table: "wal",
        key: "fsync_mode",
        field: Field::Choice(|config| &mut config.wal.fsync_mode),
        doc: "When a publish is acknowledged. every_event: after an fsync of its own batch. batch: after an fsync shared by all callers that wait. periodic: before any fsync, so a power cut loses up to -flush-interval of acknowledged events (a crash of the process alone loses none).",
    },
    Setting {
        name: "flush-interval",
        table: "wal",
        key: "flush_interval_ms",
        field: Field::Span {
            at: |config| &mut config.wal.flush_interval,
            unit: Unit::Milliseconds,
            min: 1,
            max: 3_600_000,
        },
        doc: "Time between two fsyncs when -fsync-mode is periodic. The other modes do not use it.",
    },
    Setting {
        name: "fire-ahead-ms",
        table: "scheduler",
        key: "fire_ahead_ms",
        field: Field::Span {
            at: |config| &mut config.scheduler.fire_ahead,
            unit: Unit::Milliseconds,
            min: 0,
            max: 1000,
        },
        doc: "How long before its time an event's firing may be written to the log, which hides the fsync. Delivery still waits for the event's time. Larger suits slow disks.",
    },
    Setting {
        name: "near-window-ms",
        table: "scheduler",
        key: "near_window_ms",
        field: Field::Span {
            at: |config| &mut config.scheduler.near_window,
            unit: Unit::Milliseconds,
            min: 1000,
            max: 86_400_000,
        },
        doc: "Events due within this time are held in the timing wheel in memory; later ones stay on disk until they come near.",
    },
    Setting {
        name: "ack-timeout",
        table: "delivery",
        key: "ack_timeout",
        field: Field::Duration {
            at: |config| &mut config.delivery.ack_timeout,
            min: Duration::from_millis(1),
            max: DAY,
        },
        doc: "How long a subscriber may hold an event without ack or nack before it is delivered again.",
    },
    Setting {
        name: "max-retries",
        table: "delivery",
        key: "max_retries",
        field: Field::Count {
            at: |config| &mut config.delivery.max_retries,
            of: "attempts",
            min: 1,
            max: 1_000_000,
        },
        doc: "Attempts in all, counted per group and event; a nack and an ack timeout both count. After the last one the event goes to the group's dead letters.",
    },
    Setting {
        name: "retry-backoff",
        table: "delivery",
        key: "retry_backoff",
        field: Field::Duration {
            at: |config| &mut config.delivery.retry_backoff,
            min: Duration::ZERO,
            max: DAY,
        },
        doc: "Wait before an event is delivered again after a nack or an ack timeout: once this long before the second attempt, twice before the third, and so on.",
    },
    Setting {
        name: "dead-letter-ttl",
        table: "delivery",
        key: "dead_letter_ttl",
        field: Field::Duration {
            at: |config| &mut config.delivery.dead_letter_ttl,
            min: Duration::from_secs(1),
            max: CENTURY,
        },
        doc: "How long a dead letter is kept after its last failure, whatever retention says of its event. A letter that is being delivered again stays until it is processed or dead again.",
    },
    Setting {
        name: "max-credits",
        table: "delivery",
        key: "max_credits",
        field: Field::Count {
            at: |config| &mut config.delivery.max_credits,
            of: "events",
            min: 1,
            max: 50_000,
        },
        doc: "Unanswered events that a subscription may hold when its request names no max_buffer_size. A request may name up to 50000. Without credit events wait.",
    },
    Setting {
        name: "auto-create-topics",
        table: "topics",
        key: "auto_create",
        field: Field::Switch(|config| &mut config.topics.auto_create),
        doc: "Whether a topic begins to exist when somebody publishes or subscribes to it. When off, a publish or subscription that names a topic which was not created is refused.",
    },
    Setting {
        name: "retention-max-age-hours",
        table: "retention",
        key: "max_age_hours",
        field: Field::Span {
            at: |config| &mut config.retention.max_age,
            unit: Unit::Hours,
            min: 0,
            max: 876_000,
        },
        doc: "How long an event is kept after it fired or was cancelled. 0: for ever. Events that have not fired are never removed, nor those that a group still waits for or that are dead letters.",
    },
    Setting {
        name: "retention-max-size-gb",
        table: "retention",
        key: "max_size_gb",
        field: Field::Count {
            at: |config| &mut config.retention.max_size_gb,
            of: "GiB",
            min: 0,
            max: 1 << 20,
        },
        doc: "Most space of one partition's log: beyond it, events that have fired are not kept for their age, oldest first. 0: no limit. What has not fired stays, however much it is.",
    },
    Setting {
        name: "dedup-ttl",
        table: "dedup",
        key: "ttl_hours",
        field: Field::Span {
            at: |config| &mut config.dedup.ttl,
            unit: Unit::Hours,
            min: 1,
            max: 87_600,
        },
        doc: "How long a message id is remembered after its event was due, so that a second publish of it is refused as a duplicate.",
    },
    Setting {
        name: "partition-count",
        table: "partitions",
        key: "count",
        field: Field::Count {
            at: |config| &mut config.partitions.count,
            of: "partitions",
            min: 1,
            max: 4096,
        },
        doc: "Number of partitions, fixed when the data directory is made. Left out, an existing directory keeps its own number; a different number is refused. With -cluster the number is fixed when the cluster is founded, 16 if it is left out, and a node that joins takes the cluster's.",
    },
    Setting {
        name: "replication-factor",
        table: "partitions",
        key: "replication_factor",
        field: Field::Count {
            at: |config| &mut config.partitions.replication_factor,
            of: "copies",
            min: 1,
            max: 7,
        },
        doc: "Copies of each partition, on different nodes, as far as there are so many. It is fixed when the cluster is founded. With 1 the loss of a node loses what is on it. More than 1 needs -cluster.",
    },
    Setting {
        name: "min-insync-replicas",
        table: "partitions",
        key: "min_insync_replicas",
        field: Field::Count {
            at: |config| &mut config.partitions.min_insync_replicas,
            of: "copies",
            min: 0,
            max: 7,
        },
        doc: "Copies that must have an event before it is acknowledged. A majority of -replication-factor always must, whatever is said here; asking for more than that is refused.",
    },
    Setting {
        name: "cluster",
        table: "cluster",
        key: "enabled",
        field: Field::Switch(|config| &mut config.cluster.is_enabled),
        doc: "Whether this node is one of a cluster. It then needs -node-id, and -cluster-seeds or -raft-join. docs/clusters.md tells how a cluster begins.",
    },
    Setting {
        name: "cluster-seeds",
        table: "cluster",
        key: "seeds",
        field: Field::Reachables(|config| &mut config.cluster.seeds),
        doc: "The -cluster-grpc-addr of every node that is to found the cluster, this one included: the same list on each. All of them have to be up once for that. Later any of them that is up is enough to be found again.",
    },
    Setting {
        name: "raft-join",
        table: "cluster",
        key: "join",
        field: Field::Reachables(|config| &mut config.cluster.join),
        doc: "The -cluster-grpc-addr of one or more members of a cluster that this node is to join. A node with this never founds a cluster, whatever -cluster-seeds says.",
    },
    Setting {
        name: "cluster-grpc-addr",
        table: "cluster",
        key: "grpc",
        field: Field::Address(|config| &mut config.cluster.listen),
        doc: "Where the other nodes connect. Written like -grpc-addr. Not for clients: it has no authentication, so keep it within the cluster's network.",
    },
    Setting {
        name: "cluster-advertise-addr",
        table: "cluster",
        key: "advertise",
        field: Field::Reachable(|config| &mut config.cluster.advertised),
        doc: "Where the other nodes are told to connect. Empty: -cluster-grpc-addr if it names a host, else the entry of -cluster-seeds that turns out to be this node, else the machine's name with the port of -cluster-grpc-addr.",
    },
    Setting {
        name: "clock-skew-threshold-ms",
        table: "cluster",
        key: "clock_skew_threshold_ms",
        field: Field::Span {
            at: |config| &mut config.cluster.clock_skew_threshold,
            unit: Unit::Milliseconds,
            min: 1,
            max: 3_600_000,
        },
        doc: "How far a node's clock may be from the median of all nodes'. One that is further away delivers nothing, and others lead in its place; the log names it.",
    },
    Setting {
        name: "replication-tls-enabled",
        table: "replication_tls",
        key: "enabled",
        field: Field::Switch(|config| &mut config.replication_tls.is_enabled),
        doc: "Whether nodes connect to each other with TLS, both sides showing a certificate. It needs the three files. All nodes of a cluster have to agree. Used with -cluster only.",
    },
    Setting {
        name: "replication-tls-cert-file",
        table: "replication_tls",
        key: "cert_file",
        field: Field::Path(|config| &mut config.replication_tls.certificate),
        doc: "The certificate of this node for other nodes, in PEM form. It has to be good for both sides of a connection; its name does not matter.",
    },
    Setting {
        name: "replication-tls-key-file",
        table: "replication_tls",
        key: "key_file",
        field: Field::Path(|config| &mut config.replication_tls.key),
        doc: "The key of that certificate, in PEM form, without a password.",
    },
    Setting {
        name: "replication-tls-ca-file",
        table: "replication_tls",
        key: "ca_file",
        field: Field::Path(|config| &mut config.replication_tls.ca),
        doc: "The authority of the nodes, in PEM form. Whoever holds a certificate of it is taken for a node, so it has to sign nothing else.",
    },
    Setting {
        name: "raft-heartbeat",
        table: "raft",
        key: "heartbeat",
        field: Field::Duration {
            at: |config| &mut config.raft.heartbeat,
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
        },
        doc: "Time between a leader's heartbeats to the other replicas; an election starts after several are missed. A single node sends none.",
    },
    Setting {
        name: "block-cache-bytes",
        table: "store",
        key: "block_cache",
        field: Field::Bytes {
            at: |config| &mut config.store.block_cache_bytes,
            min: 1 << 20,
            max: TIB,
        },
        doc: "Cache for blocks read from the index, shared by all partitions.",
    },
    Setting {
        name: "write-buffer-bytes",
        table: "store",
        key: "write_buffer",
        field: Field::Bytes {
            at: |config| &mut config.store.write_buffer_bytes,
            min: 1 << 20,
            max: TIB,
        },
        doc: "Index changes kept in memory before they are written out, for all partitions together. Larger: fewer writes, a longer restart after a crash.",
    },
    Setting {
        name: "max-inflight-bytes",
        table: "limits",
        key: "max_inflight",
        field: Field::Bytes {
            at: |config| &mut config.limits.max_inflight_bytes,
            min: MESSAGE_BYTES,
            max: TIB,
        },
        doc: "Bytes of publishes received and not yet answered, in all. What exceeds it waits, for 5 s at most, and is then refused with RESOURCE_EXHAUSTED. At least one gRPC message (16MiB) must fit.",
    },
    Setting {
        name: "log-format",
        table: "log",
        key: "format",
        field: Field::Choice(|config| &mut config.log.format),
        doc: "The form of log lines on standard error: text, or json with one object per line.",
    },
    Setting {
        name: "log-level",
        table: "log",
        key: "level",
        field: Field::Text(|config| &mut config.log.level),
        doc: "error, warn, info, debug, trace or off; or a list such as info,chronos_wal=debug. When no CHRONOS_LOG_LEVEL or CRONOS_LOG_LEVEL is set, RUST_LOG is read in their place.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::{Config, setting::Given};
    use super::*;

    #[test]
    fn names_are_unique_and_tables_exist() {
        let mut names = HashSet::new();
        for setting in &SETTINGS {
            assert!(names.insert(setting.name), "{}", setting.name);
            assert!(names.insert(setting.path().leak()), "{}", setting.path());
            assert!(COMPONENTS.iter().any(|c| c.table == setting.table));
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert!(!setting.doc.contains('\n'), "{}", setting.name);
        }
    }

    #[test]
    fn no_variable_looks_like_one_that_kubernetes_adds_for_a_service() {
        for setting in &SETTINGS {
            let variable = setting.variable();
            for end in ["_PORT", "_SERVICE_HOST", "_SERVICE_PORT", "_TCP_ADDR"] {
                assert!(!variable.ends_with(end), "{variable}");
            }
        }
    }

    #[test]
    fn every_default_is_within_its_own_bounds() {
        let mut config = Config::default();
        for setting in &SETTINGS {
            let shown = setting.field.show(&mut config);
            setting
                .field
                .set(&mut config, &Given::Text(&shown))
                .unwrap_or_else(|error| panic!("{} {error}", setting.name));
            assert_eq!(setting.field.show(&mut config), shown);
        }
    }

    #[test]
    fn no_two_settings_share_a_place() {
        let mut config = Config::default();
        let show_all = |config: &mut Config| -> Vec<String> {
            SETTINGS.iter().map(|s| s.field.show(config)).collect()
        };
        for (index, setting) in SETTINGS.iter().enumerate() {
            let other = match &setting.field {
                Field::Text(_) | Field::Path(_) => "other".to_owned(),
                Field::Address(_) => ":1".to_owned(),
                Field::Reachable(_) | Field::Reachables(_) => "other:1".to_owned(),
                Field::Switch(at) => (!*at(&mut config)).to_string(),
                Field::Choice(at) => (*at(&mut config).choices().last().unwrap()).to_owned(),
                Field::Count { min, max, .. } | Field::Span { min, max, .. } => {
                    ((min + max) / 2).to_string()
                }
                Field::Bytes { max, .. } => max.to_string(),
                Field::Duration { max, .. } => super::super::duration::show(*max),
            };
            let before = show_all(&mut config);
            setting
                .field
                .set(&mut config, &Given::Text(&other))
                .unwrap();
            let after = show_all(&mut config);
            for (row, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(before != after, row == index, "{}", SETTINGS[row].name);
            }
        }
    }
}
