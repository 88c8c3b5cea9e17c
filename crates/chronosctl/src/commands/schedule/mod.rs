//! `chronosctl schedule`: one file per kind of verb.

mod change;
mod graph;
mod list;

use chronos_client::schedule::{EventRef, PendingFilter, ScheduleOutcome, ScheduleState};
use chronos_client::{Client, Error};
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;
use std::collections::BTreeMap;

use super::connect;
use crate::connect::Connect;
use crate::event_view::meta_rows;
use crate::exit::Failure;
use crate::payload::{shown, text_or_base64};
use crate::printer::Printer;
use crate::when::{parse_bound_ms, show_time_ms};

const GET_EXAMPLES: &str = "\
Examples:
  chronosctl schedule get reminders invoice-17
  chronosctl schedule get reminders invoice-17 -o json
  chronosctl schedule get --partition 2 --offset 500";
const CANCEL_EXAMPLES: &str = "\
Examples:
  chronosctl schedule cancel reminders invoice-17
  chronosctl schedule cancel reminders invoice-17 --if-version 2
  chronosctl schedule cancel reminders --prefix invoice- --dry-run
  chronosctl schedule cancel reminders --all --from 2026-12-24T00:00:00Z --to 2026-12-25T00:00:00Z";
const RESCHEDULE_EXAMPLES: &str = "\
Examples:
  chronosctl schedule reschedule reminders invoice-17 --in 2h
  chronosctl schedule reschedule reminders invoice-17 --at 2026-12-24T18:00:00Z
  chronosctl schedule reschedule reminders --key customer-9 --shift 1d
  chronosctl schedule reschedule reminders --all --shift -30m --dry-run";
const FIRE_EXAMPLES: &str = "\
Examples:
  chronosctl schedule fire reminders invoice-17";
const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl schedule list reminders
  chronosctl schedule list reminders --to 2026-12-24T00:00:00Z --limit 1000
  chronosctl schedule list reminders --prefix invoice- -o json | jq -r .message_id";
const GRAPH_EXAMPLES: &str = "\
Examples:
  chronosctl schedule graph reminders
  chronosctl schedule graph --to 2027-01-01T00:00:00Z --bucket 1d";
const COUNT_EXAMPLES: &str = "\
Examples:
  chronosctl schedule count
  chronosctl schedule count reminders -o json";

/// Look at what is scheduled: find, list, count, cancel, move and fire.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say how an event stands. Exits with 3 when there is none.
    #[command(after_help = GET_EXAMPLES)]
    Get(Named),
    /// Make sure that an event, or all that match, are never delivered. Exits with 4 when it is too
    /// late.
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(change::Cancel),
    /// Give an event, or all that match, another time. Exits with 4 when it is too late.
    #[command(after_help = RESCHEDULE_EXAMPLES)]
    Reschedule(change::Reschedule),
    /// Let an event fall due now. Exits with 4 when it was fired before.
    #[command(after_help = FIRE_EXAMPLES)]
    Fire(change::Fire),
    /// List pending events in the order in which they fall due.
    #[command(after_help = LIST_EXAMPLES)]
    List(list::Args),
    /// Draw when pending events fall due.
    #[command(after_help = GRAPH_EXAMPLES)]
    Graph(graph::Args),
    /// Count pending events by topic.
    #[command(after_help = COUNT_EXAMPLES)]
    Count(list::Count),
}

/// One event by its name or its place.
#[derive(Debug, clap::Args)]
struct Named {
    /// Topic of the event.
    #[arg(required_unless_present = "offset", conflicts_with = "offset")]
    topic: Option<String>,
    /// Message id of the event.
    #[arg(required_unless_present = "offset", conflicts_with = "offset")]
    id: Option<String>,
    /// The partition_key that it was published with; only saves the server a search.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        conflicts_with = "offset"
    )]
    partition_key: String,
    #[command(flatten)]
    place: Place,
}

impl Named {
    fn event(&self) -> EventRef {
        self.place
            .event()
            .unwrap_or_else(|| reference(&self.topic, &self.id, &self.partition_key))
    }
}

/// Where an event is. It needs no name then, and may have none that is known.
#[derive(Debug, clap::Args)]
struct Place {
    /// In place of topic and id: the partition that holds the event.
    #[arg(long, value_name = "N", requires = "offset", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// With --partition: the event's offset.
    #[arg(long, value_name = "N", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
}

impl Place {
    fn event(&self) -> Option<EventRef> {
        Some(EventRef {
            partition_id: Some(self.partition?),
            offset: Some(self.offset?),
            ..EventRef::default()
        })
    }
}

fn reference(topic: &Option<String>, id: &Option<String>, partition_key: &str) -> EventRef {
    EventRef {
        topic: topic.clone().unwrap_or_default(),
        message_id: id.clone().unwrap_or_default(),
        partition_key: partition_key.to_string(),
        ..EventRef::default()
    }
}

/// Which pending events of a topic.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only events due at this time or later: RFC 3339, or Unix time in ms.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    from: Option<i64>,
    /// Only events due before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    to: Option<i64>,
    /// Only events with this routing key: partition_key, or the id of an event without one.
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// Only events whose id begins like this.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
}

impl Filter {
    fn of(&self, topic: &str) -> Option<PendingFilter> {
        Some(PendingFilter {
            topic: topic.to_string(),
            from_ts: self.from.unwrap_or(0),
            to_ts: self.to.unwrap_or(0),
            key: self.key.clone(),
            message_id_prefix: self.prefix.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.key.is_empty() && self.prefix.is_empty()
    }
}

/// A scheduled event in JSON and YAML.
#[derive(Debug, Serialize)]
struct View {
    topic: String,
    message_id: String,
    state: &'static str,
    schedule_ts: i64,
    published_schedule_ts: i64,
    version: i64,
    partition_id: i32,
    offset: i64,
    created_ts: i64,
    changed_ts: i64,
    payload_bytes: i64,
    /// Only where one event is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    meta: BTreeMap<String, String>,
}

impl From<chronos_client::schedule::ScheduledEvent> for View {
    fn from(event: chronos_client::schedule::ScheduledEvent) -> Self {
        let (payload, payload_base64) = match event.payload.is_empty() {
            true => (None, None),
            false => text_or_base64(&event.payload),
        };
        Self {
            state: match event.state() {
                ScheduleState::Unspecified => "unknown",
                ScheduleState::StatePending => "pending",
                ScheduleState::StateFired => "fired",
                ScheduleState::StateCancelled => "cancelled",
            },
            topic: event.topic,
            message_id: event.message_id,
            schedule_ts: event.schedule_ts,
            published_schedule_ts: event.published_schedule_ts,
            version: event.version,
            partition_id: event.partition_id,
            offset: event.offset,
            created_ts: event.created_ts,
            changed_ts: event.changed_ts,
            payload_bytes: event.payload_bytes,
            payload,
            payload_base64,
            meta: event.meta,
        }
    }
}

/// Turns an outcome that is a failure into one; the exit code tells which.
fn failed(outcome: ScheduleOutcome, message: String) -> Result<(), Failure> {
    match outcome {
        ScheduleOutcome::Found
        | ScheduleOutcome::Cancelled
        | ScheduleOutcome::Rescheduled
        | ScheduleOutcome::Fired => Ok(()),
        ScheduleOutcome::NotFound => Err(Error::NotFound(message).into()),
        ScheduleOutcome::AlreadyFired
        | ScheduleOutcome::AlreadyCancelled
        | ScheduleOutcome::VersionMismatch
        | ScheduleOutcome::Duplicate => Err(Error::AlreadyExists(message).into()),
        ScheduleOutcome::Unspecified => {
            Err(Error::Unexpected("an outcome that this build does not know").into())
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    match args.verb {
        Verb::Get(named) => get(&client, &named, printer).await,
        Verb::Cancel(args) => args.run(&client, printer).await,
        Verb::Reschedule(args) => args.run(&client, printer).await,
        Verb::Fire(args) => args.run(&client, printer).await,
        Verb::List(args) => list::run(args, &client, printer).await,
        Verb::Graph(args) => graph::run(args, &client, printer).await,
        Verb::Count(args) => list::count(args, &client, printer).await,
    }
}

async fn get(client: &Client, named: &Named, printer: &Printer) -> Result<(), Failure> {
    let request = chronos_client::schedule::GetScheduledRequest {
        event: Some(named.event()),
        with_payload: true,
    };
    let answer = client.scheduled(request).await?;
    let outcome = answer.outcome();
    failed(outcome, answer.message)?;
    let Some(event) = answer.event else {
        return Err(Error::Unexpected("an event that was found is missing").into());
    };
    let view = View::from(event);
    printer.whole(&view, || one_table(&view))?;
    Ok(())
}

fn one_table(view: &View) -> Table {
    let mut table = crate::printer::table(["FIELD", "VALUE"]);
    let time = |ms| match ms {
        0 => "never".to_string(),
        ms => show_time_ms(ms),
    };
    table.add_rows([
        ["topic", &view.topic],
        ["id", &view.message_id],
        ["state", view.state],
        ["due", &time(view.schedule_ts)],
        ["published for", &time(view.published_schedule_ts)],
        ["version", &view.version.to_string()],
        ["place", &format!("{}/{}", view.partition_id, view.offset)],
        ["created", &time(view.created_ts)],
        ["changed", &time(view.changed_ts)],
        ["payload bytes", &view.payload_bytes.to_string()],
        ["payload", &shown(view.payload.as_deref())],
    ]);
    table.add_rows(meta_rows(&view.meta));
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn verb(line: &str) -> Result<Verb, clap::Error> {
        let line = format!("chronosctl schedule {line}");
        let cli = Cli::try_parse_from(line.split(' '))?;
        match cli.command {
            Command::Schedule(args) => Ok(args.verb),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_named_or_placed() {
        let Ok(Verb::Get(named)) = verb("get t a --partition-key k") else {
            panic!("no name");
        };
        let event = named.event();
        assert_eq!(
            (event.topic.as_str(), event.message_id.as_str()),
            ("t", "a")
        );
        assert_eq!((event.partition_key.as_str(), event.offset), ("k", None));
        let Ok(Verb::Get(placed)) = verb("get --partition 2 --offset 0") else {
            panic!("no place");
        };
        let event = placed.event();
        assert_eq!((event.partition_id, event.offset), (Some(2), Some(0)));
        assert!(verb("cancel --partition 2 --offset 5 --if-version 1").is_ok());
        assert!(verb("reschedule --partition 2 --offset 5 --in 1h").is_ok());
        assert!(verb("fire --partition 2 --offset 5").is_ok());
        for line in [
            "get t",
            "get",
            "get --partition 2",
            "get --offset 5",
            "get t a --partition 2 --offset 5",
            "get --partition 2 --offset -1",
            "cancel",
            "cancel --all",
            "cancel t --partition 2 --offset 5",
            "cancel t --all --if-version 1",
            "cancel --partition 2 --offset 5 --all",
            "reschedule --partition 2 --offset 5 --shift 1h",
        ] {
            assert!(verb(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_table_of_an_event_shows_payload_and_metadata() {
        let view = View::from(chronos_client::schedule::ScheduledEvent {
            payload: "call back".into(),
            payload_bytes: 9,
            meta: BTreeMap::from([("k".to_string(), "v".to_string())]),
            ..Default::default()
        });
        let text = one_table(&view).to_string();
        for part in ["call back", "meta k", "never"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
