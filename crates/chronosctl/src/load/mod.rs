//! `chronosctl load`: a load generator that checks what it measures.
//!
//! Every event carries an id that counts it and a payload that can be recomputed, so a run knows of
//! each event whether it arrived, how often, when, and intact, at a cost of two bytes. A run that
//! lost, repeated, damaged or hurried an event fails, whatever its speed.
//!
//! ```text
//! modes ──► publisher ──► wire ──► server ──► wire ──► subscriber
//!              │                                           │
//!              └─────────────► ledger ◄────────────────────┘
//!                                │
//!             server_usage ──► report ──► print
//! ```
//!
//! | file | idea |
//! |---|---|
//! | [`modes`] | what to do, one file per mode |
//! | [`options`] | what the modes can be told |
//! | [`session`] | one run: connections, books, deadline |
//! | [`ids`], [`payload`] | names and contents that need no remembering |
//! | [`due`], [`span`], [`clock`] | when events are due |
//! | [`publisher`], [`subscriber`] | the two sides of a run |
//! | [`ledger`] | which events arrived how often |
//! | [`histogram`] | latencies, summed up and drawn |
//! | [`server_usage`] | processor time, bytes, memory, fsyncs |
//! | [`report`], [`print`](mod@print), [`progress`] | what is shown |
//! | [`wire`] | gRPC at low cost |

mod clock;
mod due;
mod histogram;
mod ids;
mod ledger;
mod modes;
mod options;
mod payload;
mod print;
mod progress;
mod publisher;
mod report;
mod server_usage;
mod session;
mod span;
mod subscriber;
mod wire;

#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod tests;

use std::io::Write as _;

use anyhow::Result;

use crate::exit::Failure;
use crate::printer::Format;
use modes::{batch, far, herd, life, rate, schedule, single, subscribe};
use report::Report;
use wire::status::CallError;

/// Arguments of `chronosctl load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    mode: Mode,
}

const EXAMPLES: &str = "\
Examples:
  chronosctl load batch --events 2000000 --batch 4000
  chronosctl load single --in-flight 64
  chronosctl load life --events 1000000
  chronosctl load rate --rate 1000 --duration 20s
  chronosctl load herd --events 500000 --due-in 15s
  chronosctl load far --stages 1000000,10000000 --server-pid 4711
  chronosctl load schedule --pending 1000000
  chronosctl load batch --run nightly --events 1000 --due +30s
  chronosctl load subscribe --run nightly --expect 1000

The exit status is 1 when an event was lost, repeated, damaged or early, and 5 when no node answers.";

#[derive(Debug, clap::Subcommand)]
enum Mode {
    /// Publish in batches, as fast as the server answers
    Batch(batch::Args),
    /// Publish one event per call, as fast as the server answers
    Single(single::Args),
    /// Publish, fire, deliver and ack at the same time
    Life(life::Args),
    /// Publish at a fixed rate and measure lateness (open loop)
    Rate(rate::Args),
    /// Publish many events that are due in the same millisecond
    Herd(herd::Args),
    /// Publish events that stay pending, and measure the memory they take
    Far(far::Args),
    /// Cancel events one by one and by a filter, and look at what is pending
    Schedule(schedule::Args),
    /// Receive and ack, without publishing
    Subscribe(subscribe::Args),
}

/// Runs one mode and prints the result on stdout.
///
/// # Errors
/// When the server cannot be reached or measured, or when the run failed its own verification.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    carry_out(&args).await.map_err(|error| {
        // Only connecting fails a whole run for this; what breaks later is counted.
        match error.downcast_ref::<CallError>() {
            Some(CallError::Transport(_)) => Failure::Unreachable(format!("{error:#}")),
            _ => Failure::Other(error),
        }
    })
}

async fn carry_out(args: &Args) -> Result<()> {
    if let Mode::Schedule(args) = &args.mode {
        return schedule::run(args).await;
    }
    let (report, output) = measure(args).await?;
    show(&report, output)?;
    if !report.passed {
        anyhow::bail!("the run failed: {}", report.failures.join("; "));
    }
    Ok(())
}

async fn measure(args: &Args) -> Result<(Report, Format)> {
    Ok(match &args.mode {
        Mode::Batch(args) => (batch::run(args).await?, args.options().output),
        Mode::Single(args) => (single::run(args).await?, args.options().output),
        Mode::Life(args) => (life::run(args).await?, args.options().output),
        Mode::Rate(args) => (rate::run(args).await?, args.options().output),
        Mode::Herd(args) => (herd::run(args).await?, args.options().output),
        Mode::Far(args) => (far::run(args).await?, args.options().output),
        Mode::Subscribe(args) => (subscribe::run(args).await?, args.options().output),
        Mode::Schedule(_) => anyhow::bail!("this mode has no report"),
    })
}

fn show(report: &Report, output: Format) -> Result<()> {
    let text = match output {
        Format::Table => print::text(report),
        Format::Json => serde_json::to_string(report)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(report)?,
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
