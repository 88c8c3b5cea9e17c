//! How a group is set up.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chronos_wal::{Files, RealFiles};
use openraft::{Config, SnapshotPolicy};
use tokio::time::Instant;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::seed::SeedWanted;
use crate::transport::{NoTransport, Transport};

/// The settings of one group on one node.
#[derive(Clone)]
pub struct GroupOptions {
    /// This node. Never reused for a node that lost its disk.
    pub node_id: u64,
    /// The group's number, the same on all its nodes. It is in every request.
    pub group: u32,
    /// Names the group in log lines.
    pub name: String,
    /// The file system `dir` is in.
    pub files: Arc<dyn Files>,
    /// A folder for the group's vote and other small files, whose names start with `raft-`.
    /// Made if missing. Not the log's folder, which holds nothing but the log.
    pub dir: PathBuf,
    /// Where jobs that wait for the disk run.
    pub disk: Disk,
    /// The way to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// Called when a leader's log no longer has what this node needs next: the log and the state
    /// have to be copied from another node, see [`prepare_seed`](crate::prepare_seed). Called from
    /// within [`Group::serve`](crate::Group::serve) and again every second or so until the copy is
    /// there, so it only takes note.
    pub on_seed_wanted: Arc<dyn Fn(SeedWanted) + Send + Sync>,
    /// How many bytes of entries one append carries at most, unless the first entry is larger.
    pub max_payload_bytes: usize,
    /// How long a peer may take to answer entries, which it does when they are on its disk.
    pub append_deadline: Duration,
    /// How often a leader of several voters tells the others that it is there. Whole
    /// milliseconds.
    pub heartbeat: Duration,
    /// Heartbeats fall on multiples of `heartbeat` after this. Groups of one node that share it tell
    /// their peers at the same time, and what goes to one peer then travels together.
    pub beats_from: Instant,
    /// A voter starts an election when it heard nothing of a leader for a random time in this
    /// range. Whole milliseconds. For half the upper end a voter that heard of a leader gives its
    /// vote to nobody else; the lower end has to be above that by more than `heartbeat`.
    pub election_timeout: (Duration, Duration),
    /// Whether a follower may come back without entries that it had acknowledged, which a power
    /// loss does to a log in mode `periodic`. It is then sent them again. In other modes this
    /// would hide a disk that lies.
    pub followers_may_forget: bool,
    /// Where the random times come from, for simulations; `None` for chance.
    pub seed: Option<u64>,
    /// How many proposals may wait to be taken up before further ones wait as well.
    pub queue: usize,
}

/// What a group with an empty log is. A group that was opened before knows better and ignores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// A new group of these voters, this node among them. All of them may open it at once, with
    /// the same set.
    Voters(BTreeSet<u64>),
    /// A node that waits to be added to a group.
    Wait,
}

impl First {
    /// A new group of one voter.
    pub fn only(node_id: u64) -> Self {
        Self::Voters(BTreeSet::from([node_id]))
    }
}

impl GroupOptions {
    /// Options for a group of `node_id` whose small files are in `dir`, without peers.
    pub fn new(node_id: u64, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            group: 0,
            name: name.into(),
            files: Arc::new(RealFiles),
            dir: dir.into(),
            disk: Disk::Threads,
            transport: Arc::new(NoTransport),
            on_seed_wanted: Arc::new(|_| {}),
            max_payload_bytes: 1 << 20,
            append_deadline: Duration::from_secs(5),
            heartbeat: Duration::from_millis(250),
            beats_from: Instant::now(),
            election_timeout: (Duration::from_millis(1400), Duration::from_millis(1700)),
            followers_may_forget: false,
            seed: None,
            queue: 65_536,
        }
    }

    /// Sets the heartbeat, and election timeouts that go with it: a voter may miss three or four
    /// heartbeats before others could be elected, and five or six before it campaigns.
    pub fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
        self.election_timeout = (heartbeat * 28 / 5, heartbeat * 34 / 5);
    }

    /// For how long a voter that heard of a leader gives its vote to nobody else.
    pub(crate) fn vote_hold(&self) -> Duration {
        self.election_timeout.1 / 2
    }

    /// How long after a majority was asked the leader may rely on nobody else leading, by its own
    /// clock. The rest is for clocks that run at different speeds.
    pub fn lease(&self) -> Duration {
        self.vote_hold() * 9 / 10
    }

    /// How long after that it campaigns: a random time in this range. Also how long it waits for
    /// the votes.
    pub(crate) fn campaign_wait(&self) -> (Duration, Duration) {
        let shortest = self.election_timeout.0.saturating_sub(self.vote_hold());
        (shortest, self.vote_hold())
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
            .unwrap_or_else(|| RandomState::new().hash_one(self.node_id))
    }

    pub(crate) fn raft_config(&self) -> Result<Config, OpenError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // openraft counts an election timeout from the end of the time for which votes are held.
        let (min, max) = self.election_timeout;
        let (campaign_after, _) = self.campaign_wait();
        if min >= max || campaign_after <= self.heartbeat {
            return Err(OpenError::Options(format!(
                "an election timeout of {min:?} to {max:?} does not go with a heartbeat of {:?}: the lower end has to be above the heartbeat and half the upper end together",
                self.heartbeat
            )));
        }
        let config = Config {
            cluster_name: self.name.clone(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(campaign_after),
            election_timeout_max: ms(self.vote_hold()),
            api_channel_size: Some(self.queue as u64),
            // The group has a clock of its own that wakes it less often.
            enable_tick: false,
            enable_pre_vote: Some(true),
            // Every start leads under a term of its own. Leading on under the old term would
            // give two different entries the same log id after a power loss took the log's
            // unsynced end, and would let names made of (term, counter) come again.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            // What is purged is decided by whoever knows what of the log is still needed.
            max_in_snapshot_log_to_keep: u64::MAX,
            // An append is bounded by its bytes.
            max_payload_entries: 4096,
            backoff: "100ms 200ms ..1000ms".to_owned(),
            allow_log_reversion: Some(self.followers_may_forget),
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

impl fmt::Debug for GroupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupOptions")
            .field("node_id", &self.node_id)
            .field("group", &self.group)
            .field("name", &self.name)
            .field("dir", &self.dir)
            .field("disk", &self.disk)
            .field("heartbeat", &self.heartbeat)
            .field("election_timeout", &self.election_timeout)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_timeouts_go_with_every_heartbeat() {
        let mut options = GroupOptions::new(1, "test", "/group");
        let by_default = options.election_timeout;
        options.set_heartbeat(options.heartbeat);
        assert_eq!(options.election_timeout, by_default);
        for ms in [10, 33, 250, 500, 60_000] {
            let heartbeat = Duration::from_millis(ms);
            options.set_heartbeat(heartbeat);
            let config = options.raft_config().unwrap();
            assert!(options.lease() >= heartbeat * 3, "{ms}");
            // openraft adds the two: how long votes are held, and when to campaign after that.
            let (min, max) = options.election_timeout;
            let held = Duration::from_millis(config.election_timeout_max);
            assert!(options.lease() < held, "{ms}");
            let earliest = held + Duration::from_millis(config.election_timeout_min);
            assert!(earliest.abs_diff(min) <= Duration::from_millis(2), "{ms}");
            assert!((held * 2).abs_diff(max) <= Duration::from_millis(2), "{ms}");
        }
        options.heartbeat = Duration::from_secs(600);
        assert!(matches!(options.raft_config(), Err(OpenError::Options(_))));
    }
}
