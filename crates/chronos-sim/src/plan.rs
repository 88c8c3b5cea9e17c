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
        let faults = Kind::ALL
            .into_iter()
            .filter(|_| random.percent(60))
            .collect::<BTreeSet<_>>();
        Self {
            seed,
            nodes: wish.nodes.unwrap_or(nodes),
            seconds: wish.seconds.unwrap_or(30 + random.below(30)),
            fsync: match random.percent(85) {
                true => FsyncMode::Batch,
                false => FsyncMode::EveryEvent,
            },
            disk_ms: if slow { 2..=30 } else { 1..=4 },
            network_ms: if slow { 1..=40 } else { 1..=5 },
            checkpoint_ms: [300, 1_500, 5_000, 20_000][random.below(4) as usize],
            ahead_ms: [0, 5, 50][random.below(3) as usize],
            dedup_ms: [5_000, 60_000, 3_600_000][random.below(3) as usize],
            clients: wish.clients.unwrap_or(random.between(2, 6)),
            groups: random.between(1, 3),
            most_failures: random.between(1, 4) as u32,
            fault_every_ms: [400, 1_000, 3_000][random.below(3) as usize],
            faults: faults.difference(&wish.without).copied().collect(),
            trace: wish.trace,
        }
    }

    /// Chance for one part of the run.
    #[must_use]
    pub fn random(&self, name: &str) -> Random {
        Random::new(self.seed).fork(name)
    }
}
