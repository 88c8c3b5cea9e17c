//! `chronosctl pause` and `chronosctl resume`

use std::time::Duration;

use chronos_client::pause::{PauseInfo, PauseRequest, PauseTarget, Target, WhilePaused};
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::{parse_bound_ms, parse_span, show_time_ms};

const TOPIC_EXAMPLES: &str = "\
Examples:
  chronosctl pause topic reminders --for 1h --reason 'the mail server is down'
  chronosctl pause topic reminders --until 2026-12-24T18:00:00Z
  chronosctl pause topic reminders --drop";
const GROUP_EXAMPLES: &str = "\
Examples:
  chronosctl pause group office --reason 'release 42'
  chronosctl pause group office --for 30m --drop -o json";
const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl pause list
  chronosctl pause list -o json | jq -r '.[].reason'";
const RESUME_TOPIC_EXAMPLES: &str = "\
Examples:
  chronosctl resume topic reminders";
const RESUME_GROUP_EXAMPLES: &str = "\
Examples:
  chronosctl resume group office -o json";

/// Pause topics and consumer groups, and list what is paused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pause a topic, for every group that reads it.
    #[command(after_help = TOPIC_EXAMPLES)]
    Topic {
        /// Name of the topic.
        topic: String,
        #[command(flatten)]
        how: How,
    },
    /// Pause a consumer group, whatever it reads.
    #[command(after_help = GROUP_EXAMPLES)]
    Group {
        /// Name of the group.
        group: String,
        #[command(flatten)]
        how: How,
    },
    /// List what is paused.
    #[command(after_help = LIST_EXAMPLES)]
    List,
}

#[derive(Debug, clap::Args)]
struct How {
    /// How long; without it and --until, until it is resumed.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_span, conflicts_with = "until")]
    duration: Option<Duration>,
    /// When it ends: RFC 3339, or Unix time in ms.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    until: Option<i64>,
    /// Why, for whoever lists pauses.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    reason: String,
    /// Settle events undelivered that fall due or wait meanwhile, instead of holding them.
    #[arg(long)]
    drop: bool,
}

/// Let topics and consumer groups go on.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    #[command(subcommand)]
    verb: ResumeVerb,
}

#[derive(Debug, Subcommand)]
enum ResumeVerb {
    /// Let a topic go on.
    #[command(after_help = RESUME_TOPIC_EXAMPLES)]
    Topic {
        /// Name of the topic.
        topic: String,
    },
    /// Let a consumer group go on.
    #[command(after_help = RESUME_GROUP_EXAMPLES)]
    Group {
        /// Name of the group.
        group: String,
    },
}

/// A pause in JSON and YAML. `until_ts` is 0 when it does not end by itself.
#[derive(Debug, Serialize)]
struct View {
    target: &'static str,
    name: String,
    while_paused: &'static str,
    reason: String,
    since_ts: i64,
    until_ts: i64,
    dropped: i64,
}

impl From<PauseInfo> for View {
    fn from(pause: PauseInfo) -> Self {
        let while_paused = match pause.while_paused() {
            WhilePaused::Hold => "hold",
            WhilePaused::Drop => "drop",
        };
        let (target, name) = match pause.target.and_then(|it| it.target) {
            Some(Target::Topic(topic)) => ("topic", topic),
            Some(Target::Group(group)) => ("group", group),
            None => ("unknown", String::new()),
        };
        Self {
            target,
            name,
            while_paused,
            reason: pause.reason,
            since_ts: pause.since_ts,
            until_ts: pause.until_ts,
            dropped: pause.dropped,
        }
    }
}

impl View {
    fn until(&self) -> String {
        match self.until_ts {
            0 => "resumed".to_string(),
            until_ts => show_time_ms(until_ts),
        }
    }
}

#[derive(Debug, Serialize)]
struct Resumed {
    target: &'static str,
    name: String,
    was_paused: bool,
}

/// Runs `chronosctl pause`.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    let (target, how) = match args.verb {
        Verb::Topic { topic, how } => (Target::Topic(topic), how),
        Verb::Group { group, how } => (Target::Group(group), how),
        Verb::List => {
            let pauses = client.pauses().await?;
            let views: Vec<View> = pauses.into_iter().map(View::from).collect();
            printer.whole(&views, || list_table(&views))?;
            return Ok(());
        }
    };
    let while_paused = match how.drop {
        true => WhilePaused::Drop,
        false => WhilePaused::Hold,
    };
    let for_ms = how.duration.map_or(0, |it| it.as_millis());
    let request = PauseRequest {
        target: Some(PauseTarget {
            target: Some(target),
        }),
        reason: how.reason,
        until_ts: how.until.unwrap_or(0),
        for_ms: i64::try_from(for_ms).unwrap_or(i64::MAX),
        while_paused: while_paused.into(),
    };
    let view = View::from(client.pause(request).await?);
    printer.one(&view, || {
        format!(
            "{} {} paused until {}",
            view.target,
            view.name,
            view.until()
        )
    })?;
    Ok(())
}

/// Runs `chronosctl resume`.
pub(crate) async fn resume(
    args: ResumeArgs,
    to: &Connect,
    printer: &Printer,
) -> Result<(), Failure> {
    let client = connect(to).await?;
    let (kind, name, target) = match args.verb {
        ResumeVerb::Topic { topic } => ("topic", topic.clone(), Target::Topic(topic)),
        ResumeVerb::Group { group } => ("group", group.clone(), Target::Group(group)),
    };
    let target = PauseTarget {
        target: Some(target),
    };
    let resumed = Resumed {
        target: kind,
        name,
        was_paused: client.resume(target).await?,
    };
    printer.one(&resumed, || {
        let outcome = match resumed.was_paused {
            true => "resumed",
            false => "was not paused",
        };
        format!("{} {} {outcome}", resumed.target, resumed.name)
    })?;
    Ok(())
}

fn list_table(pauses: &[View]) -> Table {
    let mut table = table([
        "PAUSED", "NAME", "EVENTS", "SINCE", "UNTIL", "DROPPED", "REASON",
    ]);
    for pause in pauses {
        table.add_row([
            pause.target.to_string(),
            pause.name.clone(),
            pause.while_paused.to_string(),
            show_time_ms(pause.since_ts),
            pause.until(),
            pause.dropped.to_string(),
            pause.reason.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn view() -> View {
        View::from(PauseInfo {
            target: Some(PauseTarget {
                target: Some(Target::Group("office".into())),
            }),
            reason: "release 42".into(),
            since_ts: 1_700_000_000_000,
            until_ts: 0,
            while_paused: WhilePaused::Drop.into(),
            dropped: 3,
        })
    }

    #[test]
    fn the_table_holds_every_field() {
        let list = list_table(&[view()]).to_string();
        for text in [
            "group",
            "office",
            "drop",
            "2023-11-14",
            "resumed",
            "3",
            "release 42",
        ] {
            assert!(list.contains(text), "{text}: {list}");
        }
    }

    #[test]
    fn json_names_the_target_and_keeps_the_names_of_the_wire() {
        let json = serde_json::to_value(view()).unwrap();
        assert_eq!(
            (&json["target"], &json["name"]),
            (&"group".into(), &"office".into())
        );
        assert_eq!(
            (&json["until_ts"], &json["dropped"]),
            (&0.into(), &3.into())
        );
    }

    #[test]
    fn a_pause_has_one_end_at_most() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parsed(
            "chronosctl pause topic t --for 1h --reason x --drop"
        ));
        assert!(parsed(
            "chronosctl pause group g --until 2026-12-24T18:00:00Z"
        ));
        assert!(parsed("chronosctl resume group g"));
        assert!(!parsed("chronosctl pause topic t --for 1h --until 5"));
        for line in [
            "chronosctl pause topic t --for 0s",
            "chronosctl pause group g --until 0",
        ] {
            let refused = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert!(
                refused.to_string().contains("leave the option out"),
                "{refused}"
            );
        }
        assert!(!parsed("chronosctl pause t"));
        assert!(!parsed("chronosctl resume list"));
    }
}
