//! What a seed decides before anything begins: how large the cluster is, how fast its disks are,
//! what its clients do and which faults it meets.
//!
//! Not every seed meets every class of faults: a run without crashes lives long enough to meet what
//! crashes would hide, after Groce and others, "Swarm Testing" (ISSTA 2012).

use crate::faults::Kind;
use crate::random::Random;
use chronos_wal::FsyncMode;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What may be chosen instead of by the seed.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Seconds of the phase with faults.
    pub seconds: Option<u64>,
    /// Nodes of the cluster.
    pub nodes: Option<usize>,
    /// Clients that publish and change events.
    pub clients: Option<u64>,
    /// Classes of faults that do not happen.
    pub without: BTreeSet<Kind>,
    /// Whether the lines of the trace are kept.
    pub trace: bool,
}

/// A run, as its seed and a wish decide it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Voters at the beginning.
    pub nodes: usize,
    /// How long the phase with faults lasts, seconds.
    pub seconds: u64,
    /// When appends are synced.
    pub fsync: FsyncMode,
    /// How long appends may wait for a sync in mode `periodic`, milliseconds.
    pub flush_ms: u64,
    /// How long a write takes, milliseconds.
    pub disk_ms: RangeInclusive<u64>,
    /// How long a message takes, milliseconds.
    pub network_ms: RangeInclusive<u64>,
    /// Time between two checkpoints of a node, milliseconds.
    pub checkpoint_ms: u64,
    /// How far the horizon runs ahead of the clock, milliseconds.
    pub ahead_ms: u32,
    /// How long ids are remembered, milliseconds.
    pub dedup_ms: u64,
    /// Whether the log's beginning is given up when nobody needs it. Events are near then, and none is
    /// given up by a group, which would keep it for ever.
    pub purges: bool,
    /// Clients that publish and change events.
    pub clients: u64,
    /// Consumer groups, each with members.
    pub groups: u64,
    /// Failed deliveries after which an event is a dead letter.
    pub most_failures: u32,
    /// Mean time between two faults, milliseconds.
    pub fault_every_ms: u64,
    /// The classes of faults that happen.
    pub faults: BTreeSet<Kind>,
    /// Whether the lines of the trace are kept.
    pub trace: bool,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64, wish: &Wish) -> Self {
        let mut random = Random::new(seed).fork("plan");
        let nodes = [1, 3, 3, 3, 5][random.below(5) as usize];
        let slow = random.percent(20);
        let mut faults = Kind::ALL
            .into_iter()
            .filter(|_| random.percent(60))
            .collect::<BTreeSet<_>>();
        let fsync = [FsyncMode::Batch, FsyncMode::EveryEvent, FsyncMode::Periodic]
            [random.weighted(&[70, 15, 15])];
        // What a node alone may lose is promised exactly.
        let is_alone = fsync == FsyncMode::Periodic && random.percent(70);
        let nodes = wish.nodes.unwrap_or(if is_alone { 1 } else { nodes });
        if fsync == FsyncMode::Periodic {
            // How long a sync takes is a part of what may be lost, and one that fails is noticed with
            // the next append.
            faults.remove(&Kind::SlowDisk);
            faults.remove(&Kind::SyncError);
            if nodes > 1 {
                // A replica that forgets what it acknowledged breaks what a majority is for.
                faults.retain(|kind| !kind.takes_power());
            }
        }
        let purges = faults.contains(&Kind::Copy)
            && !wish.without.contains(&Kind::Copy)
            && random.percent(50);
        Self {
            seed,
            nodes,
            purges,
            seconds: wish.seconds.unwrap_or(30 + random.below(30)),
            fsync,
            flush_ms: [50, 200, 1_000][random.below(3) as usize],
            disk_ms: if slow { 2..=30 } else { 1..=4 },
            network_ms: if slow { 1..=40 } else { 1..=5 },
            checkpoint_ms: match purges {
                true => [300, 1_000, 3_000, 6_000][random.below(4) as usize],
                false => [300, 1_500, 5_000, 20_000][random.below(4) as usize],
            },
            ahead_ms: [0, 5, 50][random.below(3) as usize],
            dedup_ms: [5_000, 60_000, 3_600_000][random.below(3) as usize],
            clients: wish.clients.unwrap_or(random.between(2, 6)),
            groups: random.between(1, 3),
            most_failures: match random.between(1, 4) as u32 {
                _ if purges => u32::MAX,
                most => most,
            },
            fault_every_ms: [400, 1_000, 3_000][random.below(3) as usize],
            faults: faults.difference(&wish.without).copied().collect(),
            trace: wish.trace,
        }
    }

    /// Whether a power loss may take what was answered: in mode `periodic`.
    #[must_use]
    pub fn may_lose(&self) -> bool {
        self.fsync == FsyncMode::Periodic && self.nodes == 1
    }

    /// For how long an answer may be of what is not on the disk yet, microseconds: until the next
    /// sync begins, which may wait for a write, and for the time it takes.
    #[must_use]
    pub fn window_us(&self) -> i64 {
        (self.flush_ms + 2 * self.disk_ms.end()) as i64 * 1_000
    }

    /// Chance for one part of the run.
    #[must_use]
    pub fn random(&self, name: &str) -> Random {
        Random::new(self.seed).fork(name)
    }
}
