//! Decides whether a history keeps the promises.
//!
//! One file per rule, each a pure function from the indexed history to its violations. The rules
//! are numbered as in the project's reliability notes: C1 phantom, C2 lost, C3 early, C4 late, C5
//! duplicate, C6 dedup, C7 offsets, C8 order, C9 progress, C10 replay, C12 counts, and beyond them
//! C15 keys, C16 expired, C17 paused, C18 redriven. C11 (cancel
//! against fire) needs the calls on each event and is in [`crate::register`]. C13 (what the weaker
//! fsync modes promise) and C14 (liveness after a heal) take their place in [`RULES`] when there is
//! something for them to check.
//!
//! Every rule is one pass over records sorted by time, plus lookups.

mod counts;
mod dedup;
mod duplicate;
mod early;
mod expired;
mod failures;
mod index;
mod keys;
mod late;
mod lost;
mod offsets;
mod order;
mod paused;
mod phantom;
mod progress;
mod redriven;
mod replay;
mod report;
#[cfg(test)]
mod scenario;

pub use index::{At, DeliveryKey, Index, Stored};
pub use report::{Lateness, Report, Statistics, Violation};

use crate::history::Record;

/// The number of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// C1: nothing is delivered that was not published.
    Phantom,
    /// C2: nothing accepted is lost.
    Lost,
    /// C3: nothing is delivered early.
    Early,
    /// C4: nothing is delivered later than the bound.
    Late,
    /// C5: nothing is delivered again without a reason.
    Duplicate,
    /// C6: an id is accepted once.
    Dedup,
    /// C7: offsets are unique, in order and without holes.
    Offsets,
    /// C8: deliveries come in the order they fall due.
    Order,
    /// C9: a group's progress only grows.
    Progress,
    /// C10: a replay returns everything in its range, once, in order.
    Replay,
    /// C12: the server's own counts equal what the history implies.
    Counts,
    /// C15: in key order, one event of each key is under way.
    Keys,
    /// C16: nothing is delivered after its end.
    Expired,
    /// C17: a group that is paused receives nothing, and never what was dropped.
    Paused,
    /// C18: a dead letter that is redriven comes again.
    Redriven,
}

impl Rule {
    /// "C1" and so on.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::Phantom => "C1",
            Self::Lost => "C2",
            Self::Early => "C3",
            Self::Late => "C4",
            Self::Duplicate => "C5",
            Self::Dedup => "C6",
            Self::Offsets => "C7",
            Self::Order => "C8",
            Self::Progress => "C9",
            Self::Replay => "C10",
            Self::Counts => "C12",
            Self::Keys => "C15",
            Self::Expired => "C16",
            Self::Paused => "C17",
            Self::Redriven => "C18",
        }
    }
}

/// A rule: what it finds in a history.
pub type Check = fn(&Index<'_>) -> Vec<Violation>;

/// All rules, in the order in which their violations are reported.
pub const RULES: &[(Rule, Check)] = &[
    (Rule::Phantom, phantom::check),
    (Rule::Lost, lost::check),
    (Rule::Early, early::check),
    (Rule::Late, late::check),
    (Rule::Duplicate, duplicate::check),
    (Rule::Dedup, dedup::check),
    (Rule::Offsets, offsets::check),
    (Rule::Order, order::check),
    (Rule::Progress, progress::check),
    (Rule::Replay, replay::check),
    (Rule::Counts, counts::check),
    (Rule::Keys, keys::check),
    (Rule::Expired, expired::check),
    (Rule::Paused, paused::check),
    (Rule::Redriven, redriven::check),
];

/// Runs every rule.
#[must_use]
pub fn check(records: &[Record]) -> Report {
    let index = Index::new(records);
    let violations = RULES.iter().flat_map(|(_, rule)| rule(&index)).collect();
    Report {
        violations,
        statistics: Statistics::gather(&index),
    }
}
