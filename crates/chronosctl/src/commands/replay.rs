//! `chronosctl replay`

use chronos_client::{Client, Event, ReplayOrder, ReplayRequest, RepublishRequest};
use clap::ValueEnum;
use futures::StreamExt;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::event_view::EventView;
use crate::exit::Failure;
use crate::payload::one_line;
use crate::printer::{Printer, table};
use crate::when::{parse_duration, parse_time_ms, show_time_ms};

const EXAMPLES: &str = "\
Examples:
  chronosctl replay                                    # the first 1000 events of partition 0
  chronosctl replay reminders --partition 2 --from 500 --count 10
  chronosctl replay reminders --since 2026-12-24T00:00:00Z --until 2026-12-25T00:00:00Z
  chronosctl replay orders --key customer-9 --by schedule
  chronosctl replay orders --by fire --since 2026-12-24T00:00:00Z --speed-up 60
  chronosctl replay orders --by fire --to orders-again --id-prefix again- --shift 24h --rate 100
  chronosctl replay -o json | jq -r .message_id";

/// In which order to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// As events were published.
    Offset,
    /// By their times, fired or not.
    Schedule,
    /// As they fired, and only what has fired.
    Fire,
}

/// Read stored events again, or publish them again. No group is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topic; empty means every topic.
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,
    /// Partition to read.
    #[arg(long, default_value_t = 0)]
    partition: u32,
    /// The order.
    #[arg(long, value_enum, default_value_t = By::Offset)]
    by: By,
    /// First offset.
    #[arg(long, default_value_t = 0, value_name = "OFFSET", conflicts_with_all = ["since", "until"])]
    from: u64,
    /// How many events; 1000 by offset if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only events of this time or later: RFC 3339, or Unix time in ms. By fire it is when they fell due, else when they are scheduled.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    since: Option<i64>,
    /// Only events of this time or earlier; by offset now, if --since is given without it.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    until: Option<i64>,
    /// Only events with this routing key: meta partition_key, or else the id.
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// Events per second, at most; without it, as fast as possible.
    #[arg(
        long,
        default_value_t = 0.0,
        hide_default_value = true,
        value_name = "N"
    )]
    rate: f64,
    /// Keep the distances in time between events: 1 as they were, 60 a minute in a second.
    #[arg(
        long,
        default_value_t = 0.0,
        hide_default_value = true,
        value_name = "FACTOR"
    )]
    speed_up: f64,
    /// Publish the events to this topic instead of printing them; '' leaves each its own.
    #[arg(long, value_name = "TOPIC", requires = "id_prefix")]
    to: Option<String>,
    /// With --to: put before each id. With the same prefix, doing it again changes nothing.
    #[arg(long, value_name = "PREFIX", requires = "to")]
    id_prefix: Option<String>,
    /// With --to: publish the events for so much later.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "to")]
    shift: Option<std::time::Duration>,
}

impl Args {
    fn request(&self) -> ReplayRequest {
        let by_time = self.since.is_some() || self.until.is_some();
        ReplayRequest {
            topic: self.topic.clone(),
            partition_id: i32::try_from(self.partition).unwrap_or(i32::MAX),
            // Nothing is scheduled at 0, which would ask for offsets.
            start_ts: self.since.unwrap_or(0).max(i64::from(by_time)),
            end_ts: self.until.unwrap_or(0),
            start_offset: i64::try_from(self.from).unwrap_or(i64::MAX),
            count: self.most(),
            order: match self.by {
                By::Offset => ReplayOrder::ReplayByOffset,
                By::Schedule => ReplayOrder::ReplayBySchedule,
                By::Fire => ReplayOrder::ReplayByFire,
            }
            .into(),
            key: self.key.clone(),
            events_per_second: self.rate,
            time_factor: self.speed_up,
            ..ReplayRequest::default()
        }
    }

    fn most(&self) -> i64 {
        let count = self.count.unwrap_or(0);
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

/// What was published again, in JSON and YAML.
#[derive(Debug, Default, Serialize)]
struct Republished {
    read: i64,
    published: i64,
    duplicates: i64,
    refused: i64,
    skipped: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    first_error: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    if args.to.is_some() {
        return republish(&client, args, printer).await;
    }
    let mut events = client.replay_as(args.request()).await?;
    printer.heading(HEADER)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(replayed) = events.next().await else {
            break;
        };
        if let Some(event) = replayed?.event {
            printer.one(&EventView::from(&event), || line(&event))?;
            left -= 1;
        }
    }
    Ok(())
}

async fn republish(client: &Client, args: Args, printer: &Printer) -> Result<(), Failure> {
    let shift_ms = args.shift.unwrap_or_default().as_millis();
    let request = RepublishRequest {
        range: Some(args.request()),
        target_topic: args.to.unwrap_or_default(),
        shift_ms: i64::try_from(shift_ms).unwrap_or(i64::MAX),
        id_prefix: args.id_prefix.unwrap_or_default(),
    };
    let mut progress = client.republish(request).await?;
    let mut counts = Republished::default();
    while let Some(next) = progress.next().await {
        let next = next?;
        counts = Republished {
            read: next.read,
            published: next.published,
            duplicates: next.duplicates,
            refused: next.refused,
            skipped: next.skipped,
            first_error: next.first_error,
        };
    }
    printer.whole(&counts, || {
        let mut table = table(["READ", "PUBLISHED", "DUPLICATES", "REFUSED", "SKIPPED"]);
        table.add_row([
            counts.read.to_string(),
            counts.published.to_string(),
            counts.duplicates.to_string(),
            counts.refused.to_string(),
            counts.skipped.to_string(),
        ]);
        table
    })?;
    Ok(())
}

const HEADER: &str =
    "    OFFSET  DUE                       ID                                PAYLOAD";

fn line(event: &Event) -> String {
    format!(
        "{:>10}  {:<24}  {:<32}  {}",
        event.offset,
        show_time_ms(event.schedule_ts),
        one_line(event.message_id.as_bytes()),
        one_line(&event.payload),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request(line: &str) -> Option<ReplayRequest> {
        let line = format!("replay {line}");
        let parsed = Line::try_parse_from(line.split_whitespace()).ok()?;
        Some(parsed.args.request())
    }

    #[test]
    fn a_range_is_of_offsets_or_of_times() {
        let offsets = |start_offset, count| {
            Some(ReplayRequest {
                start_offset,
                count,
                ..ReplayRequest::default()
            })
        };
        let times = |start_ts, end_ts| {
            Some(ReplayRequest {
                start_ts,
                end_ts,
                ..ReplayRequest::default()
            })
        };
        assert_eq!(request(""), offsets(0, 0));
        assert_eq!(request("--from 5 --count 2"), offsets(5, 2));
        assert_eq!(request("--since 7"), times(7, 0));
        assert_eq!(request("--until 9"), times(1, 9));
        assert_eq!(request("t --since 7 --from 1"), None);
        let by_fire = request("t --by fire --key k --rate 5 --speed-up 2").unwrap();
        assert_eq!(by_fire.order(), ReplayOrder::ReplayByFire);
        assert_eq!((by_fire.start_ts, by_fire.key.as_str()), (0, "k"));
        assert_eq!((by_fire.events_per_second, by_fire.time_factor), (5.0, 2.0));
        assert_eq!(request("t --to u"), None);
        assert!(request("t --to u --id-prefix x --shift 1h").is_some());
    }

    #[test]
    fn columns_stand_below_their_names() {
        let event = Event {
            message_id: "id".into(),
            payload: "text".into(),
            ..Event::default()
        };
        let line = line(&event);
        assert_eq!(line.find("id"), HEADER.find("ID"));
        assert_eq!(line.find("text"), HEADER.find("PAYLOAD"));
    }
}
