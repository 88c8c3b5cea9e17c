//! What the clients did and saw, one record per line of JSON.
//!
//! Records are written by the harness, never by the server. A record spans the time from the call
//! (`t_inv_us`, `wall_inv_ms`) to its return (`t_ret_us`, `wall_ret_ms`): monotonic microseconds
//! since the history began, which order records against each other, and wall-clock milliseconds,
//! which compare with `schedule_ts`.

use std::io::{self, BufRead, Write};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The client that did it: a publisher, a member of a group, or the harness itself (0).
    pub process: u32,
    /// When it was called, in microseconds since the history began.
    pub t_inv_us: u64,
    /// When it returned.
    pub t_ret_us: u64,
    /// The wall clock at the call, in Unix milliseconds.
    pub wall_inv_ms: i64,
    /// The wall clock at the return.
    pub wall_ret_ms: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was.
    pub op: Op,
}

/// How an operation ended, as far as the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server said that it took effect.
    Ok,
    /// The server said that it took no effect.
    Fail,
    /// Unknown: it timed out, or the connection broke after it was sent.
    Info,
}

/// The operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// How the server was started; the first record of a history.
    Settings(Settings),
    /// One event published, alone or as an item of a batch.
    Publish(Publish),
    /// A member's subscription; it returns when the group is seen to exist.
    Subscribe(Subscribe),
    /// A member's subscription ended, or the client saw it end.
    Gone(Member),
    /// A delivery received; call and return are both the time of receipt.
    Deliver(Deliver),
    /// An ack or a nack.
    Ack(Ack),
    /// A replay read to its end (`Ok`) or broken off (`Info`).
    Replay(Replay),
    /// A group's committed offsets as the server reported them.
    GroupState(GroupState),
    /// A partition's counts as the server reported them.
    PartitionState(PartitionState),
    /// How many events the server says that it has dead-lettered since it started.
    DeadLetters {
        /// The count over all groups.
        count: u64,
    },
    /// A pause of a group.
    Pause(Pause),
    /// A redrive of dead letters.
    Redrive(Redrive),
    /// A fault, from its begin to the moment the server was ready again.
    Fault {
        /// What was done: "kill", "terminate" …
        kind: String,
    },
    /// The groups named had a live member with credit, and nothing more came to any of them.
    Drained {
        /// The groups.
        groups: Vec<String>,
    },
}

/// What the checker must know about the server's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `-partition-count`.
    pub partition_count: u32,
    /// `-ack-timeout`.
    pub ack_timeout_ms: u64,
    /// `-max-retries`: attempts in all before an event is dead-lettered.
    pub max_attempts: i32,
    /// How long a message may be on its way between server and client of this run.
    pub in_flight_ms: u64,
    /// How late a first delivery may be when nothing stands in its way.
    pub late_bound_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partition_count: 1,
            ack_timeout_ms: 30_000,
            max_attempts: 5,
            in_flight_ms: 2_000,
            late_bound_ms: 20_000,
        }
    }
}

/// A publish and its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The message id.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// `meta["partition_key"]`, or empty.
    pub key: String,
    /// When the event is to fire, in Unix milliseconds.
    pub schedule_ts: i64,
    /// [`content_hash`](crate::routing::content_hash) of payload and meta.
    pub hash: u64,
    /// Whether deduplication was to be skipped.
    pub allow_duplicate: bool,
    /// Among events of one time, the higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// When it may no longer be delivered, in Unix milliseconds; 0 for never.
    #[serde(default)]
    pub expires_at: i64,
    /// The number of the batch this event was part of.
    pub batch: Option<u64>,
    /// The server's answer; absent when the outcome is unknown.
    pub reply: Option<Reply>,
}

/// The answers to a publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Stored; the offset is unknown for a batch over several partitions.
    Stored {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: Option<i64>,
    },
    /// Refused as a duplicate.
    Duplicate,
    /// Refused for another reason.
    Refused {
        /// The server's words.
        error: String,
    },
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The consumer group.
    pub group: String,
    /// The member's name (`subscription_id`).
    pub member: String,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Who subscribed.
    #[serde(flatten)]
    pub member: Member,
    /// The topic; empty for every topic.
    pub topic: String,
    /// The partition; -1 for all.
    pub partition: i32,
    /// Where a new group starts.
    pub start_offset: i64,
    /// The in-flight limit.
    pub credits: u32,
    /// Whether it asked for one event at a time of each key.
    #[serde(default)]
    pub key_order: bool,
}

/// A group that is paused, from the answer to the pause to the call that ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The group.
    pub group: String,
    /// Whether what falls due meanwhile is dropped; else it is held.
    pub drops: bool,
}

/// Dead letters that are to be delivered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The group.
    pub group: String,
    /// Partition and offset of each event.
    pub events: Vec<(i32, i64)>,
}

/// An event as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The message id.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// When it was to fire, in Unix milliseconds.
    pub schedule_ts: i64,
    /// [`content_hash`](crate::routing::content_hash) of payload and meta.
    pub hash: u64,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// Who received it.
    #[serde(flatten)]
    pub member: Member,
    /// The event.
    pub event: Seen,
    /// The delivery's attempt, from 1.
    pub attempt: i32,
    /// The delivery's id.
    pub delivery_id: String,
}

/// An ack or a nack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who sent it.
    #[serde(flatten)]
    pub member: Member,
    /// The delivery.
    pub delivery_id: String,
    /// False for a nack.
    pub success: bool,
}

/// A replay and what it returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The partition.
    pub partition: i32,
    /// What was asked for.
    pub range: ReplayRange,
    /// The events in the order they came.
    pub events: Vec<Seen>,
}

/// What a replay asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayRange {
    /// At most `count` events from an offset on.
    Offsets {
        /// The first offset.
        start: i64,
        /// The most events to return.
        count: i64,
    },
    /// All events whose schedule_ts lies in the range, both ends included.
    Times {
        /// Unix milliseconds.
        start_ms: i64,
        /// Unix milliseconds.
        end_ms: i64,
    },
}

/// A group's progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// The group.
    pub group: String,
    /// Partition and committed offset.
    pub committed: Vec<(i32, i64)>,
}

/// A partition's counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// The partition.
    pub partition: i32,
    /// Events that are stored and not yet due.
    pub active_timers: i64,
    /// The last offset; -1 when the partition is empty.
    pub last_offset: i64,
}

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since the history began.
    pub t_us: u64,
    /// Unix milliseconds.
    pub wall_ms: i64,
}

/// Collects the records of one run; shared by all its clients.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    records: Mutex<Vec<Record>>,
}

impl Recorder {
    /// Starts a history whose first record is `settings`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let recorder = Self {
            begin: Instant::now(),
            records: Mutex::new(Vec::new()),
        };
        let now = recorder.now();
        recorder.record(0, now, Outcome::Ok, Op::Settings(settings));
        recorder
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment {
            t_us: u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX),
            wall_ms: wall_ms(),
        }
    }

    /// Writes an operation down that was called at `called` and has just returned.
    pub fn record(&self, process: u32, called: Moment, outcome: Outcome, op: Op) {
        self.record_at(process, called, self.now(), outcome, op);
    }

    /// Writes an operation down that returned at `returned`.
    pub fn record_at(
        &self,
        process: u32,
        called: Moment,
        returned: Moment,
        outcome: Outcome,
        op: Op,
    ) {
        let record = Record {
            process,
            t_inv_us: called.t_us,
            t_ret_us: returned.t_us,
            wall_inv_ms: called.wall_ms,
            wall_ret_ms: returned.wall_ms,
            outcome,
            op,
        };
        let mut records = self
            .records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        records.push(record);
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// The wall clock in Unix milliseconds.
#[must_use]
pub fn wall_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Writes records as lines of JSON.
///
/// # Errors
/// When the writer fails.
pub fn write_lines(records: &[Record], mut out: impl Write) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reads what [`write_lines`] wrote.
///
/// # Errors
/// When the reader fails or a line is no record.
pub fn read_lines(input: impl BufRead) -> io::Result<Vec<Record>> {
    input
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        let recorder = Recorder::new(Settings::default());
        let member = Member {
            group: "g".into(),
            member: "m:1".into(),
        };
        let event = Seen {
            partition: 0,
            offset: 3,
            id: "é\n".into(),
            topic: String::new(),
            schedule_ts: i64::MIN,
            hash: u64::MAX,
        };
        let called = recorder.now();
        for op in [
            Op::Deliver(Deliver {
                member: member.clone(),
                event: event.clone(),
                attempt: 1,
                delivery_id: "d".into(),
            }),
            Op::Replay(Replay {
                partition: 0,
                range: ReplayRange::Offsets {
                    start: 0,
                    count: 10,
                },
                events: vec![event],
            }),
            Op::GroupState(GroupState {
                group: "g".into(),
                committed: vec![(0, -1)],
            }),
            Op::Gone(member),
        ] {
            recorder.record(1, called, Outcome::Ok, op);
        }
        let records = recorder.records();
        let mut bytes = Vec::new();
        write_lines(&records, &mut bytes).unwrap();
        assert_eq!(
            bytes.iter().filter(|byte| **byte == b'\n').count(),
            records.len()
        );
        assert_eq!(read_lines(bytes.as_slice()).unwrap(), records);
    }
}
