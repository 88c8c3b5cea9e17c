//! `chronosctl dlq`

use chronos_client::{
    Client, DeadLetter, DeadLetterFilter, DeadLetterState, DiscardDeadLettersRequest,
    EditDeadLetterRequest, Error, ListDeadLettersRequest, MetaEdit, RedriveDeadLettersRequest,
    now_ms,
};
use clap::Subcommand;
use comfy_table::Table;
use futures::StreamExt;
use serde::Serialize;

use super::connect;
use super::publish::parse_pair;
use crate::connect::Connect;
use crate::event_view::EventView;
use crate::exit::Failure;
use crate::payload::{Payload, one_line};
use crate::printer::{Printer, more_follow, table};
use crate::when::{parse_bound_ms, show_time_ms};

const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl dlq list mailer
  chronosctl dlq list mailer --error 'no answer' --since 2026-12-24T00:00:00Z
  chronosctl dlq list mailer --key customer-9 -o json | jq -r .message_id";
const SHOW_EXAMPLES: &str = "\
Examples:
  chronosctl dlq show 0:3:17
  chronosctl dlq show 0:3:17 -o json | jq -r .event.payload";
const EDIT_EXAMPLES: &str = "\
Examples:
  chronosctl dlq edit 0:3:17 --payload @repaired.json
  chronosctl dlq edit 0:3:17 --meta retry-of=17 --meta partition_key=customer-9
  chronosctl dlq edit 0:3:17 --reset";
const REDRIVE_EXAMPLES: &str = "\
Examples:
  chronosctl dlq redrive 0:3:17 0:3:18
  chronosctl dlq redrive --group mailer --before now --error 'no answer' --dry-run
  chronosctl dlq redrive --group mailer --before now --error 'no answer' --rate 50";
const DISCARD_EXAMPLES: &str = "\
Examples:
  chronosctl dlq discard 0:3:17
  chronosctl dlq discard --group mailer --before 2026-12-24T00:00:00Z --dry-run";

/// Look at dead letters, edit, redrive and discard them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List a group's dead letters in the order in which they died.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Name of the group.
        group: String,
        #[command(flatten)]
        filter: Filter,
        /// Most letters to list.
        #[arg(long, default_value_t = 1000, value_name = "N")]
        limit: usize,
    },
    /// Show one dead letter and its event. Exits with 3 when there is none of that id.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Id of the letter.
        id: String,
    },
    /// Change what a redrive delivers; the stored event stays, and so does what other groups get.
    #[command(after_help = EDIT_EXAMPLES)]
    Edit {
        /// Id of the letter.
        id: String,
        /// New payload: text, @FILE, or - for stdin.
        #[arg(long, short)]
        payload: Option<String>,
        /// A pair of the new meta, which replaces all there was; may be repeated.
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_pair)]
        meta: Vec<(String, String)>,
        /// Take all meta away.
        #[arg(long, conflicts_with = "meta")]
        no_meta: bool,
        /// Take earlier edits back first.
        #[arg(long)]
        reset: bool,
    },
    /// Deliver letters to their group again, to no other. Ends when Ctrl-C is pressed; what was
    /// redriven stays so. Exits with 3 when some that are named do not exist.
    #[command(after_help = REDRIVE_EXAMPLES)]
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Letters per second, at most; without it, as fast as possible.
        #[arg(
            long,
            default_value_t = 0.0,
            hide_default_value = true,
            value_name = "N"
        )]
        rate: f64,
    },
    /// Forget letters for good. Exits with 3 when some that are named do not exist.
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard {
        #[command(flatten)]
        which: Which,
    },
}

/// What narrows a group's letters. It says nothing of letters that are named by their ids.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only events of this topic.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        requires = "group"
    )]
    topic: String,
    /// Only this partition.
    #[arg(long, requires = "group")]
    partition: Option<u32>,
    /// Only letters that died at this time or later: RFC 3339, Unix time in ms, or now.
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_now, requires = "group")]
    since: Option<i64>,
    /// Only letters that died before this time: RFC 3339, Unix time in ms, or now.
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_now, requires = "group")]
    before: Option<i64>,
    /// Only letters whose last error contains this. After an ack timeout it is "no answer within …",
    /// after a nack the one that the consumer gave.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT",
        requires = "group"
    )]
    error: String,
    /// Only events with this routing key: meta partition_key, or else the id.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        requires = "group"
    )]
    key: String,
}

/// Letters by name, or those that match.
#[derive(Debug, clap::Args)]
struct Which {
    /// Ids of letters.
    // Each by name: an argument that conflicts with one that is there need not be given, so `requires` of the
    // filters would not refuse them here.
    #[arg(
        required_unless_present = "group",
        conflicts_with_all = ["group", "topic", "partition", "since", "before", "error", "key"]
    )]
    ids: Vec<String>,
    /// Instead of ids: every letter of this group that matches. A bound in time is required.
    #[arg(long, requires = "before")]
    group: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
}

fn parse_time_or_now(text: &str) -> Result<i64, String> {
    match text {
        "now" => Ok(now_ms()),
        text => parse_bound_ms(text),
    }
}

impl Filter {
    fn of(self, group: String) -> DeadLetterFilter {
        DeadLetterFilter {
            consumer_group: group,
            topic: self.topic,
            partition_id: self
                .partition
                .map(|number| i32::try_from(number).unwrap_or(i32::MAX)),
            from_ts: self.since.unwrap_or(0),
            until_ts: self.before.unwrap_or(0),
            error_contains: self.error,
            key: self.key,
        }
    }
}

/// A letter in JSON and YAML.
#[derive(Debug, Serialize)]
struct View {
    id: String,
    consumer_group: String,
    state: &'static str,
    partition_id: i32,
    offset: i64,
    message_id: String,
    topic: String,
    key: String,
    schedule_ts: i64,
    attempts: i32,
    redrives: i32,
    last_error: String,
    first_failure_ts: i64,
    last_failure_ts: i64,
    edited: bool,
    payload_bytes: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    traceparent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unreadable: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventView>,
}

impl From<DeadLetter> for View {
    fn from(letter: DeadLetter) -> Self {
        Self {
            state: match letter.state() {
                DeadLetterState::DeadLetterRedriven => "redriven",
                DeadLetterState::DeadLetterDead | DeadLetterState::Unspecified => "dead",
            },
            event: letter.event.as_ref().map(EventView::from),
            id: letter.id,
            consumer_group: letter.consumer_group,
            partition_id: letter.partition_id,
            offset: letter.offset,
            message_id: letter.message_id,
            topic: letter.topic,
            key: letter.key,
            schedule_ts: letter.schedule_ts,
            attempts: letter.attempts,
            redrives: letter.redrives,
            last_error: letter.last_error,
            first_failure_ts: letter.first_failure_ts,
            last_failure_ts: letter.last_failure_ts,
            edited: letter.edited,
            payload_bytes: letter.payload_bytes,
            traceparent: letter.traceparent,
            unreadable: letter.unreadable,
        }
    }
}

/// What was done, in JSON and YAML.
#[derive(Debug, Serialize)]
struct Counts {
    matched: i64,
    done: i64,
    missing: i64,
    dry_run: bool,
}

impl Counts {
    /// An error when letters that were named are missing. Of those that matched a filter, some may
    /// always go away meanwhile.
    fn complete(&self, is_by_id: bool) -> Result<(), Failure> {
        if !is_by_id || self.missing == 0 {
            return Ok(());
        }
        let words = format!("{} of the letters named are not there", self.missing);
        Err(Error::NotFound(words).into())
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    match args.verb {
        Verb::List {
            group,
            filter,
            limit,
        } => list(&client, filter.of(group), limit, printer).await,
        Verb::Show { id } => {
            let view = View::from(client.dead_letter(&id).await?);
            Ok(printer.whole(&view, || one_table(&view))?)
        }
        Verb::Edit {
            id,
            payload,
            meta,
            no_meta,
            reset,
        } => {
            let payload = match payload {
                Some(payload) => Some(Payload::read(Some(&payload))?.fill(1).into()),
                None => None,
            };
            let request = EditDeadLetterRequest {
                id,
                payload,
                meta: (no_meta || !meta.is_empty()).then(|| MetaEdit {
                    meta: meta.into_iter().collect(),
                }),
                reset,
            };
            let view = View::from(client.edit_dead_letter(request).await?);
            Ok(printer.whole(&view, || one_table(&view))?)
        }
        Verb::Redrive { which, rate } => redrive(&client, which, rate, printer).await,
        Verb::Discard { which } => {
            let dry_run = which.dry_run;
            let is_by_id = !which.ids.is_empty();
            let response = client
                .discard_dead_letters(DiscardDeadLettersRequest {
                    filter: which.group.map(|group| which.filter.of(group)),
                    ids: which.ids,
                    dry_run,
                })
                .await?;
            let counts = Counts {
                matched: response.matched,
                done: response.discarded,
                missing: response.missing,
                dry_run,
            };
            printer.whole(&counts, || counts_table(&counts, "DISCARDED"))?;
            counts.complete(is_by_id)
        }
    }
}

async fn list(
    client: &Client,
    filter: DeadLetterFilter,
    limit: usize,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut request = ListDeadLettersRequest {
        filter: Some(filter),
        ..ListDeadLettersRequest::default()
    };
    let mut shown = 0;
    printer.heading(HEADER)?;
    loop {
        // One more than is shown tells whether there is more.
        let wanted = (limit - shown).saturating_add(1);
        request.page_size = i32::try_from(wanted).unwrap_or(i32::MAX);
        let page = client.dead_letters(request.clone()).await?;
        for letter in page.letters {
            if shown == limit {
                more_follow("--limit");
                return Ok(());
            }
            shown += 1;
            let view = View::from(letter);
            printer.one(&view, || line(&view))?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn redrive(
    client: &Client,
    which: Which,
    rate: f64,
    printer: &Printer,
) -> Result<(), Failure> {
    let dry_run = which.dry_run;
    let is_by_id = !which.ids.is_empty();
    let request = RedriveDeadLettersRequest {
        filter: which.group.map(|group| which.filter.of(group)),
        ids: which.ids,
        events_per_second: rate,
        dry_run,
    };
    let mut progress = client.redrive_dead_letters(request).await?;
    let mut counts = Counts {
        matched: 0,
        done: 0,
        missing: 0,
        dry_run,
    };
    loop {
        let next = tokio::select! {
            next = progress.next() => next,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(next) = next else { break };
        let next = next?;
        (counts.matched, counts.done, counts.missing) = (next.matched, next.redriven, next.missing);
    }
    printer.whole(&counts, || counts_table(&counts, "REDRIVEN"))?;
    counts.complete(is_by_id)
}

const HEADER: &str = "ID              DIED                      ATTEMPTS  MESSAGE ID                        LAST ERROR";

fn line(letter: &View) -> String {
    format!(
        "{:<14}  {:<24}  {:>8}  {:<32}  {}",
        letter.id,
        show_time_ms(letter.last_failure_ts),
        letter.attempts,
        one_line(letter.message_id.as_bytes()),
        one_line(letter.last_error.as_bytes()),
    )
}

fn one_table(letter: &View) -> Table {
    let mut table = table(["FIELD", "VALUE"]);
    let edited = if letter.edited { "yes" } else { "no" };
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("id", letter.id.clone());
    row("group", letter.consumer_group.clone());
    row("state", letter.state.to_owned());
    row("message id", letter.message_id.clone());
    row("topic", letter.topic.clone());
    row("key", letter.key.clone());
    row("partition", letter.partition_id.to_string());
    row("offset", letter.offset.to_string());
    row("due", show_time_ms(letter.schedule_ts));
    row("attempts", letter.attempts.to_string());
    row("redrives", letter.redrives.to_string());
    row("first failure", show_time_ms(letter.first_failure_ts));
    row("last failure", show_time_ms(letter.last_failure_ts));
    row("last error", one_line(letter.last_error.as_bytes()));
    row("edited", edited.to_owned());
    row("payload bytes", letter.payload_bytes.to_string());
    for (name, value) in [
        ("traceparent", &letter.traceparent),
        ("unreadable", &letter.unreadable),
    ] {
        if !value.is_empty() {
            row(name, value.clone());
        }
    }
    if let Some(event) = &letter.event {
        table.add_rows(event.rows());
    }
    table
}

fn counts_table(counts: &Counts, done: &str) -> Table {
    let mut table = table(["MATCHED", done, "MISSING"]);
    table.add_row([
        counts.matched.to_string(),
        counts.done.to_string(),
        counts.missing.to_string(),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use chronos_client::Event;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn is_valid(line: &str) -> bool {
        let line = format!("dlq {line}");
        Line::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn many_letters_need_a_bound_in_time() {
        assert!(is_valid("redrive 0:1:2 0:1:3"));
        assert!(is_valid("redrive --group g --before now --rate 5"));
        assert!(is_valid("discard --group g --before 7 --dry-run"));
        assert!(!is_valid("redrive"));
        assert!(!is_valid("redrive --group g"));
        assert!(!is_valid("redrive 0:1:2 --group g --before now"));
    }

    #[test]
    fn a_filter_is_one_of_a_group() {
        for filter in [
            "--topic t",
            "--partition 1",
            "--since 7",
            "--before 7",
            "--error x",
            "--key k",
        ] {
            assert!(is_valid(&format!("list g {filter}")), "{filter}");
            assert!(!is_valid(&format!("redrive 0:1:2 {filter}")), "{filter}");
            assert!(!is_valid(&format!("discard 0:1:2 {filter}")), "{filter}");
        }
        assert!(is_valid("discard --group g --before 7 --topic t --key k"));
    }

    #[test]
    fn letters_that_are_named_and_missing_are_an_error() {
        let counts = |missing| Counts {
            matched: 2,
            done: 2,
            missing,
            dry_run: false,
        };
        assert!(counts(0).complete(true).is_ok() && counts(1).complete(false).is_ok());
        assert!(matches!(
            counts(1).complete(true),
            Err(Failure::Client(Error::NotFound(_)))
        ));
    }

    #[test]
    fn a_letter_shows_its_event() {
        let table = one_table(&View::from(DeadLetter {
            event: Some(Event {
                payload: "call back".into(),
                meta: [("k".to_string(), "v".to_string())].into(),
                ..Event::default()
            }),
            ..DeadLetter::default()
        }));
        let text = table.to_string();
        assert!(
            text.contains("call back") && text.contains("meta k"),
            "{text}"
        );
    }

    #[test]
    fn columns_stand_below_their_names() {
        let line = line(&View::from(DeadLetter {
            id: "0:1:2".into(),
            message_id: "name".into(),
            last_error: "boom".into(),
            ..DeadLetter::default()
        }));
        assert_eq!(line.find("name"), HEADER.find("MESSAGE ID"));
        assert_eq!(line.find("boom"), HEADER.find("LAST ERROR"));
    }
}
