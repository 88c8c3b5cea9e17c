//! `chronosctl replay`

use chronos_client::{
    Client, Error, Event, ReplayOrder, ReplayRequest, RepublishProgress, RepublishRequest,
    partition_in_topic,
};
use clap::ValueEnum;
use futures::StreamExt;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::event_view::EventView;
use crate::exit::Failure;
use crate::payload::one_line;
use crate::printer::{Printer, more_follow, more_may_follow, table};
use crate::when::{parse_bound_ms, parse_duration, show_time_ms};

/// Events of a replay by offset that names no count.
const DEFAULT_COUNT: u64 = 1000;

const EXAMPLES: &str = "\
Examples:
  chronosctl replay                                    # the first 1000 events of all partitions
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
    /// Partition to read. Without it: that of --key in the topic, or else all, one after the other.
    #[arg(long)]
    partition: Option<u32>,
    /// The order, in each partition.
    #[arg(long, value_enum, default_value_t = By::Offset)]
    by: By,
    /// First offset in --partition, by offset.
    #[arg(long, value_name = "OFFSET", requires = "partition", conflicts_with_all = ["since", "until"])]
    from: Option<u64>,
    /// How many events, of all partitions together; 1000 by offset if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only events of this time or later: RFC 3339, or Unix time in ms. By fire it is when they fell due, else when they are scheduled.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    since: Option<i64>,
    /// Only events of this time or earlier; by offset now, if --since is given without it.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
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
    /// Refuses what would be read otherwise than it is meant.
    fn check(&self) -> Result<(), Failure> {
        if self.from.is_some() && self.by != By::Offset {
            return Err(Failure::Usage(
                "--from is an offset: use it with --by offset, or --since for a time".into(),
            ));
        }
        if self.to.is_some() && self.count.is_some() && self.by == By::Offset && self.is_timed() {
            return Err(Failure::Usage(
                "by offset, --since and --until take every event of their range: use --count with \
                 --by schedule or --by fire"
                    .into(),
            ));
        }
        Ok(())
    }

    fn is_timed(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// How many events at most, of all partitions together.
    fn most(&self) -> Option<u64> {
        match self.by {
            By::Offset if !self.is_timed() => Some(self.count.unwrap_or(DEFAULT_COUNT)),
            _ => self.count,
        }
    }

    fn request(&self, partition: u32, most: Option<u64>) -> ReplayRequest {
        ReplayRequest {
            topic: self.topic.clone(),
            partition_id: i32::try_from(partition).unwrap_or(i32::MAX),
            // Nothing is scheduled at 0, which would ask for offsets.
            start_ts: self.since.unwrap_or(0).max(i64::from(self.is_timed())),
            end_ts: self.until.unwrap_or(0),
            start_offset: i64::try_from(self.from.unwrap_or(0)).unwrap_or(i64::MAX),
            count: most.map_or(0, |most| i64::try_from(most).unwrap_or(i64::MAX)),
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

    /// The partitions to read, in turn.
    async fn partitions(&self, client: &Client) -> Result<Vec<u32>, Failure> {
        let count = client.partition_count();
        if let Some(partition) = self.partition {
            return Ok(vec![partition]);
        }
        // A topic may have partitions of its own, so a key alone does not say where its events are.
        if self.key.is_empty() || self.topic.is_empty() {
            return Ok((0..count).collect());
        }
        let spread = match client.topic(&self.topic).await {
            Ok(topic) => topic.settings.and_then(|settings| settings.partitions),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let spread = spread.map(|spread| u32::try_from(spread).unwrap_or(1));
        let own = partition_in_topic(&self.topic, &self.key, spread, count);
        Ok(vec![own])
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

impl Republished {
    /// Adds what came of one more partition.
    fn add(&mut self, partition: RepublishProgress) {
        self.read += partition.read;
        self.published += partition.published;
        self.duplicates += partition.duplicates;
        self.refused += partition.refused;
        self.skipped += partition.skipped;
        if self.first_error.is_empty() {
            self.first_error = partition.first_error;
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    args.check()?;
    let client = connect(to).await?;
    let partitions = args.partitions(&client).await?;
    if args.to.is_some() {
        return republish(&client, args, &partitions, printer).await;
    }
    printer.heading(HEADER)?;
    let mut left = args.most();
    for partition in partitions {
        // One more than is shown tells whether there is more. Who names a count knows.
        let asked = match args.count {
            None => left.map(|left| left.saturating_add(1)),
            Some(_) => left,
        };
        let mut events = client.replay_as(args.request(partition, asked)).await?;
        while let Some(replayed) = events.next().await {
            let Some(event) = replayed?.event else {
                continue;
            };
            if left == Some(0) {
                more_follow("--count");
                return Ok(());
            }
            printer.one(&EventView::from(&event), || line(&event))?;
            left = left.map(|left| left - 1);
            if left == Some(0) && args.count.is_some() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn republish(
    client: &Client,
    args: Args,
    partitions: &[u32],
    printer: &Printer,
) -> Result<(), Failure> {
    let shift_ms = args.shift.unwrap_or_default().as_millis();
    let mut counts = Republished::default();
    let mut left = args.most();
    for partition in partitions {
        let request = RepublishRequest {
            range: Some(args.request(*partition, left)),
            target_topic: args.to.clone().unwrap_or_default(),
            shift_ms: i64::try_from(shift_ms).unwrap_or(i64::MAX),
            id_prefix: args.id_prefix.clone().unwrap_or_default(),
        };
        let mut progress = client.republish(request).await?;
        let mut last = RepublishProgress::default();
        while let Some(next) = progress.next().await {
            last = next?;
        }
        let read = u64::try_from(last.read).unwrap_or(0);
        counts.add(last);
        left = left.map(|left| left.saturating_sub(read));
        if left == Some(0) {
            if args.count.is_none() {
                more_may_follow("--count");
            }
            break;
        }
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
    "PARTITION/OFFSET  DUE                       ID                                PAYLOAD";

fn line(event: &Event) -> String {
    format!(
        "{:<16}  {:<24}  {:<32}  {}",
        format!("{}/{}", event.partition_id, event.offset),
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

    fn args(line: &str) -> Option<Args> {
        let line = format!("replay {line}");
        let parsed = Line::try_parse_from(line.split_whitespace()).ok()?;
        Some(parsed.args)
    }

    fn request(line: &str) -> Option<ReplayRequest> {
        let args = args(line)?;
        Some(args.request(args.partition.unwrap_or(0), args.most()))
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
        assert_eq!(request(""), offsets(0, 1000));
        assert_eq!(request("--partition 0 --from 5 --count 2"), offsets(5, 2));
        assert_eq!(request("--since 7"), times(7, 0));
        assert_eq!(request("--until 9"), times(1, 9));
        assert_eq!(request("t --partition 0 --since 7 --from 1"), None);
        let by_fire = request("t --by fire --key k --rate 5 --speed-up 2").unwrap();
        assert_eq!(by_fire.order(), ReplayOrder::ReplayByFire);
        assert_eq!((by_fire.start_ts, by_fire.key.as_str()), (0, "k"));
        assert_eq!((by_fire.events_per_second, by_fire.time_factor), (5.0, 2.0));
        assert_eq!(request("t --to u"), None);
        assert!(request("t --to u --id-prefix x --shift 1h").is_some());
    }

    #[test]
    fn an_offset_is_one_of_a_partition() {
        assert!(args("t --from 5").is_none());
        assert!(args("t --since 0").is_none() && args("t --until 0").is_none());
        for (line, makes_sense) in [
            ("t --partition 1 --from 5", true),
            ("t --partition 1 --from 5 --by schedule", false),
            ("t --partition 1 --from 0 --by fire", false),
            ("t --since 5 --count 3", true),
            ("t --since 5 --count 3 --to u --id-prefix x", false),
            ("t --since 5 --count 3 --to u --id-prefix x --by fire", true),
        ] {
            let args = args(line).unwrap();
            assert_eq!(args.check().is_ok(), makes_sense, "{line}");
        }
    }

    #[test]
    fn counts_of_partitions_add_up() {
        let mut counts = Republished::default();
        for (read, first_error) in [(3, ""), (4, "too long"), (5, "also")] {
            counts.add(RepublishProgress {
                read,
                published: 1,
                first_error: first_error.into(),
                ..RepublishProgress::default()
            });
        }
        assert_eq!((counts.read, counts.published), (12, 3));
        assert_eq!(counts.first_error, "too long");
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
