//! `list` and `count`: what is pending.

use chronos_client::Client;
use chronos_client::schedule::{CountPendingRequest, ListPendingRequest};
use serde::Serialize;
use std::collections::BTreeMap;

use super::{Filter, View};
use crate::exit::Failure;
use crate::payload::one_line;
use crate::printer::{Printer, more_follow, table};
use crate::when::show_time_ms;

/// Events asked for at a time.
const PAGE: usize = 1000;

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topic of the events.
    topic: String,
    #[command(flatten)]
    filter: Filter,
    /// How many events.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

const HEADER: &str = "DUE                       ID                                VERSION  PLACE";

/// Runs `list`.
pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> Result<(), Failure> {
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut page_token = String::new();
    printer.heading(HEADER)?;
    loop {
        let request = ListPendingRequest {
            filter: args.filter.of(&args.topic),
            // One more than is shown tells whether there is more.
            page_size: left.saturating_add(1).min(PAGE) as i32,
            page_token,
            with_payload: false,
        };
        let page = client.list_pending(request).await?;
        for event in page.events {
            if left == 0 {
                more_follow("--limit");
                return Ok(());
            }
            left -= 1;
            let view = View::from(event);
            printer.one(&view, || {
                format!(
                    "{:<24}  {:<32}  {:>7}  {}/{}",
                    show_time_ms(view.schedule_ts),
                    one_line(view.message_id.as_bytes()),
                    view.version,
                    view.partition_id,
                    view.offset,
                )
            })?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// What `count` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Count {
    /// Topic of the events; empty means every topic.
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,
}

#[derive(Debug, Serialize)]
struct Counts {
    pending: i64,
    by_topic: BTreeMap<String, i64>,
}

/// Runs `count`.
pub(super) async fn count(args: Count, client: &Client, printer: &Printer) -> Result<(), Failure> {
    let answer = client
        .count_pending(CountPendingRequest { topic: args.topic })
        .await?;
    let counts = Counts {
        pending: answer.pending,
        by_topic: answer.by_topic,
    };
    printer.whole(&counts, || {
        let mut table = table(["TOPIC", "PENDING"]);
        for (topic, pending) in &counts.by_topic {
            table.add_row([topic.clone(), pending.to_string()]);
        }
        table.add_row(["(all)".to_string(), counts.pending.to_string()]);
        table
    })?;
    Ok(())
}
