//! `far`: events that stay pending, and the memory they take.

use std::sync::Arc;

use anyhow::Result;
use tokio::time::Instant;

use crate::load::due::Due;
use crate::load::options::Options;
use crate::load::progress::Progress;
use crate::load::publisher::{self, ClosedLoop, Totals};
use crate::load::report::{MemoryFigures, MemoryStage, Report};
use crate::load::session::Session;
use crate::load::span::Span;

/// Options of `far`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Pending events at which memory is read; the last is the number published
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000], value_name = "N,N,...")]
    stages: Vec<u64>,
    /// When the events are due: far (1 to 90 days), +10m..+50m
    #[arg(long, default_value = "far")]
    due: Due,
    /// Pause before each reading, so that the server comes to rest
    #[arg(long, default_value = "3s", value_name = "SPAN")]
    rest: Span,
    /// Events per call
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
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

/// Publishes stage by stage and reads the server's memory after each.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let mut limits = args.stages.clone();
    limits.sort_unstable();
    let last = limits.last().copied().unwrap_or(0);
    let session = Arc::new(Session::open(&args.options, 0).await?);
    let progress = Progress::start("far", &session.ledger, Some(last));
    let mut stages: Vec<MemoryStage> = session
        .before()
        .memory()
        .map(|memory| MemoryStage { events: 0, memory })
        .into_iter()
        .collect();
    let mut totals = Totals::default();
    let mut plan = ClosedLoop {
        batch: u64::from(args.batch),
        in_flight: usize::from(args.in_flight),
        due: args.due,
        limit: 0,
        until: None,
        max_backlog: u64::MAX,
    };
    for limit in limits {
        plan.limit = limit;
        totals.add(publisher::publish(&session, &plan).await);
        tokio::time::sleep_until(session.deadline.min(Instant::now() + args.rest.duration())).await;
        if let Some(memory) = session.meter.sample().await?.memory() {
            stages.push(MemoryStage {
                events: session.ledger.accepted(),
                memory,
            });
        }
    }
    drop(progress);
    let report = session.report("far", totals.accepted).await?;
    let mut report = report.with_publish(totals, plan.batch, plan.in_flight, plan.due.to_string());
    report.require_sent(last);
    report.memory = (!stages.is_empty()).then(|| slope(stages));
    Ok(report)
}

/// Growth per event from the first stage that has pending events to the last. The first million
/// also pays for buffers and caches of fixed size, which is why the empty server is not the
/// starting point.
fn slope(stages: Vec<MemoryStage>) -> MemoryFigures {
    let loaded = || stages.iter().filter(|stage| stage.events > 0);
    let per_event = |bytes: fn(&MemoryStage) -> u64| {
        let (first, last) = (loaded().next()?, loaded().next_back()?);
        let events = last
            .events
            .checked_sub(first.events)
            .filter(|events| *events > 0)?;
        Some((bytes(last) as f64 - bytes(first) as f64) / events as f64)
    };
    MemoryFigures {
        resident_bytes_per_event: per_event(|stage| stage.memory.resident_bytes),
        anonymous_bytes_per_event: per_event(|stage| stage.memory.anonymous_bytes),
        stages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::server_usage::Memory;

    fn stage(events: u64, resident_bytes: u64) -> MemoryStage {
        MemoryStage {
            events,
            memory: Memory {
                resident_bytes,
                anonymous_bytes: 7,
            },
        }
    }

    #[test]
    fn the_slope_leaves_the_empty_server_out() {
        let figures = slope(vec![stage(0, 10), stage(100, 5_000), stage(200, 6_000)]);
        assert_eq!(figures.resident_bytes_per_event, Some(10.0));
        assert_eq!(figures.anonymous_bytes_per_event, Some(0.0));
        assert_eq!(
            slope(vec![stage(0, 10), stage(100, 20)]).resident_bytes_per_event,
            None
        );
    }
}
