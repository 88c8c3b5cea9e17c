//! `chronosctl subscribe`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chronos_client::{AckReceipt, Client, Event, Start, SubscribeOptions, Subscription};
use clap::ValueEnum;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::event_view::EventView;
use crate::exit::Failure;
use crate::payload::one_line;
use crate::printer::Printer;

/// How long to wait at the end for the answers to acks.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  chronosctl subscribe reminders
  chronosctl subscribe reminders --group office --from earliest
  chronosctl subscribe reminders --count 3 -o json | jq .lateness_ms
  chronosctl subscribe orders --batch 500               # one acknowledgement for many events
  chronosctl subscribe orders --key-order               # one at a time of each key
  chronosctl subscribe '' --partition 0 --ack none      # every topic of one partition";

/// Receive events as they fall due, until interrupted.
///
/// LATE is the time from the event's schedule_ts to its arrival here, by this machine's clock.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topic; empty means every topic.
    topic: String,
    /// Consumer group. Members of a group share its events.
    #[arg(long, short, default_value = "chronosctl")]
    group: String,
    /// Partition to take from; -1 means all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    partition: i32,
    /// Where a new group starts: earliest, new, or an offset. A known group goes on where it stopped.
    #[arg(long, default_value = "new", value_parser = parse_start)]
    from: Start,
    /// How many events may be unacknowledged at a time, 1 to 50000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    credit: u32,
    /// Whether to acknowledge each event once it is printed.
    #[arg(long, value_enum, default_value_t = Ack::Auto)]
    ack: Ack,
    /// Take up to so many events at a time, and acknowledge them together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: Option<u32>,
    /// At most one event of each key (meta partition_key, else the id) at a time in the group.
    #[arg(long)]
    key_order: bool,
    /// Let retention remove events that the group has not settled, once their time is over. Counts
    /// when the group begins to exist.
    #[arg(long)]
    not_waited_for: bool,
    /// Exit after so many events; of a batch, the rest is left unacknowledged.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// What to say about a printed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ack {
    /// That it is processed.
    Auto,
    /// Nothing: the server delivers it again after the ack timeout.
    None,
}

/// One delivery in JSON and YAML.
#[derive(Debug, Serialize)]
struct Received {
    #[serde(flatten)]
    event: EventView,
    attempt: u32,
    received_ts: i64,
    lateness_ms: f64,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    let mut options = SubscribeOptions::new(&args.group, &args.topic)
        .start(args.from)
        .credit(args.credit);
    if let Ok(partition_id) = u32::try_from(args.partition) {
        options = options.partition(partition_id);
    }
    if args.key_order {
        options = options.key_order();
    }
    if args.not_waited_for {
        options = options.not_waited_for();
    }
    printer.heading(HEADER)?;
    match args.batch {
        Some(events) => batches(&client, options.batch_events(events), &args, printer).await,
        None => singles(&client, options, &args, printer).await,
    }
}

async fn singles(
    client: &Client,
    options: SubscribeOptions,
    args: &Args,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut subscription = client.subscribe(options);
    let mut receipts = FuturesUnordered::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut left = args.count;
    while left != Some(0) {
        tokio::select! {
            delivery = subscription.next() => {
                let Some(delivery) = delivery else { break };
                let delivery = delivery?;
                show(delivery.event(), delivery.attempt(), now_us(), printer)?;
                left = left.map(|left| left - 1);
                if args.ack == Ack::Auto {
                    receipts.push(delivery.ack());
                }
            }
            Some(answer) = receipts.next() => answer?,
            _ = &mut interrupted => break,
        }
    }
    close(subscription, receipts).await
}

async fn batches(
    client: &Client,
    options: SubscribeOptions,
    args: &Args,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut subscription = client.subscribe_batches(options);
    let mut receipts = FuturesUnordered::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut left = args.count;
    while left != Some(0) {
        tokio::select! {
            batch = subscription.next() => {
                let Some(batch) = batch else { break };
                let batch = batch?;
                let now_us = now_us();
                let wanted = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
                let shown = batch.events().len().min(wanted);
                for event in &batch.events()[..shown] {
                    show(event.event(), event.attempt(), now_us, printer)?;
                }
                left = left.map(|left| left - shown as u64);
                if args.ack == Ack::Auto {
                    receipts.push(batch.ack_first(shown as u32));
                }
            }
            Some(answer) = receipts.next() => answer?,
            _ = &mut interrupted => break,
        }
    }
    close(subscription, receipts).await
}

/// Waits for the answers to acks.
async fn close<D>(
    subscription: Subscription<D>,
    mut receipts: FuturesUnordered<AckReceipt>,
) -> Result<(), Failure> {
    // Whatever is not answered in time is delivered again, which at-least-once allows.
    let closed = subscription.close(CLOSE_LIMIT).await;
    if closed.is_ok() {
        while let Some(answer) = receipts.next().await {
            answer?;
        }
    } else if !receipts.is_empty() {
        eprintln!("warning: {} acks were not answered", receipts.len());
    }
    Ok(())
}

const HEADER: &str = "   LATE ms  TRY  PARTITION/OFFSET  ID                                PAYLOAD";

fn show(event: &Event, attempt: u32, now_us: i64, printer: &Printer) -> Result<(), Failure> {
    let lateness_ms = lateness_ms(event, now_us);
    let received = Received {
        event: EventView::from(event),
        attempt,
        received_ts: now_us / 1000,
        lateness_ms,
    };
    printer.one(&received, || line(event, attempt, lateness_ms))?;
    Ok(())
}

fn line(event: &Event, attempt: u32, lateness_ms: f64) -> String {
    format!(
        "{:>10}  {:>3}  {:<16}  {:<32}  {}",
        format!("{lateness_ms:+.1}"),
        attempt,
        format!("{}/{}", event.partition_id, event.offset),
        one_line(event.message_id.as_bytes()),
        one_line(&event.payload),
    )
}

/// How long after its schedule_ts the event is here, ms with one decimal.
fn lateness_ms(event: &Event, now_us: i64) -> f64 {
    let late_us = now_us.saturating_sub(event.schedule_ts.saturating_mul(1000));
    (late_us as f64 / 100.0).round() / 10.0
}

fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "new" => Ok(Start::New),
        // Offset 0 on the wire means the earliest, which it is.
        number => number
            .parse()
            .map(Start::Offset)
            .map_err(|_| "expected earliest, new, or an offset".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("new"), Ok(Start::New));
        assert_eq!(parse_start("17"), Ok(Start::Offset(17)));
        assert!(parse_start("-1").is_err() && parse_start("latest").is_err());
    }

    #[test]
    fn lateness_counts_from_the_schedule() {
        let event = Event {
            message_id: "call-17".into(),
            schedule_ts: 1000,
            payload: "hello\n".into(),
            offset: 5,
            ..Event::default()
        };
        assert_eq!(lateness_ms(&event, 1_000_840), 0.8);
        assert_eq!(lateness_ms(&event, 999_000), -1.0);
        let line = line(&event, 2, 0.8);
        assert!(line.starts_with("      +0.8    2  0/5 "), "{line}");
        assert!(line.ends_with("hello\\n"), "{line}");
        let column = |name: &str| HEADER.find(name).unwrap();
        assert_eq!(line.find("0/5"), Some(column("PARTITION")));
        assert_eq!(line.find("call-17"), Some(column("ID")));
        assert_eq!(line.find("hello"), Some(column("PAYLOAD")));
    }

    #[test]
    fn a_delivery_is_one_flat_object() {
        let received = Received {
            event: EventView::from(&Event::default()),
            attempt: 1,
            received_ts: 5,
            lateness_ms: 0.8,
        };
        let json = serde_json::to_string(&received).unwrap();
        assert!(json.contains("\"lateness_ms\":0.8") && json.contains("\"message_id\":\"\""));
        assert!(!json.contains('\n'));
    }
}
