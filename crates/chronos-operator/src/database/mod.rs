//! What the operator asks the database. One trait, so that reconcilers are tested without one; the
//! gRPC client is in [`grpc`].

pub mod grpc;

use std::sync::Arc;

use async_trait::async_trait;

use crate::build::Names;
use crate::plan::{Drain, Node};

/// A cluster's database.
#[async_trait]
pub trait Database: Send + Sync {
    /// How it and its nodes stand, at one moment.
    async fn status(&self) -> Result<Status, Error>;
    /// Moves work off a node.
    async fn drain(&self, node: &str, scope: Drain) -> Result<(), Error>;
    /// Lets a node have work again.
    async fn undrain(&self, node: &str) -> Result<(), Error>;
    /// Removes a node for good. One that is gone already is no error.
    async fn remove(&self, node: &str, number: u64, lost: bool) -> Result<(), Error>;
    /// Says in which zone a node stands.
    async fn set_zone(&self, node: &str, zone: &str) -> Result<(), Error>;

    /// A topic, if it was created.
    async fn topic(&self, name: &str) -> Result<Option<Topic>, Error>;
    /// Creates a topic.
    async fn create_topic(&self, name: &str, settings: &TopicSettings) -> Result<(), Error>;
    /// Changes settings of a topic: those that are present; those named in `clear` go back to
    /// their default.
    async fn alter_topic(
        &self,
        name: &str,
        settings: &TopicSettings,
        clear: &[&str],
    ) -> Result<(), Error>;
    /// Deletes a topic with everything in it. One that is gone already is no error.
    async fn delete_topic(&self, name: &str) -> Result<(), Error>;
    /// When the next event of a topic falls due, Unix ms.
    async fn next_fire_ms(&self, topic: &str) -> Result<Option<i64>, Error>;
    /// The node that leads each partition, by name, in the order of the partitions.
    async fn leaders(&self) -> Result<Vec<String>, Error>;
}

/// How to connect with TLS, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The authority that signed the nodes' certificates.
    pub ca: Vec<u8>,
    /// The name in them.
    pub server_name: String,
    /// The certificate to show and its key, where one is demanded.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Keys are never shown.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({})", self.server_name)
    }
}

/// Which nodes are asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Their addresses, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// With TLS, or without.
    pub tls: Option<Access>,
}

impl Way {
    /// To a cluster of so many nodes that all serve alike.
    pub fn to_all(names: &Names, size: u32, tls: Option<Access>) -> Self {
        // The Service names only nodes that serve; the nodes themselves answer in worse times.
        let mut addresses = vec![names.client_address()];
        addresses.extend((0..size).map(|ordinal| names.grpc_address(ordinal)));
        Self { addresses, tls }
    }
}

/// Finds the database of a cluster.
pub trait Databases: Send + Sync {
    /// The database of the cluster of these names, reached in this way. Cheap: connections are kept
    /// while the way stays the same.
    fn of(&self, names: &Names, way: Way) -> Arc<dyn Database>;
    /// The database of the cluster of these names, reached as it was last.
    fn known(&self, names: &Names) -> Option<Arc<dyn Database>>;
    /// Closes the connections to a cluster that is gone.
    fn forget(&self, names: &Names);
}

/// How a database stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its id.
    pub cluster_id: String,
    /// Copies that each partition is to have.
    pub replication_factor: u32,
    /// Partitions that lack a copy.
    pub under_replicated: u32,
    /// Partitions without a leader.
    pub leaderless: u32,
    /// Replicas under way.
    pub moves: u32,
    /// How late the latest event is, ms.
    pub overdue_ms: u64,
    /// Its nodes, each with its name.
    pub nodes: Vec<(String, Node)>,
}

/// A topic in the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topic {
    /// The settings that were made.
    pub settings: TopicSettings,
    /// Whether it only exists because somebody used it.
    pub automatic: bool,
    /// Counts its changes.
    pub version: i64,
    /// The partitions that its events are in.
    pub partitions: Vec<u32>,
    /// Events that wait for their time.
    pub pending: i64,
}

/// Settings of a topic. One that is absent is the node's default, or no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicSettings {
    /// Partitions that its events are spread over.
    pub partitions: Option<i32>,
    /// Age at which events that are over go, ms.
    pub retention_age_ms: Option<i64>,
    /// Size beyond which they go, bytes.
    pub retention_bytes: Option<i64>,
    /// How long a message id is known, ms.
    pub dedup_window_ms: Option<i64>,
    /// When a delivery has failed, ms.
    pub ack_timeout_ms: Option<i64>,
    /// Deliveries that may fail.
    pub max_retries: Option<i32>,
    /// Wait before the second delivery, ms.
    pub backoff_first_ms: Option<i64>,
    /// By how much further waits are longer.
    pub backoff_factor: Option<f64>,
    /// Longest wait, ms.
    pub backoff_max_ms: Option<i64>,
    /// Share of a wait that is left to chance.
    pub backoff_jitter: Option<f64>,
    /// How far ahead an event may be scheduled, ms.
    pub max_horizon_ms: Option<i64>,
    /// Events per second.
    pub events_per_second: Option<i64>,
    /// Bytes per second.
    pub bytes_per_second: Option<i64>,
    /// Events that may be pending.
    pub max_pending_events: Option<i64>,
    /// Bytes that may be pending.
    pub max_pending_bytes: Option<i64>,
}

/// Why the database did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answered in time.
    #[error("the database does not answer: {0}")]
    Silent(String),
    /// It refused: why.
    #[error("the database refused: {0}")]
    Refused(String),
}
