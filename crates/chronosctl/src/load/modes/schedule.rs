//! `schedule`: what it costs to cancel and to look at what is pending.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use chronos_client::schedule::{
    CancelMatchingRequest, CancelRequest, CountPendingRequest, EventRef, ListPendingRequest,
    PendingFilter, ScheduleOutcome,
};
use chronos_client::{Client, Error, NewEvent, now_ms, unique_id};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::time::Instant;

use crate::connect::Connect;
use crate::load::span::Span;
use crate::printer::{Format, Printer, table};

/// Events of one publish call.
const BATCH: u64 = 2_000;
/// Publish calls in flight.
const BATCHES_IN_FLIGHT: usize = 4;
/// How often the first page is asked for.
const LOOKS: usize = 50;
const DAY_MS: i64 = 86_400_000;

/// Options of `schedule`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    // As in the other modes, so that the global options may stand before or after the mode.
    #[command(flatten)]
    connect: Connect,
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Global options")]
    output: Format,
    /// Give up, and fail, after this time
    #[arg(long, default_value = "10m", value_name = "SPAN")]
    timeout: Span,
    /// Events that are cancelled one by one
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    single: u64,
    /// Calls in flight when they are cancelled one by one
    #[arg(long, default_value_t = 64, value_name = "N")]
    in_flight: usize,
    /// Events that are cancelled by one filter
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    matching: u64,
    /// Events that are pending when a page of them is asked for
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    pending: u64,
}

/// The result.
#[derive(Debug, Serialize)]
struct Figures {
    cancel_per_second: f64,
    cancel_matching_per_second: f64,
    first_page_p50_ms: f64,
    first_page_max_ms: f64,
    count_p50_ms: f64,
}

/// Publishes, cancels, looks, checks every count, and deletes what it published.
///
/// # Errors
/// When the server cannot be reached, a count is not what it must be, or the time is over.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut options = args.connect.options();
    options.request_timeout = Duration::from_secs(120);
    let client = Client::connect(options).await?;
    let run = unique_id();
    let topics = ["single", "matching", "pending"].map(|name| format!("load-{run}-{name}"));
    let measured = measure(&client, args, &topics);
    let measured = tokio::time::timeout(args.timeout.duration(), measured).await;
    let deleted = delete(&client, &topics).await;
    let figures = measured.map_err(|_| anyhow!("it was not done after {}", args.timeout))??;
    show(&figures, args.output)?;
    deleted
}

async fn measure(client: &Client, args: &Args, topics: &[String; 3]) -> Result<Figures> {
    let [single, matching, pending] = topics;
    publish(client, single, args.single, DAY_MS).await?;
    let began = Instant::now();
    stream::iter(0..args.single)
        .map(|n| cancel(client, single, n))
        .buffer_unordered(args.in_flight)
        .try_collect::<Vec<()>>()
        .await?;
    let cancel_per_second = args.single as f64 / began.elapsed().as_secs_f64();
    ensure!(
        count(client, single).await? == 0,
        "cancelled events are still pending"
    );

    publish(client, matching, args.matching, DAY_MS).await?;
    let began = Instant::now();
    let request = CancelMatchingRequest {
        filter: of_topic(matching),
        ..CancelMatchingRequest::default()
    };
    let answer = client.cancel_matching(request).await?;
    let cancel_matching_per_second = args.matching as f64 / began.elapsed().as_secs_f64();
    ensure!(
        answer.changed as u64 == args.matching && count(client, matching).await? == 0,
        "{} of {} events were cancelled",
        answer.changed,
        args.matching
    );

    publish(client, pending, args.pending, 90 * DAY_MS).await?;
    let (mut pages, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        let request = ListPendingRequest {
            filter: of_topic(pending),
            ..ListPendingRequest::default()
        };
        let began = Instant::now();
        let page = client.list_pending(request).await?;
        pages.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(
            page.events.len() as u64 == args.pending.min(100),
            "a page is not full"
        );
        let began = Instant::now();
        ensure!(
            count(client, pending).await? as u64 == args.pending,
            "a count is wrong"
        );
        counts.push(began.elapsed().as_secs_f64() * 1e3);
    }
    pages.sort_by(f64::total_cmp);
    counts.sort_by(f64::total_cmp);
    Ok(Figures {
        cancel_per_second,
        cancel_matching_per_second,
        first_page_p50_ms: pages[LOOKS / 2],
        first_page_max_ms: pages[LOOKS - 1],
        count_p50_ms: counts[LOOKS / 2],
    })
}

/// Deletes the topics of a run with what is pending in them.
async fn delete(client: &Client, topics: &[String]) -> Result<()> {
    for topic in topics {
        match client.delete_topic(topic, true).await {
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => {
                return Err(anyhow::Error::new(error).context("a topic of the run is left over"));
            }
        }
    }
    Ok(())
}

fn show(figures: &Figures, output: Format) -> Result<()> {
    Printer::new(output, false).whole(figures, || {
        let mut table = table(["FIGURE", "VALUE"]);
        table.add_rows([
            [
                "cancelled per second, one by one",
                &format!("{:.0}", figures.cancel_per_second),
            ],
            [
                "cancelled per second, by a filter",
                &format!("{:.0}", figures.cancel_matching_per_second),
            ],
            [
                "first page, median, ms",
                &format!("{:.2}", figures.first_page_p50_ms),
            ],
            [
                "first page, at most, ms",
                &format!("{:.2}", figures.first_page_max_ms),
            ],
            ["count, median, ms", &format!("{:.2}", figures.count_p50_ms)],
        ]);
        table
    })?;
    Ok(())
}

/// Publishes events that are due evenly over `over_ms`, from an hour ahead on.
async fn publish(client: &Client, topic: &str, events: u64, over_ms: i64) -> Result<()> {
    let from_ms = now_ms() + 3_600_000;
    let due_ms =
        |n: u64| from_ms + (over_ms as i128 * i128::from(n) / i128::from(events.max(1))) as i64;
    stream::iter((0..events).step_by(BATCH as usize))
        .map(|first| async move {
            let some: Vec<_> = (first..(first + BATCH).min(events))
                // Neighbours in the log are not neighbours in time.
                .map(|n| {
                    NewEvent::new(topic, format!("{topic}-{n}"), vec![b'x'; 64])
                        .at_ms(due_ms(n * 7_919 % events))
                })
                .collect();
            let outcome = client.publish_batch(some).await;
            ensure!(
                outcome.first_error.is_none(),
                "a batch failed: {:?}",
                outcome.first_error
            );
            Ok(())
        })
        .buffer_unordered(BATCHES_IN_FLIGHT)
        .try_collect::<Vec<()>>()
        .await?;
    ensure!(
        count(client, topic).await? as u64 == events,
        "not everything is pending"
    );
    Ok(())
}

async fn cancel(client: &Client, topic: &str, n: u64) -> Result<()> {
    let request = CancelRequest {
        event: Some(EventRef {
            topic: topic.to_string(),
            message_id: format!("{topic}-{n}"),
            ..EventRef::default()
        }),
        if_version: None,
    };
    let answer = client.cancel(request).await?;
    ensure!(answer.outcome() == ScheduleOutcome::Cancelled, "{answer:?}");
    Ok(())
}

async fn count(client: &Client, topic: &str) -> Result<i64> {
    let request = CountPendingRequest {
        topic: topic.to_string(),
    };
    Ok(client.count_pending(request).await?.pending)
}

fn of_topic(topic: &str) -> Option<PendingFilter> {
    Some(PendingFilter {
        topic: topic.to_string(),
        ..PendingFilter::default()
    })
}
