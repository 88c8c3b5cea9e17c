//! `chronosctl replay`

use chronos_client::{Event, ReplayRange};
use futures::StreamExt;

use super::connect;
use crate::cli::Connect;
use crate::event_view::EventView;
use crate::exit::Failure;
use crate::payload::one_line;
use crate::printer::Printer;
use crate::when::{parse_time_ms, show_time_ms};

const EXAMPLES: &str = "\
Examples:
  chronosctl replay                                    # the first 1000 events of partition 0
  chronosctl replay reminders --partition 2 --from 500 --count 10
  chronosctl replay reminders --since 2026-12-24T00:00:00Z --until 2026-12-25T00:00:00Z
  chronosctl replay -o json | jq -r .message_id";

/// Read stored events again, fired or not, in the order of the log. No group is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topic; empty means every topic.
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,
    /// Partition to read.
    #[arg(long, default_value_t = 0)]
    partition: u32,
    /// First offset.
    #[arg(long, default_value_t = 0, value_name = "OFFSET", conflicts_with_all = ["since", "until"])]
    from: u64,
    /// How many events.
    #[arg(long, default_value_t = 1000, value_name = "N", conflicts_with_all = ["since", "until"], value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Only events due at this time or later: RFC 3339, or Unix time in ms.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    since: Option<i64>,
    /// Only events due at this time or earlier; now if not given.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    until: Option<i64>,
}

impl Args {
    fn range(&self) -> ReplayRange {
        if self.since.is_none() && self.until.is_none() {
            return ReplayRange::Offsets {
                start: self.from,
                count: self.count,
            };
        }
        ReplayRange::Times {
            start_ms: self.since.unwrap_or(1),
            end_ms: self.until.unwrap_or(0),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    let mut events = client
        .replay(&args.topic, args.partition, args.range())
        .await?;
    printer.heading(HEADER)?;
    while let Some(event) = events.next().await {
        let event = event?;
        printer.one(&EventView::from(&event), || line(&event))?;
    }
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

    fn range(line: &str) -> Option<ReplayRange> {
        let line = format!("replay {line}");
        let parsed = Line::try_parse_from(line.split_whitespace()).ok()?;
        Some(parsed.args.range())
    }

    #[test]
    fn a_range_is_of_offsets_or_of_times() {
        let offsets = |start, count| Some(ReplayRange::Offsets { start, count });
        let times = |start_ms, end_ms| Some(ReplayRange::Times { start_ms, end_ms });
        assert_eq!(range(""), offsets(0, 1000));
        assert_eq!(range("t --from 5 --count 2"), offsets(5, 2));
        assert_eq!(range("t --since 7"), times(7, 0));
        assert_eq!(range("t --until 9"), times(1, 9));
        assert_eq!(range("t --since 7 --from 1"), None);
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
