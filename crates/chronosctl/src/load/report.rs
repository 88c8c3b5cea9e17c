//! The result of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::histogram::{Summary, Times};
use super::ledger::Verdict;
use super::publisher::Totals;
use super::server_usage::{Memory, Usage};
use super::session::Session;
use super::subscriber::Received;

/// The result of a run, in the shape that `-o json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Mode of the run.
    pub mode: &'static str,
    /// Name of the run.
    pub run: String,
    /// Topic of the run.
    pub topic: String,
    /// Bytes of payload per event.
    pub payload_bytes: u32,
    /// Bytes of an event as sent.
    pub event_bytes: usize,
    /// From the first reading to the last.
    pub seconds: f64,
    /// Publishing, when the mode publishes.
    pub publish: Option<PublishFigures>,
    /// Receiving, when the mode receives.
    pub delivery: Option<DeliveryFigures>,
    /// Whole lives, when the mode waits for them.
    pub life: Option<Rate>,
    /// The herd, in its mode.
    pub herd: Option<HerdFigures>,
    /// The open loop, in its mode.
    pub open_loop: Option<OpenLoopFigures>,
    /// Memory at each stage, in the mode `far`.
    pub memory: Option<MemoryFigures>,
    /// What server and client used.
    pub usage: Usage,
    /// Bytes the server caused to be written per event, beyond those of the event itself.
    pub written_beyond_own_bytes_per_event: Option<f64>,
    /// The books.
    pub verification: Verdict,
    /// Each way in which the run failed; empty for a good run.
    pub failures: Vec<String>,
    /// Whether there are no failures.
    pub passed: bool,
    /// Latencies for drawing, with their titles.
    #[serde(skip)]
    pub histograms: Vec<(&'static str, Times)>,
}

/// Events over time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rate {
    /// Events.
    pub events: u64,
    /// Time they took.
    pub seconds: f64,
    /// Events per second.
    pub per_second: f64,
}

impl Rate {
    /// `events` in `elapsed`.
    pub(crate) fn new(events: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            events,
            seconds,
            per_second: if seconds > 0.0 {
                events as f64 / seconds
            } else {
                0.0
            },
        }
    }
}

/// Publishing.
#[derive(Serialize)]
pub(crate) struct PublishFigures {
    /// Events accepted.
    pub rate: Rate,
    /// Events per call at most.
    pub batch: u64,
    /// Calls in flight at most; 0 for an open loop.
    pub in_flight: usize,
    /// When the events were due.
    pub due: String,
    /// Time of a call; in an open loop, time of an event from its intended sending.
    pub latency: Option<Summary>,
    /// Failed calls by reason.
    pub errors: BTreeMap<String, u64>,
}

/// Receiving.
#[derive(Serialize)]
pub(crate) struct DeliveryFigures {
    /// Events that arrived, from the first to the last arrival.
    pub rate: Rate,
    /// Time from schedule_ts to arrival.
    pub lateness: Option<Summary>,
    /// Time from sending an ack to its answer.
    pub ack_latency: Option<Summary>,
    /// Acks answered with success.
    pub acked: u64,
    /// Acks answered with a refusal.
    pub acks_refused: u64,
    /// Subscriptions that ended by themselves, by reason.
    pub errors: BTreeMap<String, u64>,
}

/// Many events due in the same millisecond.
#[derive(Debug, Serialize)]
pub(crate) struct HerdFigures {
    /// The millisecond (Unix ms).
    pub due_ms: i64,
    /// How long before it the last publish was accepted.
    pub published_ahead_ms: i64,
    /// From due to the first arrival.
    pub first_us: Option<i64>,
    /// From due to the last arrival.
    pub last_us: Option<u64>,
    /// Events over the time from due to the last arrival.
    pub per_second: Option<f64>,
}

/// An open loop.
#[derive(Debug, Serialize)]
pub(crate) struct OpenLoopFigures {
    /// Events per second intended.
    pub intended_per_second: f64,
    /// From the intended sending to schedule_ts.
    pub delay_ms: u64,
    /// Longest time by which an event was sent after its intended time.
    pub sent_late_max_us: u64,
}

/// Memory as pending events pile up.
#[derive(Debug, Serialize)]
pub(crate) struct MemoryFigures {
    /// Readings.
    pub stages: Vec<MemoryStage>,
    /// Growth of resident memory per event between the first stage and the last.
    pub resident_bytes_per_event: Option<f64>,
    /// Growth of anonymous memory per event between the first stage and the last.
    pub anonymous_bytes_per_event: Option<f64>,
}

/// Memory with a number of pending events.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryStage {
    /// Pending events of the run.
    pub events: u64,
    /// Memory of the server.
    pub memory: Memory,
}

impl Report {
    /// A report with the books of `session`. Parts are added by the modes.
    pub(crate) fn new(
        session: &Session,
        mode: &'static str,
        elapsed: Duration,
        usage: Usage,
    ) -> Self {
        let event_bytes = session.encoder().event_bytes(super::clock::now_ms());
        let verification = session.ledger.verdict();
        let mut report = Self {
            mode,
            run: session.run.to_string(),
            topic: session.topic.clone(),
            payload_bytes: session.payload_bytes,
            event_bytes,
            seconds: elapsed.as_secs_f64(),
            publish: None,
            delivery: None,
            life: None,
            herd: None,
            open_loop: None,
            memory: None,
            written_beyond_own_bytes_per_event: usage
                .written_bytes_per_event
                .map(|written| written - event_bytes as f64),
            usage,
            failures: verification.failures(session.allow_redelivery),
            passed: true,
            verification,
            histograms: Vec::new(),
        };
        if report.verification.issued > 0 && report.verification.accepted == 0 {
            report.failures.push("no publish was accepted".to_owned());
        }
        report.passed = report.failures.is_empty();
        report
    }

    /// Adds a failure.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failures.push(reason);
        self.passed = false;
    }

    /// Fails the run when fewer events than `wanted` were sent.
    pub(crate) fn require_sent(&mut self, wanted: u64) {
        let sent = self.verification.issued;
        if sent < wanted {
            self.fail(format!("only {sent} of {wanted} events were sent"));
        }
    }

    /// Adds the figures of publishing.
    pub(crate) fn with_publish(
        mut self,
        totals: Totals,
        batch: u64,
        in_flight: usize,
        due: String,
    ) -> Self {
        self.publish = Some(PublishFigures {
            rate: Rate::new(totals.accepted, totals.elapsed),
            batch,
            in_flight,
            due,
            latency: totals.latency.summary(),
            errors: totals.errors.into_counts(),
        });
        self.histograms.push(("publish latency", totals.latency));
        self
    }

    /// Adds the figures of receiving. `complete` says whether everything came before the time was
    /// over.
    pub(crate) fn with_delivery(mut self, received: Received, complete: bool) -> Self {
        let elapsed = received
            .first_at
            .zip(received.last_at)
            .map_or(Duration::ZERO, |(first, last)| last.duration_since(first));
        for (reason, count) in received.errors.clone().into_counts() {
            self.fail(format!("{count} subscriptions ended: {reason}"));
        }
        if received.acks_refused > 0 {
            self.fail(format!("{} acks refused", received.acks_refused));
        }
        if !complete {
            self.fail("the run ended before everything had arrived and was acked".to_owned());
        }
        self.delivery = Some(DeliveryFigures {
            rate: Rate::new(received.events, elapsed),
            lateness: received.lateness.summary(),
            ack_latency: received.ack_latency.summary(),
            acked: received.acked,
            acks_refused: received.acks_refused,
            errors: received.errors.into_counts(),
        });
        self.histograms.push(("lateness", received.lateness));
        self
    }
}
