//! `chronosctl topic`

use std::time::Duration;

use chronos_client::topic::{AlterTopicRequest, Topic, TopicSettings};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use comfy_table::Table;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::{parse_duration, show_time_ms};

/// Settings that can be taken back, by their names in JSON: all but those that are fixed from the
/// beginning.
const CLEARABLE: [&str; 14] = [
    "retention_age_ms",
    "retention_bytes",
    "dedup_window_ms",
    "ack_timeout_ms",
    "max_retries",
    "backoff_first_ms",
    "backoff_factor",
    "backoff_max_ms",
    "backoff_jitter",
    "max_horizon_ms",
    "events_per_second",
    "bytes_per_second",
    "max_pending_events",
    "max_pending_bytes",
];

const CREATE_EXAMPLES: &str = "\
Examples:
  chronosctl topic create reminders --max-retries 3 --backoff-first 1s --backoff-factor 2
  chronosctl topic create ledger --partitions 1              # one order for all its events
  chronosctl topic create logs --retention-age 1h --events-per-second 1000";
const ALTER_EXAMPLES: &str = "\
Examples:
  chronosctl topic alter reminders --ack-timeout 5s
  chronosctl topic alter logs --clear events_per_second       # no limit again
  chronosctl topic alter logs --retention-age 2h --if-version 3";
const DESCRIBE_EXAMPLES: &str = "\
Examples:
  chronosctl topic describe reminders
  chronosctl topic describe reminders -o json | jq .pending";
const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl topic list
  chronosctl topic list --prefix orders. -o json";
const DELETE_EXAMPLES: &str = "\
Examples:
  chronosctl topic delete logs
  chronosctl topic delete reminders --force                   # with what is pending";

/// Create, alter, describe, list and delete topics.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a topic.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Name of the topic.
        topic: String,
        /// Partitions that its events are spread over; 1 gives all of them one order. Default: all.
        #[arg(long)]
        partitions: Option<i32>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change settings of a topic. They hold at once.
    #[command(after_help = ALTER_EXAMPLES)]
    Alter {
        /// Name of the topic.
        topic: String,
        #[command(flatten)]
        settings: Settings,
        /// A setting that goes back to its default. May be repeated.
        #[arg(long, value_name = "SETTING", value_parser = PossibleValuesParser::new(CLEARABLE))]
        clear: Vec<String>,
        /// Only if the topic has this version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
    },
    /// Describe one topic. Exits with 3 when there is none of that name.
    #[command(after_help = DESCRIBE_EXAMPLES)]
    Describe {
        /// Name of the topic.
        topic: String,
    },
    /// List topics.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only topics whose name begins with this.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Delete a topic with everything in it. Refused while events are pending.
    #[command(after_help = DELETE_EXAMPLES)]
    Delete {
        /// Name of the topic.
        topic: String,
        /// Delete pending events, too.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// Keep events this long after they fired.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retention_age: Option<Duration>,
    /// Keep at most this many bytes of events that have fired.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<i64>,
    /// Remember message ids this long after their events were due.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    dedup_window: Option<Duration>,
    /// A delivery that is not answered in this time has failed.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ack_timeout: Option<Duration>,
    /// Deliveries that may fail before the event is a dead letter.
    #[arg(long, value_name = "COUNT")]
    max_retries: Option<i32>,
    /// Wait before the second delivery.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    backoff_first: Option<Duration>,
    /// By how much every further wait is longer. Without it the n-th wait is n times the first.
    #[arg(long, value_name = "FACTOR")]
    backoff_factor: Option<f64>,
    /// Longest wait.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    backoff_max: Option<Duration>,
    /// Share of a wait that is left to chance, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    backoff_jitter: Option<f64>,
    /// How far ahead an event may be scheduled.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_horizon: Option<Duration>,
    /// Events that may be published per second.
    #[arg(long, value_name = "COUNT")]
    events_per_second: Option<i64>,
    /// Bytes that may be published per second.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<i64>,
    /// Events that may be pending.
    #[arg(long, value_name = "COUNT")]
    max_pending_events: Option<i64>,
    /// Bytes that pending events may have.
    #[arg(long, value_name = "BYTES")]
    max_pending_bytes: Option<i64>,
}

impl Settings {
    fn wire(&self, partitions: Option<i32>) -> TopicSettings {
        let ms = |time: Option<Duration>| {
            time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        };
        TopicSettings {
            partitions,
            retention_age_ms: ms(self.retention_age),
            retention_bytes: self.retention_bytes,
            dedup_window_ms: ms(self.dedup_window),
            ack_timeout_ms: ms(self.ack_timeout),
            max_retries: self.max_retries,
            backoff_first_ms: ms(self.backoff_first),
            backoff_factor: self.backoff_factor,
            backoff_max_ms: ms(self.backoff_max),
            backoff_jitter: self.backoff_jitter,
            max_horizon_ms: ms(self.max_horizon),
            events_per_second: self.events_per_second,
            bytes_per_second: self.bytes_per_second,
            max_pending_events: self.max_pending_events,
            max_pending_bytes: self.max_pending_bytes,
        }
    }
}

/// Settings in JSON and YAML, by the names of the wire; null where nothing was set.
#[derive(Debug, Serialize)]
struct SettingsView {
    partitions: Option<i32>,
    retention_age_ms: Option<i64>,
    retention_bytes: Option<i64>,
    dedup_window_ms: Option<i64>,
    ack_timeout_ms: Option<i64>,
    max_retries: Option<i32>,
    backoff_first_ms: Option<i64>,
    backoff_factor: Option<f64>,
    backoff_max_ms: Option<i64>,
    backoff_jitter: Option<f64>,
    max_horizon_ms: Option<i64>,
    events_per_second: Option<i64>,
    bytes_per_second: Option<i64>,
    max_pending_events: Option<i64>,
    max_pending_bytes: Option<i64>,
}

impl From<TopicSettings> for SettingsView {
    fn from(settings: TopicSettings) -> Self {
        Self {
            partitions: settings.partitions,
            retention_age_ms: settings.retention_age_ms,
            retention_bytes: settings.retention_bytes,
            dedup_window_ms: settings.dedup_window_ms,
            ack_timeout_ms: settings.ack_timeout_ms,
            max_retries: settings.max_retries,
            backoff_first_ms: settings.backoff_first_ms,
            backoff_factor: settings.backoff_factor,
            backoff_max_ms: settings.backoff_max_ms,
            backoff_jitter: settings.backoff_jitter,
            max_horizon_ms: settings.max_horizon_ms,
            events_per_second: settings.events_per_second,
            bytes_per_second: settings.bytes_per_second,
            max_pending_events: settings.max_pending_events,
            max_pending_bytes: settings.max_pending_bytes,
        }
    }
}

impl SettingsView {
    /// Name and value of each setting that was made.
    fn rows(&self) -> Vec<[String; 2]> {
        let serde_json::Value::Object(fields) =
            serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
        else {
            return Vec::new();
        };
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| [name, value.to_string()])
            .collect()
    }
}

/// A topic in JSON and YAML.
#[derive(Debug, Serialize)]
struct View {
    name: String,
    settings: SettingsView,
    automatic: bool,
    created_ts: i64,
    version: i64,
    /// Only when the topic is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<i64>,
    /// Pending events by partition, where there are any. Only when the topic is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<Vec<(i32, i64)>>,
}

impl View {
    /// A topic of an answer that does not say what is pending.
    fn uncounted(topic: Topic) -> Self {
        Self {
            pending: None,
            partitions: None,
            ..Self::from(topic)
        }
    }
}

impl From<Topic> for View {
    fn from(topic: Topic) -> Self {
        // What holds says more than what was set; lists have only the latter.
        let settings = topic.effective.or(topic.settings).unwrap_or_default();
        Self {
            name: topic.name,
            settings: settings.into(),
            automatic: topic.automatic,
            created_ts: topic.created_ts,
            version: topic.version,
            pending: Some(topic.pending),
            partitions: Some(
                (topic.partitions.iter())
                    .filter(|partition| partition.pending > 0)
                    .map(|partition| (partition.partition_id, partition.pending))
                    .collect(),
            ),
        }
    }
}

/// What a deletion did, in JSON and YAML.
#[derive(Debug, Serialize)]
struct Deleted {
    name: String,
    deleted_pending: i64,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    if let Verb::Alter {
        settings, clear, ..
    } = &args.verb
        && clear.is_empty()
        && settings.wire(None) == TopicSettings::default()
    {
        return Err(Failure::Usage(
            "say what to alter: a setting such as --ack-timeout 5s, or --clear".into(),
        ));
    }
    let client = connect(to).await?;
    let view = match args.verb {
        Verb::Create {
            topic,
            partitions,
            settings,
        } => {
            let settings = settings.wire(partitions);
            View::uncounted(client.create_topic(&topic, settings).await?)
        }
        Verb::Alter {
            topic,
            settings,
            clear,
            if_version,
        } => {
            let request = AlterTopicRequest {
                name: topic,
                settings: Some(settings.wire(None)),
                clear,
                if_version,
            };
            View::uncounted(client.alter_topic(request).await?)
        }
        Verb::Describe { topic } => View::from(client.topic(&topic).await?),
        Verb::List { prefix } => {
            let topics = client.topics(&prefix).await?;
            let views: Vec<View> = topics.into_iter().map(View::uncounted).collect();
            printer.whole(&views, || list_table(&views))?;
            return Ok(());
        }
        Verb::Delete { topic, force } => {
            let deleted = Deleted {
                deleted_pending: client.delete_topic(&topic, force).await?,
                name: topic,
            };
            printer.whole(&deleted, || {
                let mut table = table(["DELETED", "PENDING EVENTS"]);
                table.add_row([deleted.name.clone(), deleted.deleted_pending.to_string()]);
                table
            })?;
            return Ok(());
        }
    };
    printer.whole(&view, || one_table(&view))?;
    Ok(())
}

fn list_table(topics: &[View]) -> Table {
    let mut table = table(["TOPIC", "CREATED", "VERSION", "SETTINGS"]);
    for topic in topics {
        let made: Vec<_> = (topic.settings.rows().into_iter())
            .map(|[name, value]| format!("{name}={value}"))
            .collect();
        table.add_row([
            topic.name.clone(),
            created(topic),
            topic.version.to_string(),
            made.join(" "),
        ]);
    }
    table
}

fn one_table(topic: &View) -> Table {
    let mut table = table(["FIELD", "VALUE"]);
    table.add_rows([
        ["topic", &topic.name],
        ["created", &created(topic)],
        ["version", &topic.version.to_string()],
    ]);
    if let Some(pending) = topic.pending {
        table.add_row(["pending", &pending.to_string()]);
    }
    table.add_rows(topic.settings.rows());
    for (partition, pending) in topic.partitions.iter().flatten() {
        table.add_row([format!("pending in {partition}"), pending.to_string()]);
    }
    table
}

fn created(topic: &View) -> String {
    match topic.automatic {
        true => "by use".to_owned(),
        false => show_time_ms(topic.created_ts),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn tables_show_what_was_set() {
        let view = View::uncounted(Topic {
            name: "t".into(),
            settings: Some(TopicSettings {
                max_retries: Some(3),
                backoff_factor: Some(1.5),
                ..TopicSettings::default()
            }),
            automatic: true,
            ..Topic::default()
        });
        let text = list_table(&[view]).to_string();
        for part in ["t", "by use", "max_retries=3", "backoff_factor=1.5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("ack_timeout_ms"), "{text}");
    }

    #[test]
    fn what_is_pending_is_left_out_where_it_was_not_counted() {
        let json = |view: View| serde_json::to_value(view).unwrap();
        let topic = || Topic {
            pending: 3,
            ..Topic::default()
        };
        assert_eq!(json(View::from(topic()))["pending"], 3);
        let listed = json(View::uncounted(topic()));
        assert_eq!(
            (listed.get("pending"), listed.get("partitions")),
            (None, None)
        );
    }

    #[test]
    fn a_wrong_name_to_clear_is_answered_with_the_right_ones() {
        let line = "chronosctl topic alter t --clear ack_timeout";
        let refused = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert!(refused.to_string().contains("ack_timeout_ms"), "{refused}");
        for name in CLEARABLE {
            let line = format!("chronosctl topic alter t --clear {name}");
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{name}");
        }
    }

    #[tokio::test]
    async fn altering_nothing_is_refused() {
        let line = "chronosctl --addr 127.0.0.1:1 topic alter t --if-version 3";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Topic(args) = cli.command else {
            panic!("another command");
        };
        let printer = Printer::new(crate::printer::Format::Json, false);
        let refused = run(args, &cli.connect, &printer).await;
        assert!(matches!(refused, Err(Failure::Usage(_))));
    }
}
