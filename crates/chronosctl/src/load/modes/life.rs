//! `life`: publish, fire, deliver and ack at the same time.

use std::sync::Arc;

use anyhow::Result;
use tokio::time::Instant;

use crate::load::due::Due;
use crate::load::options::{Options, ReceiveOptions};
use crate::load::progress::Progress;
use crate::load::publisher::{self, ClosedLoop};
use crate::load::report::{Rate, Report};
use crate::load::session::Session;
use crate::load::span::Span;
use crate::load::subscriber::{Strangers, Subscribers};

/// Options of `life`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    receive: ReceiveOptions,
    /// Events to publish; without it, --duration counts
    #[arg(long, value_name = "N", required_unless_present = "duration")]
    events: Option<u64>,
    /// Time to publish for
    #[arg(long, value_name = "SPAN")]
    duration: Option<Span>,
    /// Events per call
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    batch: u32,
    /// Calls in flight
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4_096), value_name = "N")]
    in_flight: u16,
    /// When the events are due: now, +500ms, +1s..+2s
    #[arg(long, default_value = "+500ms")]
    due: Due,
    /// Stop publishing while this many accepted events have not arrived
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    max_backlog: u64,
}

impl Args {
    /// The options that all modes share.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// Publishes and receives, and checks that every event arrived once in every group.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let session = Arc::new(Session::open(&args.options, usize::from(args.receive.groups)).await?);
    let subscribers = Subscribers::start(&session, &args.receive, Strangers::Skip).await?;
    let progress = Progress::start("life", &session.ledger, args.events);
    let plan = ClosedLoop {
        batch: u64::from(args.batch),
        in_flight: usize::from(args.in_flight),
        due: args.due,
        limit: args.events.unwrap_or(u64::MAX),
        until: args.duration.map(|span| Instant::now() + span.duration()),
        max_backlog: args.max_backlog,
    };
    let begun = std::time::Instant::now();
    let totals = publisher::publish(&session, &plan).await;
    let complete = subscribers.wait(&session).await;
    drop(progress);
    let report = session.report("life", totals.accepted).await?;
    let received = subscribers.stop().await;
    let life = received
        .last_ack_at
        .map(|last| Rate::new(totals.accepted, last.duration_since(begun)));
    let mut report = report
        .with_publish(totals, plan.batch, plan.in_flight, plan.due.to_string())
        .with_delivery(received, complete);
    report.require_sent(args.events.unwrap_or(0));
    report.life = life;
    Ok(report)
}
