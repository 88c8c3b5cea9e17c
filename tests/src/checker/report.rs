//! What the checker hands back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Op, Outcome, Record};

use super::{Index, Rule, duplicate, late};

/// A broken promise, with the records that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken.
    pub rule: Rule,
    /// What happened, in one sentence.
    pub message: String,
    /// Positions in the history, from 0.
    pub evidence: Vec<usize>,
}

/// Lateness of first deliveries in milliseconds, counted from the moment nothing stood in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// How many deliveries were measured.
    pub count: usize,
    /// The median.
    pub p50_ms: i64,
    /// The 99th percentile.
    pub p99_ms: i64,
    /// The greatest.
    pub max_ms: i64,
}

impl Lateness {
    pub(super) fn of(mut samples_ms: Vec<i64>) -> Self {
        samples_ms.sort_unstable();
        let at = |percent: usize| {
            let last = samples_ms.len().saturating_sub(1);
            samples_ms
                .get((samples_ms.len() * percent / 100).min(last))
                .copied()
                .unwrap_or(0)
        };
        Self {
            count: samples_ms.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// How much a history holds: a run that did nothing proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Publishes that were acknowledged.
    pub published: usize,
    /// Publishes whose outcome stayed unknown.
    pub unknown: usize,
    /// Deliveries.
    pub delivered: usize,
    /// Acks that were confirmed.
    pub acked: usize,
    /// Faults.
    pub faults: usize,
    /// Redeliveries by their reason.
    pub redelivered: BTreeMap<&'static str, usize>,
    /// Lateness of first deliveries.
    pub lateness: Lateness,
}

impl Statistics {
    pub(super) fn gather(index: &Index<'_>) -> Self {
        let mut statistics = Self::default();
        for record in index.records {
            match &record.op {
                Op::Publish(_) => match record.outcome {
                    Outcome::Ok => statistics.published += 1,
                    Outcome::Info => statistics.unknown += 1,
                    Outcome::Fail => {}
                },
                Op::Deliver(_) => statistics.delivered += 1,
                Op::Ack(ack) if ack.success && record.outcome == Outcome::Ok => {
                    statistics.acked += 1;
                }
                Op::Fault { .. } => statistics.faults += 1,
                _ => {}
            }
        }
        statistics.redelivered = duplicate::reasons(index);
        statistics.lateness = late::lateness(index);
        statistics
    }
}

/// The verdict over a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every broken promise; empty when all were kept.
    pub violations: Vec<Violation>,
    /// How much was checked.
    pub statistics: Statistics,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The rules that were broken.
    #[must_use]
    pub fn broken_rules(&self) -> BTreeSet<Rule> {
        self.violations
            .iter()
            .map(|violation| violation.rule)
            .collect()
    }

    /// The report as text, each violation followed by the lines of the history that show it.
    #[must_use]
    pub fn explain(&self, records: &[Record]) -> String {
        const SHOWN_PER_RULE: usize = 5;
        let mut text = format!("{self}\n");
        for rule in self.broken_rules() {
            let violations = || self.violations.iter().filter(|it| it.rule == rule);
            for violation in violations().take(SHOWN_PER_RULE) {
                text.push_str(&format!("{}: {}\n", rule.number(), violation.message));
                for line in &violation.evidence {
                    let record = records.get(*line);
                    let record = record.and_then(|it| serde_json::to_string(it).ok());
                    text.push_str(&format!("    {line}: {}\n", record.unwrap_or_default()));
                }
            }
            let more = violations().count().saturating_sub(SHOWN_PER_RULE);
            if more > 0 {
                text.push_str(&format!("… and {more} more of {}\n", rule.number()));
            }
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = &self.statistics;
        write!(
            f,
            "{} violations; {} published, {} unknown, {} delivered, {} acked, {} faults; \
             redelivered {:?}; lateness p50 {} ms, p99 {} ms, max {} ms over {}",
            self.violations.len(),
            it.published,
            it.unknown,
            it.delivered,
            it.acked,
            it.faults,
            it.redelivered,
            it.lateness.p50_ms,
            it.lateness.p99_ms,
            it.lateness.max_ms,
            it.lateness.count,
        )
    }
}
