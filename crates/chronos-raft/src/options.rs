//! How a group is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chronos_wal::{Files, RealFiles};
use openraft::{Config, SnapshotPolicy};

use crate::error::OpenError;

/// The settings of one group on one node.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// This node. Never reused for a node that lost its disk.
    pub node_id: u64,
    /// Names the group in log lines.
    pub name: String,
    /// The file system `dir` is in.
    pub files: Arc<dyn Files>,
    /// A folder for the group's vote and two other small files, whose names start with `raft-`.
    /// Made if missing. Not the log's folder, which holds nothing but the log.
    pub dir: PathBuf,
    /// How often a leader of several voters tells the others that it is there. Whole
    /// milliseconds; also sets how often the group wakes up when idle, about five times as often.
    pub heartbeat: Duration,
    /// A follower of several voters starts an election when it heard nothing for a random time
    /// in this range. Whole milliseconds; the lower end is above `heartbeat`.
    pub election_timeout: (Duration, Duration),
    /// How many proposals may wait to be taken up before further ones wait as well.
    pub queue: usize,
}

impl GroupOptions {
    /// Options for a group of `node_id` whose small files are in `dir`.
    pub fn new(node_id: u64, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            name: name.into(),
            files: Arc::new(RealFiles),
            dir: dir.into(),
            heartbeat: Duration::from_millis(500),
            election_timeout: (Duration::from_millis(1000), Duration::from_millis(2000)),
            queue: 65_536,
        }
    }

    pub(crate) fn raft_config(&self) -> Result<Config, OpenError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: self.name.clone(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_timeout.0),
            election_timeout_max: ms(self.election_timeout.1),
            api_channel_size: Some(self.queue as u64),
            // A single voter needs no clock at all; the group switches it on for several.
            enable_tick: false,
            enable_pre_vote: Some(true),
            // Every start leads under a term of its own. Leading on under the old term would
            // give two different entries the same log id after a power loss took the log's
            // unsynced end, and would let names made of (term, counter) come again.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            // What is purged is decided by whoever knows what of the log is still needed.
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        if self.queue == 0 {
            return Err(OpenError::Options("the queue has no place".to_owned()));
        }
        config
            .validate()
            .map_err(|error| OpenError::Options(error.to_string()))
    }
}
