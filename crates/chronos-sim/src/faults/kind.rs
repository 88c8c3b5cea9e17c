//! The classes of faults, and how often each was injected.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The names below say it.
pub enum Kind {
    Kill,
    KillAll,
    PowerLoss,
    PowerLossAll,
    LostWrite,
    TornWrite,
    Wipe,
    Pause,
    Partition,
    OneWay,
    Flapping,
    DroppedMessage,
    SlowMessage,
    DuplicateMessage,
    OvertakingMessage,
    LostReply,
    BitFlip,
    WriteError,
    SyncError,
    ReadError,
    DiskFull,
    SlowDisk,
    IndexAhead,
    ClockJump,
    ClockDrift,
    ClockStop,
    LeaderTransfer,
    MembershipChange,
    ConsumerLeft,
    Copy,
}

impl Kind {
    /// Every class.
    pub const ALL: [Kind; 30] = [
        Kind::Kill,
        Kind::KillAll,
        Kind::PowerLoss,
        Kind::PowerLossAll,
        Kind::LostWrite,
        Kind::TornWrite,
        Kind::Wipe,
        Kind::Pause,
        Kind::Partition,
        Kind::OneWay,
        Kind::Flapping,
        Kind::DroppedMessage,
        Kind::SlowMessage,
        Kind::DuplicateMessage,
        Kind::OvertakingMessage,
        Kind::LostReply,
        Kind::BitFlip,
        Kind::WriteError,
        Kind::SyncError,
        Kind::ReadError,
        Kind::DiskFull,
        Kind::SlowDisk,
        Kind::IndexAhead,
        Kind::ClockJump,
        Kind::ClockDrift,
        Kind::ClockStop,
        Kind::LeaderTransfer,
        Kind::MembershipChange,
        Kind::ConsumerLeft,
        Kind::Copy,
    ];

    /// Its name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::KillAll => "kill-all",
            Kind::PowerLoss => "power-loss",
            Kind::PowerLossAll => "power-loss-all",
            Kind::LostWrite => "lost-write",
            Kind::TornWrite => "torn-write",
            Kind::Wipe => "wipe",
            Kind::Pause => "pause",
            Kind::Partition => "partition",
            Kind::OneWay => "one-way",
            Kind::Flapping => "flapping",
            Kind::DroppedMessage => "dropped-message",
            Kind::SlowMessage => "slow-message",
            Kind::DuplicateMessage => "duplicate-message",
            Kind::OvertakingMessage => "overtaking-message",
            Kind::LostReply => "lost-reply",
            Kind::BitFlip => "bit-flip",
            Kind::WriteError => "write-error",
            Kind::SyncError => "sync-error",
            Kind::ReadError => "read-error",
            Kind::DiskFull => "disk-full",
            Kind::SlowDisk => "slow-disk",
            Kind::IndexAhead => "index-ahead",
            Kind::ClockJump => "clock-jump",
            Kind::ClockDrift => "clock-drift",
            Kind::ClockStop => "clock-stop",
            Kind::LeaderTransfer => "leader-transfer",
            Kind::MembershipChange => "membership-change",
            Kind::ConsumerLeft => "consumer-left",
            Kind::Copy => "copy",
        }
    }

    /// Whether a machine forgets what was not synced.
    #[must_use]
    pub const fn takes_power(self) -> bool {
        matches!(self, Kind::PowerLoss | Kind::PowerLossAll)
    }

    /// The class with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often faults of each class were injected.
#[derive(Debug, Default)]
pub struct Histogram(Mutex<BTreeMap<Kind, u64>>);

impl Histogram {
    /// Counts `count` faults of a class.
    pub fn add(&self, kind: Kind, count: u64) {
        if count > 0 {
            *self.0.lock().entry(kind).or_default() += count;
        }
    }

    /// Counts what another one counted.
    pub fn merge(&self, other: &BTreeMap<Kind, u64>) {
        for (kind, count) in other {
            self.add(*kind, *count);
        }
    }

    /// The counts; classes that never were are missing.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        self.0.lock().clone()
    }
}
