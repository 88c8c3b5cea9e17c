//! What each part of a node can be told, one struct per part.
//!
//! These structs hold values only; how a value is named, written and checked is in
//! [`settings`](super::settings).

use std::path::PathBuf;
use std::time::Duration;

use chronos_wal::FsyncMode;

use super::address::Address;

/// The process itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// This node's name. Empty: the name stored in the data directory, or `node1` for a new one.
    pub id: String,
    /// The folder that holds everything this node stores.
    pub data_dir: PathBuf,
    /// How long a stop may take before what is still open is cut off.
    pub shutdown_timeout: Duration,
    /// Threads that run network and engine tasks. 0: one per processor.
    pub runtime_threads: usize,
    /// The rack it stands in. Empty: unknown, and so are zone and region.
    pub rack: String,
    /// The zone it stands in.
    pub zone: String,
    /// The region it stands in.
    pub region: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: String::new(),
            data_dir: PathBuf::from("./data"),
            shutdown_timeout: Duration::from_secs(10),
            runtime_threads: 0,
            rack: String::new(),
            zone: String::new(),
            region: String::new(),
        }
    }
}

/// Where clients and probes reach the node.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// gRPC for clients.
    pub grpc: Address,
    /// Health and metrics.
    pub http: Address,
    /// Whether gRPC reflection answers, so that tools need no .proto file.
    pub reflection: bool,
    /// Where clients are told to go for gRPC. `None`: found out.
    pub grpc_advertised: Option<Address>,
    /// Where people and probes are told to go for HTTP. `None`: found out.
    pub http_advertised: Option<Address>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            grpc: Address::all_interfaces(9000),
            http: Address::all_interfaces(8080),
            reflection: true,
            grpc_advertised: None,
            http_advertised: None,
        }
    }
}

/// TLS for clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Whether clients have to connect with TLS.
    pub is_enabled: bool,
    /// The certificate, PEM. Empty: none, and so with the others.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients, PEM.
    pub ca: PathBuf,
    /// Whether clients have to show a certificate.
    pub client_auth: bool,
}

/// TLS between nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationTls {
    /// Whether nodes connect to each other with TLS.
    pub is_enabled: bool,
    /// This node's certificate, PEM. Empty: none, and so with the others.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that sign the certificates of nodes, PEM.
    pub ca: PathBuf,
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq)]
pub struct Wal {
    /// Size at which a segment file is full.
    pub segment_bytes: u64,
    /// Records between two entries of the sparse index.
    pub index_interval: u32,
    /// When a write counts as durable.
    pub fsync_mode: FsyncMode,
    /// Time between two fsyncs in the `periodic` mode.
    pub flush_interval: Duration,
}

impl Default for Wal {
    fn default() -> Self {
        Self {
            segment_bytes: 512 << 20,
            index_interval: 1000,
            fsync_mode: FsyncMode::Batch,
            flush_interval: Duration::from_millis(1000),
        }
    }
}

/// Firing.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    /// How long before its time an event's firing may be written to the log. Delivery still waits
    /// for the event's time.
    pub fire_ahead: Duration,
    /// Events due within this time are held in the timing wheel; later ones stay on disk.
    pub near_window: Duration,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            fire_ahead: Duration::from_millis(5),
            near_window: Duration::from_millis(60_000),
        }
    }
}

/// Handing events to consumer groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// How long a subscriber may hold an event without answering.
    pub ack_timeout: Duration,
    /// Attempts in all before an event goes to the group's dead letters.
    pub max_retries: u32,
    /// Wait before the second attempt; the third waits twice as long, and so on.
    pub retry_backoff: Duration,
    /// Unanswered events that a subscription may hold when it names no number itself.
    pub max_credits: u32,
    /// How long a dead letter is kept, and with it its event.
    pub dead_letter_ttl: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(30),
            max_retries: 5,
            retry_backoff: Duration::from_secs(1),
            max_credits: 10_000,
            dead_letter_ttl: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Topics.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// Whether a topic begins to exist when it is published or subscribed to.
    pub auto_create: bool,
}

impl Default for Topics {
    fn default() -> Self {
        Self { auto_create: true }
    }
}

/// Keeping events that are over.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// How long an event is kept after it fired or was cancelled. Zero: for ever.
    pub max_age: Duration,
    /// Most space of one partition's log, GiB, if something that is over can be given up for it. 0:
    /// no limit.
    pub max_size_gb: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(168 * 3600),
            max_size_gb: 0,
        }
    }
}

/// Recognising a message id that was published before.
#[derive(Clone, Debug, PartialEq)]
pub struct Dedup {
    /// How long an id is remembered.
    pub ttl: Duration,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(168 * 3600),
        }
    }
}

/// How the data is split.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitions {
    /// Number of partitions, fixed when the data directory is made, or the cluster.
    pub count: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// Copies that must have an event before it is acknowledged. A majority always must.
    pub min_insync_replicas: u32,
}

impl Default for Partitions {
    fn default() -> Self {
        Self {
            count: 1,
            replication_factor: 1,
            min_insync_replicas: 1,
        }
    }
}

/// What makes several nodes one database.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Whether this node is one of a cluster.
    pub is_enabled: bool,
    /// The first nodes of the cluster, this one among them if it is one.
    pub seeds: Vec<Address>,
    /// Members of a cluster to join. Not empty: nothing is ever founded.
    pub join: Vec<Address>,
    /// Where other nodes connect.
    pub listen: Address,
    /// Where other nodes are told to connect. `None`: found out.
    pub advertised: Option<Address>,
    /// How far the clocks of two nodes may be apart before that is reported.
    pub clock_skew_threshold: Duration,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            is_enabled: false,
            seeds: Vec::new(),
            join: Vec::new(),
            listen: Address::all_interfaces(7947),
            advertised: None,
            clock_skew_threshold: Duration::from_millis(5_000),
        }
    }
}

/// Replication.
#[derive(Clone, Debug, PartialEq)]
pub struct Raft {
    /// Time between a leader's heartbeats to the other replicas.
    pub heartbeat: Duration,
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
        }
    }
}

/// The index on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Cache for blocks read from the index, shared by all partitions.
    pub block_cache_bytes: u64,
    /// Index changes kept in memory before they are written out, for all partitions together.
    pub write_buffer_bytes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
        }
    }
}

/// What the node takes on at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of publishes received and not yet answered; more waits or is refused.
    pub max_inflight_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_inflight_bytes: 64 << 20,
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// What the node writes to standard error.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A level, or a list of `target=level` separated by commas.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}
