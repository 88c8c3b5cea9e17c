//! `herd`: many events due in the same millisecond.

use std::sync::Arc;

use anyhow::Result;

use crate::load::clock;
use crate::load::due::Due;
use crate::load::options::{Options, ReceiveOptions};
use crate::load::progress::Progress;
use crate::load::publisher::{self, ClosedLoop};
use crate::load::report::{HerdFigures, Report};
use crate::load::session::Session;
use crate::load::span::Span;
use crate::load::subscriber::{Strangers, Subscribers};

/// Options of `herd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    receive: ReceiveOptions,
    /// Events in the herd
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    events: u64,
    /// How far ahead they are due; publishing must be over by then
    #[arg(long, default_value = "15s", value_name = "SPAN")]
    due_in: Span,
    /// Events per call
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    batch: u32,
    /// Calls in flight
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4_096), value_name = "N")]
    in_flight: u16,
}

impl Args {
    /// The options that all modes share.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// Publishes the herd, waits for its time, and checks that every event arrived once in every group
/// and none early.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let session = Arc::new(Session::open(&args.options, usize::from(args.receive.groups)).await?);
    let subscribers = Subscribers::start(&session, &args.receive, Strangers::Skip).await?;
    let progress = Progress::start("herd", &session.ledger, Some(args.events));
    let due_ms = clock::now_ms().saturating_add_unsigned(args.due_in.as_ms());
    let plan = ClosedLoop {
        batch: u64::from(args.batch),
        in_flight: usize::from(args.in_flight),
        due: Due::At(due_ms),
        limit: args.events,
        until: None,
        max_backlog: u64::MAX,
    };
    let totals = publisher::publish(&session, &plan).await;
    let published_ahead_ms = due_ms - clock::now_ms();
    let complete = subscribers.wait(&session).await;
    drop(progress);
    let report = session.report("herd", totals.accepted).await?;
    let received = subscribers.stop().await;
    let last_us = received.lateness.summary().map(|summary| summary.max_us);
    let arrived = report.verification.arrived as f64;
    let figures = HerdFigures {
        due_ms,
        published_ahead_ms,
        first_us: report.verification.earliest_us,
        last_us,
        per_second: last_us.map(|last_us| arrived * 1e6 / last_us.max(1) as f64),
    };
    let mut report = report
        .with_publish(totals, plan.batch, plan.in_flight, plan.due.to_string())
        .with_delivery(received, complete);
    report.require_sent(args.events);
    if published_ahead_ms <= 0 {
        report.fail(format!(
            "publishing ended {} ms after the due time: use a longer --due-in",
            -published_ahead_ms
        ));
    }
    report.herd = Some(figures);
    Ok(report)
}
