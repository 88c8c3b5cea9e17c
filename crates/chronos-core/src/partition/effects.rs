//! What came of applying one log entry: everything the leader needs to answer callers, arm timers
//! and release events. A follower drops it.

use super::dead_letters::Redriven;
use crate::keys::batch::Batch;
use crate::keys::change::Version;
use crate::types::{DueKey, GroupNumber, TopicNumber};
use crate::wheel::Timer;

/// Neighbouring offsets of one topic with the same due time. A single event is a run of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The topic.
    pub topic: TopicNumber,
    /// When all of them are due, Unix milliseconds.
    pub due_ms: i64,
    /// Offset of the first.
    pub first_offset: u64,
    /// How many.
    pub count: u64,
    /// When all of them may be delivered, Unix milliseconds: the latest schedule_ts among them. At
    /// or before `due_ms`, because a late event takes its due time from the horizon.
    pub ready_ms: i64,
}

impl Run {
    /// Due key of the first event.
    #[must_use]
    pub const fn first(&self) -> DueKey {
        DueKey::new(self.due_ms, self.first_offset)
    }

    /// Due key of the last event.
    #[must_use]
    pub const fn last(&self) -> DueKey {
        DueKey::new(self.due_ms, self.first_offset + self.count - 1)
    }
}

/// Outcome of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a publish section.
    Published(Published),
    /// Of a settle section: it took effect.
    Settled,
    /// Of a create-group section.
    GroupCreated {
        /// The group's number in this partition.
        group: GroupNumber,
        /// False when it existed before.
        created: bool,
    },
    /// Of a change section: one for each item, in order.
    Changed(Vec<Changed>),
    /// Of a replace section: what became of the event to cancel, and of the events to publish.
    /// Nothing was published and nothing cancelled unless both happened.
    Replaced(Changed, Published),
    /// Of a redrive: the letters that were taken, with what the group is to deliver.
    Redriven(Vec<(u64, Redriven)>),
    /// Of an edit or discard of dead letters: the letters it took effect on.
    Letters(Vec<u64>),
    /// Of a carry section: where it stands. Nothing has changed yet.
    Carried {
        /// Index of the entry.
        log_index: u64,
        /// Where the section starts in the entry's body, bytes.
        section_position: u32,
    },
    /// Of a moved section: it took effect.
    Moved,
    /// Of a deletion of a topic: whether it was done, or refused because events are pending.
    TopicDeleted(bool),
}

/// What was decided about one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The event is there; nothing was to be changed.
    Found,
    /// It is cancelled now.
    Cancelled,
    /// It is moved now.
    Rescheduled,
    /// It is fired now.
    Fired,
    /// Too late: it was released before.
    AlreadyFired,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It has another version than the one asked for.
    VersionMismatch,
    /// There is no such event.
    NotFound,
}

/// Outcome of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// What was decided.
    pub verdict: Verdict,
    /// How the event stands after it.
    pub version: Version,
    /// Whether it was released, or was fired by this change.
    pub fired: bool,
}

/// A scheduled event that falls due at another time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Its topic.
    pub topic: TopicNumber,
    /// The event.
    pub offset: u64,
    /// When it was due, Unix milliseconds.
    pub from_ms: i64,
    /// When it is due; `None` when it is cancelled.
    pub to_ms: Option<i64>,
    /// The time that clients are told, Unix milliseconds.
    pub schedule_ms: i64,
}

/// Outcome of a publish section. Accepted events have contiguous offsets in slot order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Offset of the first accepted event; without one, where it would have been.
    pub first_offset: u64,
    /// Events accepted.
    pub accepted: u32,
    /// Slots refused because their message id is known.
    pub duplicates: Vec<u32>,
    /// For each of them, the offset of the event that has the id.
    pub known_offsets: Vec<u64>,
}

/// Everything that came of one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// One outcome per section, in order.
    pub outcomes: Vec<Outcome>,
    /// The horizon after the entry: whatever is at or below it is released.
    pub horizon: DueKey,
    /// The horizon before the entry.
    pub horizon_before: DueKey,
    /// Where the accepted events stand in the log.
    pub batch: Option<Batch>,
    /// Events accepted that are due later, in no particular order.
    pub timers: Vec<Timer>,
    /// Events accepted that were due on arrival, released by this entry, in due order.
    pub runs: Vec<Run>,
    /// Scheduled events that were cancelled or moved, each once.
    pub moves: Vec<Move>,
    /// Topics that got their first event with a priority.
    pub prioritized: Vec<TopicNumber>,
    /// Events with offsets below this may stand elsewhere in the log than before.
    pub carried_upto: u64,
    /// Topics that were deleted: events with offsets below are gone.
    pub deleted: Vec<(TopicNumber, u64)>,
}
