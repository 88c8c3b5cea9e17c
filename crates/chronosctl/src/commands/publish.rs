//! `chronosctl publish`

use chronos_client::{
    Client, Error, ExistingEvent, IfPast, NewEvent, PublishAnswer, PublishOptions, now_ms,
    unique_id,
};
use clap::ValueEnum;
use comfy_table::Cell;
use futures::{StreamExt, stream};
use serde::Serialize;
use std::time::Duration;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::payload::Payload;
use crate::printer::{Printer, table, verdict};
use crate::template;
use crate::when::{parse_bound_ms, parse_duration, parse_span, parse_time_ms, show_time_ms};

/// Publishes under way at a time.
const IN_FLIGHT: usize = 64;
/// Most events that are shown in one table.
const CHUNK_EVENTS: u64 = 1000;

const EXAMPLES: &str = "\
Examples:
  chronosctl publish reminders --payload 'call back' --in 10s
  chronosctl publish reminders --id call-17 --payload @letter.json --at 2026-12-24T18:00:00Z
  echo hello | chronosctl publish greetings
  chronosctl publish ticks --count 3 --id 'tick-{{ n }}' --payload 'tick {{ n }}' --in 1s
  chronosctl publish orders --meta partition_key=customer-9 --payload x -o json
  chronosctl publish offers --payload x --after 10m --ttl 1h --priority 9
  chronosctl publish alarms --payload x --at 2026-12-24T18:00:00Z --if-past reject";

/// Store events to be delivered now or later.
///
/// Exits with 4 when an event of the same id was stored before.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topic, up to 255 bytes. It exists on first use.
    topic: String,
    /// Id of the event, 1 to 128 bytes; a fresh one if not given. With --count it holds {{ n }}, the event's number.
    #[arg(long)]
    id: Option<String>,
    /// Payload: text, @FILE, or - for stdin. Without it, stdin. In text, {{ n }} is the number.
    #[arg(long, short)]
    payload: Option<String>,
    /// When to deliver: RFC 3339, or Unix time in ms. Without --at and --in: now.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms, conflicts_with_all = ["in_", "after"], allow_hyphen_values = true)]
    at: Option<i64>,
    /// How long from now to deliver, such as 10s or 1h30m.
    #[arg(long = "in", id = "in_", value_name = "DURATION", value_parser = parse_duration)]
    in_: Option<Duration>,
    /// The same, counted by the server's clock from when it took the event.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "in_")]
    after: Option<Duration>,
    /// Do not deliver after this time: RFC 3339, or Unix time in ms.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms, conflicts_with = "ttl")]
    expires_at: Option<i64>,
    /// Do not deliver later than this after the time of delivery, by this machine's clock.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    ttl: Option<Duration>,
    /// 0 to 9: higher goes first among events that are due in the same millisecond.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=9), value_name = "N")]
    priority: u8,
    /// What the server does when the time of delivery has passed.
    #[arg(long, value_enum, default_value_t = Past::Now, value_name = "WHAT")]
    if_past: Past,
    /// A pair of meta; may be repeated. partition_key routes the event.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_pair)]
    meta: Vec<(String, String)>,
    /// How many events to publish, numbered from 1.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Store the event even if its id is known.
    #[arg(long)]
    allow_duplicate: bool,
}

/// What to do with an event that is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Past {
    /// Deliver it now.
    Now,
    /// Refuse it.
    Reject,
    /// Do not store it, and count that as done.
    Drop,
}

impl From<Past> for IfPast {
    fn from(past: Past) -> Self {
        match past {
            Past::Now => Self::Now,
            Past::Reject => Self::Reject,
            Past::Drop => Self::Drop,
        }
    }
}

/// What became of one event.
#[derive(Debug, Serialize)]
struct Outcome {
    message_id: String,
    topic: String,
    schedule_ts: i64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The event that has the id of a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    existing: Option<Existing>,
}

impl Outcome {
    /// The outcome for people: what went wrong, and of a duplicate where the id is known.
    fn words(&self) -> String {
        let words = self.error.as_deref().unwrap_or(self.outcome);
        match &self.existing {
            Some(existing) => format!("{words}, {}", existing.words()),
            None => words.to_string(),
        }
    }
}

/// An event that was there before, by the names of the wire.
#[derive(Debug, Serialize)]
struct Existing {
    partition_id: i32,
    offset: i64,
    schedule_ts: i64,
    version: i64,
    fired: bool,
    cancelled: bool,
}

impl From<ExistingEvent> for Existing {
    fn from(event: ExistingEvent) -> Self {
        Self {
            partition_id: event.partition_id,
            offset: event.offset,
            schedule_ts: event.schedule_ts,
            version: event.version,
            fired: event.fired,
            cancelled: event.cancelled,
        }
    }
}

impl Existing {
    fn words(&self) -> String {
        let state = match (self.cancelled, self.fired) {
            (true, _) => ", cancelled",
            (false, true) => ", fired",
            (false, false) => "",
        };
        let due = show_time_ms(self.schedule_ts);
        format!(
            "known as {}/{}, due {due}{state}",
            self.partition_id, self.offset
        )
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    if args.count > 1 && args.id.as_deref().is_some_and(|id| !template::counts(id)) {
        return Err(Failure::Usage(
            "--count above 1 needs {{n}} in --id, or every event would have the same one".into(),
        ));
    }
    let payload = Payload::read(args.payload.as_deref())?;
    let client = connect(to).await?;
    let schedule_ts = schedule_ts(&args, now_ms());
    let mut first_error = None;
    let mut published = stream::iter(1..=args.count)
        .map(|n| publish(&client, &args, &payload, schedule_ts, n))
        .buffered(IN_FLIGHT)
        .chunks(CHUNK_EVENTS as usize);
    while let Some(chunk) = published.next().await {
        let mut outcomes = Vec::with_capacity(chunk.len());
        for (outcome, error) in chunk {
            outcomes.push(outcome);
            first_error = first_error.or(error);
        }
        show(&outcomes, args.count == 1, printer)?;
    }
    match first_error {
        None => Ok(()),
        Some(error) if args.count == 1 => Err(error.into()),
        Some(error) => Err(Failure::Partly(error)),
    }
}

async fn publish(
    client: &Client,
    args: &Args,
    payload: &Payload,
    schedule_ts: i64,
    n: u64,
) -> (Outcome, Option<Error>) {
    let message_id = match &args.id {
        Some(id) => template::fill(id, n),
        None => unique_id(),
    };
    let mut event =
        NewEvent::new(&args.topic, &message_id, payload.fill(n)).priority(args.priority);
    event = match args.after {
        Some(delay) => event.after_arrival(delay),
        None => event.at_ms(schedule_ts),
    };
    if let Some(expires_at) = expires_at(args, schedule_ts) {
        event = event.expires_at_ms(expires_at);
    }
    for (key, value) in &args.meta {
        event = event.meta(key, template::fill(value, n));
    }
    let options = PublishOptions {
        allow_duplicate: args.allow_duplicate,
        if_past: args.if_past.into(),
    };
    let mut outcome = Outcome {
        message_id,
        topic: args.topic.clone(),
        schedule_ts,
        outcome: "stored",
        partition_id: None,
        offset: None,
        error: None,
        existing: None,
    };
    let error = match client.publish_in_full(event, options).await {
        Ok(PublishAnswer::Stored {
            partition_id,
            offset,
            schedule_ts,
        }) => {
            outcome.partition_id = Some(partition_id);
            outcome.offset = Some(offset);
            // Counted by the server's clock, if it was to wait from its arrival on.
            if schedule_ts > 0 {
                outcome.schedule_ts = schedule_ts;
            }
            None
        }
        Ok(PublishAnswer::Known {
            existing,
            retried_uncertain,
        }) => {
            outcome.existing = existing.map(Existing::from);
            outcome.outcome = match retried_uncertain {
                true => "stored_earlier",
                false => "duplicate",
            };
            (!retried_uncertain).then_some(Error::Duplicate)
        }
        Ok(PublishAnswer::Dropped) => {
            outcome.outcome = "dropped";
            None
        }
        Err(error) => {
            outcome.outcome = "failed";
            Some(error)
        }
    };
    outcome.error = error.as_ref().map(ToString::to_string);
    (outcome, error)
}

/// The time asked for; the start of the command counts, so that events of one command are
/// due together.
fn schedule_ts(args: &Args, now_ms: i64) -> i64 {
    match (args.at, args.in_.or(args.after)) {
        (Some(at), _) => at,
        (None, Some(delay)) => {
            now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
        }
        (None, None) => now_ms,
    }
}

/// When the event is too late. A time to live counts from the time of delivery.
fn expires_at(args: &Args, schedule_ts: i64) -> Option<i64> {
    let ttl_ms = |ttl: Duration| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    args.expires_at
        .or(args.ttl.map(|ttl| schedule_ts.saturating_add(ttl_ms(ttl))))
}

fn show(outcomes: &[Outcome], single: bool, printer: &Printer) -> Result<(), Failure> {
    let rows = || {
        let mut table = table(["ID", "PARTITION", "OFFSET", "DUE", "OUTCOME"]);
        for outcome in outcomes {
            let number = |n: Option<u64>| n.map_or("-".to_string(), |n| n.to_string());
            table.add_row([
                Cell::new(&outcome.message_id),
                Cell::new(number(outcome.partition_id.map(u64::from))),
                Cell::new(number(outcome.offset)),
                Cell::new(show_time_ms(outcome.schedule_ts)),
                verdict(outcome.error.is_none(), &outcome.words()),
            ]);
        }
        table
    };
    match outcomes {
        [outcome] if single => printer.whole(outcome, rows)?,
        outcomes => printer.each(outcomes, rows)?,
    }
    Ok(())
}

pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(format!("publish {line}").split(' '))
            .unwrap()
            .args
    }

    #[test]
    fn the_time_is_now_or_what_was_asked() {
        assert_eq!(schedule_ts(&args("t"), 1000), 1000);
        assert_eq!(schedule_ts(&args("t --in 1.5s"), 1000), 2500);
        assert_eq!(schedule_ts(&args("t --at 77"), 1000), 77);
        assert_eq!(
            schedule_ts(&args("t --at 1970-01-01T00:00:02Z"), 1000),
            2000
        );
    }

    #[test]
    fn options_say_when_it_is_too_late_and_who_goes_first() {
        let args_of = args("t --after 10s --ttl 5s --priority 9 --if-past drop");
        let schedule_ts = schedule_ts(&args_of, 1000);
        assert_eq!(expires_at(&args_of, schedule_ts), Some(16_000));
        assert_eq!((args_of.priority, args_of.if_past), (9, Past::Drop));
        assert_eq!(expires_at(&args("t --expires-at 77"), 1), Some(77));
        assert_eq!(expires_at(&args("t"), 1), None);
        for line in [
            "t --after 1s --in 1s",
            "t --after 1s --at 5",
            "t --priority 10",
        ] {
            assert!(Line::try_parse_from(format!("publish {line}").split(' ')).is_err());
        }
    }

    #[test]
    fn a_duplicate_says_where_its_id_is_known() {
        let existing = Existing::from(ExistingEvent {
            partition_id: 2,
            offset: 17,
            schedule_ts: 1_700_000_000_000,
            cancelled: true,
            ..ExistingEvent::default()
        });
        let outcome = Outcome {
            message_id: "a".into(),
            topic: "t".into(),
            schedule_ts: 1,
            outcome: "duplicate",
            partition_id: None,
            offset: None,
            error: Some("duplicate message_id".into()),
            existing: Some(existing),
        };
        assert_eq!(
            outcome.words(),
            "duplicate message_id, known as 2/17, due 2023-11-14T22:13:20.000Z, cancelled"
        );
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(json["existing"]["offset"], 17);
        assert_eq!(json["error"], "duplicate message_id");
    }

    #[test]
    fn pairs_split_at_the_first_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
        assert_eq!(args("t --meta a=1 --meta b=2").meta.len(), 2);
    }

    #[tokio::test]
    async fn many_events_need_many_ids() {
        let printer = Printer::new(crate::printer::Format::Json, false);
        let cli = Cli::try_parse_from(["chronosctl", "--addr", "127.0.0.1:1", "topic", "list"]);
        let to = cli.unwrap().connect;
        let failure = run(args("t --count 2 --id same --payload x"), &to, &printer).await;
        assert!(matches!(failure, Err(Failure::Usage(_))));
    }
}
