//! The known failures that a build can have, by where they are.

use super::{Mutant, mutant};

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
    mutant(
        "timer-forgotten",
        "wal",
        "in mode `periodic`, nothing is synced when the time comes",
    ),
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
        "floor-not-saved",
        "raft",
        "how far the log was given up is forgotten in a restart",
    ),
    mutant(
        "lease-too-long",
        "raft",
        "a leader trusts its lease four times as long",
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
        "leave-without-lease",
        "driver",
        "what was handed out under a lease is sent when it is over",
    ),
    mutant(
        "fire-early",
        "driver",
        "events are sent two milliseconds early",
    ),
    mutant(
        "durable-before-sync",
        "driver",
        "in mode `periodic`, what is to be durable is answered before the sync",
    ),
    mutant(
        "purge-before-checkpoint",
        "driver",
        "the log's beginning is given up before the checkpoint is durable",
    ),
    mutant(
        "purge-by-age",
        "driver",
        "the log's beginning is removed whether somebody needs it or not",
    ),
    mutant(
        "copy-without-places",
        "driver",
        "a copy lacks a part of the index",
    ),
    mutant(
        "copy-not-marked",
        "driver",
        "half of a copy counts as whole after a restart",
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
