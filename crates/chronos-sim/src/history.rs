//! What clients asked and what they were answered, in the order in which it happened. The rules
//! judge this and the log; what servers think of themselves is not in it.

use bytes::Bytes;
use chronos_core::command::change::Action;
use chronos_core::command::create_group::Start;
use chronos_core::partition::{Changed, Published};
use chronos_core::types::DueKey;
use parking_lot::{Mutex, MutexGuard};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was answered.
    Done(T),
    /// It surely has no effect, now or later.
    Refused,
    /// It may have an effect, now or later.
    Unknown,
}

/// When a call was under way, microseconds of simulated time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub invoked_us: i64,
    /// When its answer came; the end of time when none came.
    pub returned_us: i64,
}

/// An event as a client publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its message id.
    pub id: String,
    /// Its topic.
    pub topic: &'static str,
    /// When the client wants it, Unix milliseconds.
    pub schedule_ms: i64,
    /// All of it. No two events that were ever published have the same bytes.
    pub body: Bytes,
    /// Whether it is to be accepted though its id is known.
    pub allow_duplicate: bool,
}

/// A publish of one or more events.
#[derive(Debug, Clone)]
pub struct PublishCall {
    /// The events.
    pub events: Vec<NewEvent>,
    /// When.
    pub span: Span,
    /// Whether it was to be answered after a sync in every mode.
    pub durable: bool,
    /// What came of it.
    pub outcome: Outcome<Published>,
}

/// A change of one event.
#[derive(Debug, Clone)]
pub struct ChangeCall {
    /// The id it was asked by.
    pub id: String,
    /// The event that was found under it, if one was.
    pub offset: Option<u64>,
    /// What was asked.
    pub action: Action,
    /// When.
    pub span: Span,
    /// What came of it. `None` when no event was found.
    pub outcome: Outcome<Option<Changed>>,
    /// What the clock of the node that leads may have shown at most, Unix milliseconds.
    pub clock_ms: i64,
}

/// A group that was created.
#[derive(Debug, Clone)]
pub struct GroupCall {
    /// Its name.
    pub name: String,
    /// The topic it reads.
    pub topic: &'static str,
    /// Where it begins.
    pub start: Start,
    /// When.
    pub span: Span,
    /// What came of it.
    pub outcome: Outcome<()>,
}

/// An event that a consumer was sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The group.
    pub group: String,
    /// The consumer.
    pub member: u64,
    /// The node that sent it.
    pub node: u64,
    /// The term in which that node leads.
    pub term: u64,
    /// Counts the times that a node began to lead. A leader that heard of no majority for a while
    /// begins anew, perhaps in the same term.
    pub reign: u64,
    /// The event's place in the due order.
    pub key: DueKey,
    /// Which delivery of it this is to the group, from 1.
    pub attempt: u32,
    /// The event's bytes.
    pub body: Bytes,
    /// When the node handed it out, microseconds.
    pub handed_us: i64,
    /// When the node sent it, microseconds.
    pub sent_us: i64,
    /// The clock of that node when it handed it out, Unix milliseconds.
    pub clock_ms: i64,
}

/// A consumer's answer to a delivery.
#[derive(Debug, Clone)]
pub struct AnswerCall {
    /// The group.
    pub group: String,
    /// The event.
    pub key: DueKey,
    /// Which delivery of it.
    pub attempt: u32,
    /// Whether it was processed.
    pub success: bool,
    /// When.
    pub span: Span,
    /// What came of it: whether it counted.
    pub outcome: Outcome<bool>,
}

/// A moment that explains what would be wrong otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excuse {
    /// A member of a group went away, or its connection broke.
    MemberGone {
        /// The group.
        group: String,
        /// The member.
        member: u64,
    },
}

/// Everything, in the order in which it ended.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Publishes.
    pub publishes: Vec<PublishCall>,
    /// Changes.
    pub changes: Vec<ChangeCall>,
    /// Groups.
    pub groups: Vec<GroupCall>,
    /// Deliveries.
    pub deliveries: Vec<Delivery>,
    /// Answers to deliveries.
    pub answers: Vec<AnswerCall>,
    /// When a node found itself leading a term, microseconds, and the term.
    pub leaders: Vec<(i64, u64)>,
    /// Excuses, and when, microseconds.
    pub excuses: Vec<(i64, Excuse)>,
    /// What was done in these times was lost with the power, microseconds.
    pub losses: Vec<Span>,
}

impl Records {
    /// How many operations clients did.
    #[must_use]
    pub fn operations(&self) -> u64 {
        let events: usize = self.publishes.iter().map(|call| call.events.len()).sum();
        (events
            + self.changes.len()
            + self.groups.len()
            + self.deliveries.len()
            + self.answers.len()) as u64
    }
}

/// The history of a run while it is written.
#[derive(Debug, Default)]
pub struct History(Mutex<Records>);

impl History {
    /// The records so far.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock()
    }
}
