//! `rate`: an open loop at a fixed rate.
//!
//! Event i has an intended time, begin + i / rate, and is due a fixed delay after it, whether or
//! not it could be sent in time. Latency and lateness count from there, so a server that stalls is
//! charged for every event that would have been sent meanwhile (no coordinated omission).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior};

use crate::load::clock;
use crate::load::options::{Options, ReceiveOptions};
use crate::load::progress::Progress;
use crate::load::publisher::{self, Totals};
use crate::load::report::{OpenLoopFigures, Report};
use crate::load::session::Session;
use crate::load::span::Span;
use crate::load::subscriber::{Strangers, Subscribers};
use crate::load::wire::status::CallError;

/// How often due sendings are collected into calls.
const TICK: Duration = Duration::from_millis(1);
/// Calls in flight at most: a bound on memory. Events beyond it are sent later and counted from
/// their intended time.
const MAX_IN_FLIGHT: usize = 4_096;

/// Options of `rate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    receive: ReceiveOptions,
    /// Events per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000), value_name = "N")]
    rate: u32,
    /// Time to publish for
    #[arg(long, default_value = "20s", value_name = "SPAN")]
    duration: Span,
    /// How long after its intended sending each event is due
    #[arg(long, default_value = "1s", value_name = "SPAN")]
    delay: Span,
    /// Events per call at most; those of one millisecond go together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    batch: u32,
}

impl Args {
    /// The options that all modes share.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// Publishes at the rate and receives, and checks that every event arrived once in every group.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let session = Arc::new(Session::open(&args.options, usize::from(args.receive.groups)).await?);
    let subscribers = Subscribers::start(&session, &args.receive, Strangers::Skip).await?;
    let pace = Pace {
        rate: u64::from(args.rate),
        begin_us: clock::now_us(),
        begin: Instant::now(),
        delay_us: (args.delay.as_ms() * 1_000) as i64,
    };
    let events = (u128::from(pace.rate) * u128::from(args.duration.as_ms()) / 1_000) as u64;
    let progress = Progress::start("rate", &session.ledger, Some(events));
    let (totals, sent_late_max) = publish(&session, &pace, events, u64::from(args.batch)).await;
    let complete = subscribers.wait(&session).await;
    drop(progress);
    let report = session.report("rate", totals.accepted).await?;
    let received = subscribers.stop().await;
    let mut report = report
        .with_publish(totals, u64::from(args.batch), 0, format!("+{}", args.delay))
        .with_delivery(received, complete);
    report.require_sent(events);
    report.open_loop = Some(OpenLoopFigures {
        intended_per_second: pace.rate as f64,
        delay_ms: args.delay.as_ms(),
        sent_late_max_us: sent_late_max.as_micros() as u64,
    });
    Ok(report)
}

/// Intended times.
struct Pace {
    rate: u64,
    begin_us: i64,
    begin: Instant,
    delay_us: i64,
}

impl Pace {
    /// Intended sending of event `counter`, from the beginning.
    fn intended(&self, counter: u64) -> Duration {
        Duration::from_nanos((u128::from(counter) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }

    /// Events whose intended sending is at or before `elapsed`.
    fn intended_by(&self, elapsed: Duration) -> u64 {
        (elapsed.as_nanos() * u128::from(self.rate) / 1_000_000_000) as u64 + 1
    }

    /// When event `counter` is due (Unix ms): rounded up, so that lateness is never counted from
    /// before.
    fn schedule_ms(&self, counter: u64) -> i64 {
        let due_us = self.begin_us + self.intended(counter).as_micros() as i64 + self.delay_us;
        (due_us + 999).div_euclid(1_000)
    }
}

async fn publish(
    session: &Arc<Session>,
    pace: &Pace,
    events: u64,
    batch: u64,
) -> (Totals, Duration) {
    let mut encoder = session.encoder();
    let mut totals = Totals::default();
    let mut sent_late_max = Duration::ZERO;
    let mut calls = FuturesUnordered::new();
    let mut calls_made = 0;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut broken = false;
    while !broken && !session.out_of_time() && session.ledger.issued() < events {
        tokio::select! {
            Some((range, result)) = calls.next(), if !calls.is_empty() => {
                broken |= book(&mut totals, pace, range, result);
                continue;
            }
            _ = ticks.tick(), if calls.len() < MAX_IN_FLIGHT => {}
        }
        let limit = pace.intended_by(pace.begin.elapsed()).min(events);
        while calls.len() < MAX_IN_FLIGHT
            && let Some(range) = session.ledger.issue(batch, limit)
        {
            let late = pace
                .begin
                .elapsed()
                .saturating_sub(pace.intended(range.start));
            sent_late_max = sent_late_max.max(late);
            let due = (0..(range.end - range.start) as usize).map(|index| {
                let counter = range.start + index as u64;
                (counter, pace.schedule_ms(counter))
            });
            let request = encoder.request(due);
            let connection = session.connection(calls_made).clone();
            calls_made += 1;
            calls.push(async move {
                let result = publisher::call(session, &connection, range.clone(), request).await;
                (range, result)
            });
        }
    }
    while let Some((range, result)) = calls.next().await {
        book(&mut totals, pace, range, result);
    }
    totals.elapsed = pace.begin.elapsed();
    totals.accepted = session.ledger.accepted();
    (totals, sent_late_max)
}

/// Records the latencies of one call. Returns whether nothing more will come over its connection.
fn book(
    totals: &mut Totals,
    pace: &Pace,
    range: Range<u64>,
    result: Result<(), CallError>,
) -> bool {
    let answered = pace.begin.elapsed();
    for counter in range {
        totals
            .latency
            .record(answered.saturating_sub(pace.intended(counter)));
    }
    let Err(error) = result else {
        return false;
    };
    totals.errors.add(error.to_string());
    error.is_final()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_intended_once() {
        let pace = Pace {
            rate: 3_000,
            begin_us: 1_000_500,
            begin: Instant::now(),
            delay_us: 10_000,
        };
        for counter in 0..10_000 {
            let intended = pace.intended(counter);
            assert!(pace.intended_by(intended + Duration::from_nanos(1)) > counter);
            if let Some(before) = intended.checked_sub(Duration::from_nanos(1)) {
                assert!(pace.intended_by(before) <= counter);
            }
        }
        assert_eq!(pace.schedule_ms(0), 1_011);
        assert_eq!(pace.schedule_ms(3_000), 2_011);
    }
}
