//! What must never be seen, one rule a file.
//!
//! | file | rule |
//! |---|---|
//! | `phantom.rs` | C1: what is delivered or stored was published, and not refused |
//! | `lost.rs` | C2: what was accepted and fell due was settled by every group it is for |
//! | `early.rs` | C3: nothing is delivered before its time, by the clock of who delivers |
//! | `late.rs` | C4: after the heal nothing stays due for long |
//! | `duplicate.rs` | C5: a redelivery has a reason, and nothing comes again after an answer counted |
//! | `dedup.rs` | C6: an id is accepted once, and called a duplicate only then |
//! | `offsets.rs` | C7: an offset names one event, for clients and on every replica |
//! | `order.rs` | C8: first deliveries come to each member in due order |
//! | `progress.rs` | C9: what a group has settled stays settled |
//! | `replay.rs` | C10: the due order holds each event once |
//! | `register.rs` | C11: calls and deliveries of one event have an order that explains each answer |
//! | `shadow.rs` | C12: every replica's state is what the log says, also after a cold start |
//! | `lease.rs` | a leader sends nothing once another one leads |
//! | `mode.rs` | C13: in mode `periodic` a power loss takes the last moments only, and nothing that was to be durable |
//! | `liveness.rs` | C14: after the heal everything works again |
//!
//! Two rules of the log itself are checked with every entry: see [`crate::oracle::Ledger`].

mod dedup;
mod duplicate;
pub mod early;
pub mod late;
mod lease;
pub mod liveness;
mod lost;
pub mod mode;
pub mod offsets;
mod order;
mod phantom;
pub mod progress;
mod register;
pub mod shadow;

use crate::history::Records;
use crate::oracle::Model;
use parking_lot::Mutex;
use std::fmt;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The table above says it.
pub enum Rule {
    Phantom,
    Lost,
    Early,
    Late,
    Duplicate,
    Dedup,
    Offsets,
    Order,
    Progress,
    Replay,
    Register,
    Shadow,
    Mode,
    Liveness,
    /// Replicas apply the same entries with the same effects, and a term has one leader.
    Replicas,
    /// A leader sends nothing once another one may lead.
    Lease,
    /// A node stops only for a reason that it was given.
    Stopped,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rule::Phantom => "C1 phantom",
            Rule::Lost => "C2 lost",
            Rule::Early => "C3 early",
            Rule::Late => "C4 late",
            Rule::Duplicate => "C5 duplicate",
            Rule::Dedup => "C6 dedup",
            Rule::Offsets => "C7 offsets",
            Rule::Order => "C8 order",
            Rule::Progress => "C9 progress",
            Rule::Replay => "C10 replay",
            Rule::Register => "C11 cancel against fire",
            Rule::Shadow => "C12 shadow rebuild",
            Rule::Mode => "C13 mode truth",
            Rule::Liveness => "C14 liveness",
            Rule::Replicas => "replicas",
            Rule::Lease => "lease",
            Rule::Stopped => "stopped",
        })
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {text}")]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How.
    pub text: String,
}

/// The violations found so far. The first ends the run.
#[derive(Debug, Default)]
pub struct Verdict(Mutex<Vec<Violation>>);

impl Verdict {
    /// Takes note of a violation.
    pub fn add(&self, rule: Rule, text: impl Into<String>) {
        let text = text.into();
        self.0.lock().push(Violation { rule, text });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// The violations.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.0.lock().clone()
    }
}

/// What the rules that look back at a whole run look at.
pub struct Evidence<'a> {
    /// What clients saw.
    pub records: &'a Records,
    /// What the log says.
    pub model: &'a Model,
    /// The rules' answer.
    pub verdict: &'a Verdict,
    /// How long a consumer may take to answer, microseconds.
    pub ack_timeout_us: i64,
    /// When the run ended, microseconds.
    pub ended_us: i64,
}

/// Applies every rule that looks back.
pub fn judge(evidence: &Evidence<'_>) {
    phantom::check(evidence);
    lost::check(evidence);
    lease::check(evidence);
    early::check(evidence);
    duplicate::check(evidence);
    dedup::check(evidence);
    offsets::check(evidence);
    order::check(evidence);
    register::check(evidence);
}
