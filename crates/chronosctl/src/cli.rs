//! What can be said on the command line.

use std::io::IsTerminal;

use clap::{Parser, Subcommand};

use crate::commands::{
    cluster, completion, dlq, group, health, partition, pause, publish, replay, schedule,
    subscribe, topic,
};
use crate::connect::Connect;
use crate::load;
use crate::printer::Format;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for a reason that has no code of its own
  2  the command line is wrong
  3  what was asked for does not exist
  4  a conflict: a duplicate message id, a known group, an event already fired or cancelled, another
     version than the one named, something still there that is in the way
  5  no node answers";

const EXAMPLES: &str = "\
Examples:
  chronosctl publish reminders --payload 'call back' --in 10s
  chronosctl subscribe reminders --group office
  chronosctl partition list -o json
  chronosctl health";

/// Publish, receive and look at ChronosDB.
#[derive(Debug, Parser)]
#[command(name = "chronosctl", version, after_help = format!("{EXIT_CODES}\n\n{EXAMPLES}"), max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connect: Connect,
    /// How to print results.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Global options")]
    pub(crate) output: Format,
    /// Print without colors, as NO_COLOR does.
    #[arg(long, global = true, help_heading = "Global options")]
    no_color: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store events to be delivered now or later.
    Publish(publish::Args),
    /// Receive events as they fall due.
    Subscribe(subscribe::Args),
    /// Read stored events again, fired or not.
    Replay(replay::Args),
    /// Find, list, count, cancel, move and fire what is scheduled.
    Schedule(schedule::Args),
    /// Look at dead letters, edit, redrive and discard them.
    Dlq(dlq::Args),
    /// Look at consumer groups and manage them.
    Group(group::Args),
    /// Create, alter, describe, list and delete topics.
    Topic(topic::Args),
    /// Pause topics and consumer groups, and list what is paused.
    Pause(pause::Args),
    /// Let paused topics and consumer groups go on.
    Resume(pause::ResumeArgs),
    /// Look at partitions, their logs and schedulers.
    Partition(partition::Args),
    /// Look at the nodes of a cluster, drain and remove them.
    Cluster(cluster::Args),
    /// Ask whether a node is well.
    Health(health::Args),
    /// Measure a node under load, and check what arrives.
    Load(load::Args),
    /// Print a script that completes commands in a shell.
    Completion(completion::Args),
}

impl Cli {
    /// True when colors are wanted: on a terminal, unless told otherwise.
    pub(crate) fn colorful(&self) -> bool {
        !self.no_color
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::io::stdout().is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn visit(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() || path == " chronosctl" {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("Examples:")),
                "no examples in the help of{path}"
            );
        }
        for command in command.get_subcommands() {
            if command.get_name() != "load" {
                visit(command, &path);
            }
        }
    }

    #[test]
    fn the_definition_holds_and_every_help_has_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        visit(&command, "");
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "chronosctl --addr a:1 -o json group list",
            "chronosctl group --addr a:1 list -o json",
            "chronosctl group list -o json --addr a:1",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(
                (cli.connect.addr.as_str(), cli.output),
                ("a:1", Format::Json)
            );
        }
    }

    #[test]
    fn usage_errors_have_code_2() {
        for line in [
            "chronosctl",
            "chronosctl nonsense",
            "chronosctl publish",
            "chronosctl publish t --at soon",
            "chronosctl publish t --at 5 --in 5s",
            "chronosctl publish t --meta novalue",
            "chronosctl subscribe t --from yesterday",
            "chronosctl subscribe t --partition -2",
            "chronosctl group list -o xml",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        let help = Cli::try_parse_from(["chronosctl", "--help"]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert_eq!(help.exit_code(), 0);
        assert!(help.to_string().contains("Exit codes:"));
    }

    #[test]
    fn help_keeps_the_placeholder_in_one_piece() {
        let mut command = Cli::command();
        let publish = command.find_subcommand_mut("publish").unwrap();
        let help = publish.render_long_help().to_string();
        assert!(help.contains("'tick-{{ n }}'"), "{help}");
    }

    #[test]
    fn a_negative_partition_or_time_is_a_value() {
        assert!(Cli::try_parse_from("chronosctl subscribe t --partition -1".split(' ')).is_ok());
        assert!(Cli::try_parse_from("chronosctl publish t --at -5".split(' ')).is_ok());
    }
}
