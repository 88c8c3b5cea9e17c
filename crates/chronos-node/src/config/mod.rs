//! What a node can be told, and how.
//!
//! A value comes from the default, the TOML file, an environment variable or a flag; each outweighs
//! the ones before it. One table, [`SETTINGS`], says for every setting what it is called, where its
//! value lives, what it may be and what it does; the command line, the variables, the file, the
//! help, `-print-config` and `docs/configuration.md` all follow from that table.
//!
//! Everything is checked before anything starts: [`load`] either gives a configuration that can
//! run or one line that says what to change.

mod address;
mod args;
mod components;
mod duration;
mod environment;
mod error;
mod file;
mod former;
mod load;
mod nearest;
mod number;
mod reference;
mod render;
mod setting;
mod settings;
mod size;
mod source;
mod switch;
mod tls;
mod validate;

use std::collections::BTreeMap;

pub use address::{Address, NotAnAddress};
pub use components::{
    Cluster, Dedup, Delivery, Limits, Listen, Log, LogFormat, Node, Partitions, Raft,
    ReplicationTls, Retention, Scheduler, Store, Tls, Topics, Wal,
};
pub use error::UsageError;
pub use former::{FORMER, Former, Standing, Takes};
pub use load::{Invocation, load};
pub use reference::reference;
pub use render::{file, help};
pub use setting::{Choice, Field, Setting, Unit, Whole};
pub use settings::{COMPONENTS, Component, SETTINGS};
pub use source::Source;

/// Everything a node was told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The process itself.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// TLS for clients.
    pub tls: Tls,
    /// The write-ahead log.
    pub wal: Wal,
    /// Firing.
    pub scheduler: Scheduler,
    /// Delivery.
    pub delivery: Delivery,
    /// Topics.
    pub topics: Topics,
    /// Retention.
    pub retention: Retention,
    /// Deduplication.
    pub dedup: Dedup,
    /// Partitions.
    pub partitions: Partitions,
    /// The cluster.
    pub cluster: Cluster,
    /// TLS between nodes.
    pub replication_tls: ReplicationTls,
    /// Replication.
    pub raft: Raft,
    /// The index.
    pub store: Store,
    /// Limits.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// Lines to write to the log once at the start: what was set and has no effect.
    pub notices: Vec<String>,
    /// Where each value that is not a default came from, by flag name.
    sources: BTreeMap<&'static str, Source>,
}

impl Config {
    /// Where the value of a flag came from.
    pub fn source(&self, name: &str) -> Source {
        self.sources.get(name).cloned().unwrap_or(Source::Default)
    }

    /// Whether anything but the default set the value of a flag.
    pub fn is_given(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }
}

#[cfg(test)]
mod tests;
