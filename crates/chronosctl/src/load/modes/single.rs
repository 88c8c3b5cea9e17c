//! `single`: unary Publish in a closed loop.

use anyhow::Result;

use super::batch::publish_only;
use crate::load::due::Due;
use crate::load::options::Options;
use crate::load::publisher::ClosedLoop;
use crate::load::report::Report;

/// Options of `single`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Events to publish
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    events: u64,
    /// Calls in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_096), value_name = "N")]
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
        batch: 1,
        in_flight: usize::from(args.in_flight),
        due: args.due,
        limit: args.events,
        until: None,
        max_backlog: u64::MAX,
    };
    publish_only("single", &args.options, &plan).await
}
