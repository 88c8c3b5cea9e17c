//! Publishing: one call, and the closed loop that keeps a number of calls in flight.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::clock;
use super::due::Due;
use super::histogram::Times;
use super::ledger::Outcome;
use super::session::Session;
use super::wire::connection::{Connection, MethodName};
use super::wire::response::{BatchPublished, Published};
use super::wire::status::CallError;

/// How long a publisher pauses when the server refuses or too much is overdue.
const PAUSE: Duration = Duration::from_millis(2);
/// Different error texts kept; the rest are counted together.
const MAX_ERROR_TEXTS: usize = 16;

/// How to publish in a closed loop.
#[derive(Clone, Debug)]
pub(crate) struct ClosedLoop {
    /// Events per call. One event goes by Publish, more by PublishBatch.
    pub batch: u64,
    /// Calls in flight.
    pub in_flight: usize,
    /// When the events are due.
    pub due: Due,
    /// Stop when this many events of the run have been sent.
    pub limit: u64,
    /// Stop at this time.
    pub until: Option<Instant>,
    /// Wait while more accepted events than this have not arrived yet.
    pub max_backlog: u64,
}

/// What publishing amounted to.
#[derive(Clone, Default)]
pub(crate) struct Totals {
    /// Events accepted.
    pub accepted: u64,
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// Time of each call.
    pub latency: Times,
    /// Errors by text.
    pub errors: Errors,
}

impl Totals {
    /// Adds what `other` amounted to, one after the other.
    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.elapsed += other.elapsed;
        self.latency.merge(&other.latency);
        self.errors.merge(other.errors);
    }
}

/// Errors by text, with a bounded number of texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors(BTreeMap<String, u64>);

impl Errors {
    /// Counts one error.
    pub(crate) fn add(&mut self, text: String) {
        self.add_many(text, 1);
    }

    /// Counts the errors of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        for (text, count) in other.0 {
            self.add_many(text, count);
        }
    }

    /// The counts by text.
    pub(crate) fn into_counts(self) -> BTreeMap<String, u64> {
        self.0
    }

    fn add_many(&mut self, text: String, count: u64) {
        let known = self.0.len() < MAX_ERROR_TEXTS || self.0.contains_key(&text);
        let text = if known { text } else { "others".to_owned() };
        *self.0.entry(text).or_default() += count;
    }
}

/// Publishes until the limit, the time or the connection ends.
pub(crate) async fn publish(session: &Arc<Session>, plan: &ClosedLoop) -> Totals {
    let begun = Instant::now();
    let accepted_before = session.ledger.accepted();
    let mut lanes = JoinSet::new();
    for index in 0..plan.in_flight {
        lanes.spawn(lane(session.clone(), plan.clone(), index));
    }
    let mut totals = Totals::default();
    while let Some(lane) = lanes.join_next().await {
        match lane {
            Ok((latency, errors)) => {
                totals.latency.merge(&latency);
                totals.errors.merge(errors);
            }
            Err(panic) => totals.errors.add(format!("a publisher failed: {panic}")),
        }
    }
    totals.elapsed = begun.elapsed();
    totals.accepted = session.ledger.accepted() - accepted_before;
    totals
}

/// One call after the other.
async fn lane(session: Arc<Session>, plan: ClosedLoop, index: usize) -> (Times, Errors) {
    let connection = session.connection(index).clone();
    let mut encoder = session.encoder();
    let mut latency = Times::new();
    let mut errors = Errors::default();
    let stop_at = plan
        .until
        .map_or(session.deadline, |until| until.min(session.deadline));
    while Instant::now() < stop_at {
        if session.ledger.owed() > plan.max_backlog {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let Some(events) = session.ledger.issue(plan.batch, plan.limit) else {
            break;
        };
        let now_ms = clock::now_ms();
        // Event counters of one run stay far below the 32 bits of a usize on small machines.
        let due = (0..(events.end - events.start) as usize).map(|index| {
            let counter = events.start + index as u64;
            (counter, plan.due.schedule_ms(counter, now_ms))
        });
        let request = encoder.request(due);
        let begun = Instant::now();
        let result = call(&session, &connection, events, request).await;
        latency.record(begun.elapsed());
        if let Err(error) = result {
            errors.add(error.to_string());
            if error.is_final() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    (latency, errors)
}

/// Publishes `events`, encoded in `request`, and books the outcome.
///
/// # Errors
/// The failure of the call, or the server's reason for not accepting all of them.
pub(crate) async fn call(
    session: &Session,
    connection: &Connection,
    events: Range<u64>,
    request: Bytes,
) -> Result<(), CallError> {
    let count = events.end - events.start;
    let answer = async {
        if count == 1 {
            connection
                .unary(MethodName::Publish, request, Published::scan)
                .await
                .map(|reply| BatchPublished {
                    success: reply.success,
                    published: u64::from(reply.success),
                    duplicates: u64::from(reply.error == "duplicate message_id"),
                    errors: u64::from(!reply.success),
                    error: reply.error,
                })
        } else {
            connection
                .unary(MethodName::PublishBatch, request, BatchPublished::scan)
                .await
        }
    };
    let reply = timeout_at(session.deadline, answer)
        .await
        .unwrap_or(Err(CallError::TimedOut));
    let (outcome, result) = match reply {
        Ok(reply) => {
            session.ledger.called_duplicate(reply.duplicates);
            match reply.published {
                published if published == count => (Outcome::Accepted, Ok(())),
                0 => (Outcome::Refused, Err(CallError::Protocol(refusal(&reply)))),
                // The reply does not say which of them were accepted.
                _ => (Outcome::Unknown, Err(CallError::Protocol(refusal(&reply)))),
            }
        }
        Err(error) if error.surely_not_applied() => (Outcome::Refused, Err(error)),
        Err(error) => (Outcome::Unknown, Err(error)),
    };
    session.ledger.settle(events, outcome);
    result
}

fn refusal(reply: &BatchPublished) -> String {
    let reason = if reply.error.is_empty() {
        "no reason given"
    } else {
        &reply.error
    };
    format!("not all events were accepted: {reason}")
}
