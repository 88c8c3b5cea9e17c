//! `batch`: PublishBatch in a closed loop.

use std::sync::Arc;

use anyhow::Result;

use crate::load::due::Due;
use crate::load::options::Options;
use crate::load::progress::Progress;
use crate::load::publisher::{self, ClosedLoop};
use crate::load::report::Report;
use crate::load::session::Session;

/// Options of `batch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Events to publish
    #[arg(long, default_value_t = 2_000_000, value_name = "N")]
    events: u64,
    /// Events per call
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    batch: u32,
    /// Calls in flight
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4_096), value_name = "N")]
    in_flight: u16,
    /// When the events are due: now, +10s, +10s..+1m, or far (1 to 90 days)
    #[arg(long, default_value = "far")]
    due: Due,
}

impl Args {
    /// The options that all modes share.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// Publishes, and checks that everything was accepted.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let plan = ClosedLoop {
        batch: u64::from(args.batch),
        in_flight: usize::from(args.in_flight),
        due: args.due,
        limit: args.events,
        until: None,
        max_backlog: u64::MAX,
    };
    publish_only("batch", &args.options, &plan).await
}

/// Publishes by `plan` without receiving.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(super) async fn publish_only(
    mode: &'static str,
    options: &Options,
    plan: &ClosedLoop,
) -> Result<Report> {
    let session = Arc::new(Session::open(options, 0).await?);
    let progress = Progress::start(mode, &session.ledger, Some(plan.limit));
    let totals = publisher::publish(&session, plan).await;
    drop(progress);
    let report = session.report(mode, totals.accepted).await?;
    let mut report = report.with_publish(totals, plan.batch, plan.in_flight, plan.due.to_string());
    report.require_sent(plan.limit);
    Ok(report)
}
