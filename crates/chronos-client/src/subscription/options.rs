//! What to receive, and how much at a time.

use chronos_proto::cronos_db::SubscribeRequest;

use crate::unique_id;

/// Where a group starts that does not exist yet. One that does resumes where it stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the earliest stored event.
    #[default]
    Earliest,
    /// At the events that have not fired yet.
    New,
    /// At this offset.
    Offset(u64),
}

/// A membership in a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    group: String,
    topic: String,
    partition_id: Option<u32>,
    start: Start,
    credit: u32,
    member: String,
    key_order: bool,
    batch_events: u32,
    batch_bytes: u32,
    not_waited_for: bool,
}

/// Events of a batch unless told otherwise.
const BATCH_EVENTS: u32 = 1000;

impl SubscribeOptions {
    /// A new member of `group` that takes the events of exactly `topic` (of every topic, if
    /// it is empty) from all partitions, with a credit of 1000.
    pub fn new(group: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            topic: topic.into(),
            partition_id: None,
            start: Start::default(),
            credit: 1000,
            member: format!("member-{}", unique_id()),
            key_order: false,
            batch_events: BATCH_EVENTS,
            batch_bytes: 0,
            not_waited_for: false,
        }
    }

    /// Takes events from one partition only.
    #[must_use]
    pub fn partition(mut self, partition_id: u32) -> Self {
        self.partition_id = Some(partition_id);
        self
    }

    /// Where to start if the group is new.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many events may be delivered and not yet settled at a time, 1 to 50000.
    #[must_use]
    pub fn credit(mut self, credit: u32) -> Self {
        self.credit = credit.clamp(1, 50_000);
        self
    }

    /// The member's name, which no other member of the group may have at the time.
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = member.into();
        self
    }

    /// Asks for key order: at most one delivery under way in the group for each key (meta
    /// `partition_key`, else message_id), while this member is there.
    #[must_use]
    pub fn key_order(mut self) -> Self {
        self.key_order = true;
        self
    }

    /// Lets retention remove events that the group has not settled, once their time is over. Counts
    /// when the group begins to exist.
    #[must_use]
    pub fn not_waited_for(mut self) -> Self {
        self.not_waited_for = true;
        self
    }

    /// Most events of a batch, 1 to 10000, for [`Client::subscribe_batches`](crate::Client::subscribe_batches).
    #[must_use]
    pub fn batch_events(mut self, events: u32) -> Self {
        self.batch_events = events.clamp(1, 10_000);
        self
    }

    /// About how many bytes a batch may have, up to 8 MiB; 1 MiB unless told otherwise.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: u32) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many deliveries wait here; beyond, the connection's window holds the server back.
    pub(super) fn local_buffer(&self) -> usize {
        self.credit.min(1024) as usize
    }

    pub(super) fn partition_id(&self) -> Option<u32> {
        self.partition_id
    }

    pub(super) fn request(&self, batched: bool) -> SubscribeRequest {
        SubscribeRequest {
            not_waited_for: self.not_waited_for,
            consumer_group: self.group.clone(),
            topic: self.topic.clone(),
            partition_id: self
                .partition_id
                .map_or(-1, |id| i32::try_from(id).unwrap_or(i32::MAX)),
            start_offset: match self.start {
                Start::Earliest => 0,
                Start::New => -1,
                Start::Offset(offset) => i64::try_from(offset).unwrap_or(i64::MAX),
            },
            max_buffer_size: i32::try_from(self.credit).unwrap_or(i32::MAX),
            subscription_id: self.member.clone(),
            replay: false,
            key_order: self.key_order,
            batch_max_events: i32::try_from(self.batch_events * u32::from(batched)).unwrap_or(0),
            batch_max_bytes: i32::try_from(self.batch_bytes * u32::from(batched))
                .unwrap_or(i32::MAX),
        }
    }
}
