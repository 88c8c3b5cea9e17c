//! Known failures, and how many seeds it takes to notice each.
//!
//! A check that never fails proves nothing. A build with the feature `mutants` can re-create each of
//! these; one process has at most one of them.

use crate::seeds::Summary;
use std::io;
use std::process::{Command, Stdio};

/// A failure that can be re-created.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// Its name, as `CHRONOS_MUTANT` has it.
    pub name: &'static str,
    /// What it is in: the core, the log, the replication, or the driver of simulations.
    pub of: &'static str,
    /// What it does.
    pub does: &'static str,
}

const fn mutant(name: &'static str, of: &'static str, does: &'static str) -> Mutant {
    Mutant { name, of, does }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "ack-before-sync",
        "wal",
        "an append is complete before it is synced",
    ),
    mutant(
        "go-on-after-failed-write",
        "wal",
        "a failed write or sync does not stop the log",
    ),
    mutant(
        "segment-name-not-synced",
        "wal",
        "the name of a new segment is not synced",
    ),
    mutant(
        "cut-at-any-damage",
        "wal",
        "damage in the middle of the last segment is cut off as if torn",
    ),
    mutant("torn-body-kept", "wal", "recovery does not look at bodies"),
    mutant(
        "recovery-trusts-cache",
        "wal",
        "what a failed sync left in memory counts as stored after a restart",
    ),
    mutant("cut-not-synced", "wal", "a cut is not synced"),
    mutant("body-not-checked", "wal", "a damaged body is returned"),
    mutant(
        "vote-not-synced",
        "raft",
        "a vote is given before it is on disk",
    ),
    mutant("vote-in-memory", "raft", "a vote is never written"),
    mutant(
        "ack-before-write",
        "raft",
        "entries are acknowledged before they are on disk",
    ),
    mutant(
        "lease-too-long",
        "raft",
        "a leader trusts its lease four times as long",
    ),
    mutant(
        "lease-kept-on-transfer",
        "raft",
        "a leader that hands over keeps its lease",
    ),
    mutant(
        "votes-right-after-restart",
        "raft",
        "a voter forgets in a restart that it acknowledged a leader",
    ),
    mutant(
        "forget-far-on-publish",
        "core",
        "scheduled events are not written to the index",
    ),
    mutant(
        "drop-no-subscriber",
        "core",
        "a first group does not get what was released before it came",
    ),
    mutant(
        "cancel-not-indexed",
        "core",
        "a changed event stays in the index as it was",
    ),
    mutant(
        "moved-stays-behind",
        "core",
        "a moved event is also due where it was",
    ),
    mutant(
        "moved-not-found",
        "core",
        "a moved event is not due where it goes",
    ),
    mutant(
        "moved-below-horizon",
        "core",
        "an event is moved to before the horizon",
    ),
    mutant(
        "cancel-after-release",
        "core",
        "a released event can be cancelled",
    ),
    mutant(
        "fired-twice",
        "core",
        "an event that was fired can be changed",
    ),
    mutant(
        "version-from-the-future",
        "core",
        "an entry that is applied again sees later changes",
    ),
    mutant(
        "horizon-follows-clock-back",
        "core",
        "events get due times by a clock that was set back",
    ),
    mutant(
        "horizon-past-the-next-event",
        "core",
        "the horizon covers an event that is still to come",
    ),
    mutant(
        "late-event-keeps-its-time",
        "core",
        "a late event is added below the horizon",
    ),
    mutant(
        "offset-for-duplicate",
        "core",
        "a refused event takes an offset",
    ),
    mutant(
        "checkpoint-reuses-offset",
        "core",
        "an offset is given twice after a restart",
    ),
    mutant(
        "checkpoint-skips-entry",
        "core",
        "a checkpoint covers an entry that is not in it",
    ),
    mutant(
        "checkpoint-forgets-progress",
        "core",
        "progress of groups is saved only once",
    ),
    mutant(
        "cursor-past-gap",
        "core",
        "an ack settles everything before it",
    ),
    mutant(
        "range-swallowed-from-afar",
        "core",
        "a cursor that moves swallows the next settled range",
    ),
    mutant(
        "buried-twice",
        "core",
        "an event becomes a dead letter twice",
    ),
    mutant(
        "new-group-reads-all",
        "core",
        "a group that comes second reads what was released before",
    ),
    mutant("ids-not-saved", "core", "ids are not in the checkpoint"),
    mutant(
        "ids-forgotten-after-checkpoint",
        "core",
        "ids are forgotten once they are in the index",
    ),
    mutant(
        "id-from-the-future",
        "core",
        "an entry that is applied again finds its own ids",
    ),
    mutant(
        "id-ages-from-its-publish",
        "core",
        "an id is forgotten before its event fired",
    ),
    mutant(
        "id-not-put-off",
        "core",
        "an event that is moved does not take its id along",
    ),
    mutant(
        "far-level-not-read",
        "core",
        "events far ahead are not found in the index",
    ),
    mutant(
        "hole-between-windows",
        "core",
        "reading the due order leaves out a millisecond",
    ),
    mutant(
        "promote-without-timers",
        "driver",
        "a new leader does not take up timers",
    ),
    mutant(
        "checkpoint-before-log",
        "driver",
        "a checkpoint is durable before its log",
    ),
    mutant(
        "deliver-without-lease",
        "driver",
        "a leader sends without a lease",
    ),
    mutant(
        "fire-early",
        "driver",
        "events are sent two milliseconds early",
    ),
    mutant("commit-on-nack", "driver", "a nack settles the event"),
    mutant(
        "settle-past-gap",
        "driver",
        "an ack settles everything before it",
    ),
    mutant(
        "settle-not-logged",
        "driver",
        "acks are answered and not put into the log",
    ),
    mutant(
        "drop-inflight-on-disconnect",
        "driver",
        "what a member held when it left is dropped",
    ),
];

/// How a mutant was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The rule that noticed it, from the first rounds that one did.
    pub rules: Vec<String>,
    /// Seeds until it was noticed, for each round; `None` where no seed noticed it.
    pub seeds: Vec<Option<u64>>,
}

impl Notice {
    /// The seeds that half of the rounds needed, at most.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        seeds.get(seeds.len() / 2).copied().flatten()
    }
}

/// Runs a mutant in processes of its own, `rounds` times, each with up to `most` seeds.
///
/// # Errors
/// When this program cannot be started once more.
pub fn notice(name: &str, rounds: u64, most: u64) -> io::Result<Notice> {
    let mut notice = Notice {
        rules: Vec::new(),
        seeds: Vec::new(),
    };
    for round in 0..rounds {
        let from = (round * most).to_string();
        let most = most.to_string();
        let output = Command::new(std::env::current_exe()?)
            .args([
                "--from",
                &from,
                "--seeds",
                &most,
                "--until-failure",
                "--terse",
            ])
            .env("CHRONOS_MUTANT", name)
            .stderr(Stdio::null())
            .output()?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let found = answer.trim().split_once(' ');
        notice
            .seeds
            .push(found.and_then(|(seeds, _)| seeds.parse().ok()));
        if let Some((_, rule)) = found
            && !notice.rules.iter().any(|known| known == rule)
        {
            notice.rules.push(rule.to_owned());
        }
    }
    Ok(notice)
}

/// What a process that looks for one mutant says of its seeds: how many it took, and the rule.
#[must_use]
pub fn terse(summary: &Summary, from: u64) -> String {
    match summary.failed.first() {
        Some(report) => {
            let rule = report
                .violations
                .first()
                .map(|violation| violation.rule.to_string());
            format!("{} {}", report.seed - from + 1, rule.unwrap_or_default())
        }
        None => String::new(),
    }
}
