//! `chronosctl group`

use std::collections::BTreeMap;

use chronos_client::ConsumerGroupMetadata;
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::show_time_ms;

const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl group list
  chronosctl group list --topic reminders -o json";
const GET_EXAMPLES: &str = "\
Examples:
  chronosctl group get office
  chronosctl group get office -o yaml";
const CREATE_EXAMPLES: &str = "\
Examples:
  chronosctl group create office --topic reminders
  chronosctl group create office --topic reminders --partition 0 --partition 1";
const REBALANCE_EXAMPLES: &str = "\
Examples:
  chronosctl group rebalance office --member anna --member ben";

/// Look at consumer groups and manage them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the groups.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only groups of this topic.
        #[arg(long, default_value = "", hide_default_value = true)]
        topic: String,
    },
    /// Describe one group. Exits with 3 when there is none of that name.
    #[command(after_help = GET_EXAMPLES)]
    Get {
        /// Name of the group.
        group: String,
    },
    /// Create a group ahead of its first subscription. Exits with 4 when it exists.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Name of the group.
        group: String,
        /// Topic that it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        topic: String,
        /// A partition that it is for; may be repeated. Without it, all.
        #[arg(long)]
        partition: Vec<u32>,
    },
    /// Share a group's partitions among the named members.
    #[command(after_help = REBALANCE_EXAMPLES)]
    Rebalance {
        /// Name of the group.
        group: String,
        /// Name of a member; may be repeated.
        #[arg(long, required = true)]
        member: Vec<String>,
    },
}

/// A group in JSON and YAML. Offsets are -1 where nothing is settled yet.
#[derive(Debug, Serialize)]
struct View {
    group_id: String,
    topic: String,
    partitions: Vec<i32>,
    committed_offsets: BTreeMap<i32, i64>,
    member_offsets: BTreeMap<String, i64>,
    last_rebalance_ts: i64,
}

impl From<ConsumerGroupMetadata> for View {
    fn from(group: ConsumerGroupMetadata) -> Self {
        Self {
            group_id: group.group_id,
            topic: group.topic,
            partitions: group.partitions,
            committed_offsets: group.committed_offsets,
            member_offsets: group.member_offsets,
            last_rebalance_ts: group.last_rebalance_ts,
        }
    }
}

#[derive(Debug, Serialize)]
struct Created {
    group_id: String,
    created: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    match args.verb {
        Verb::List { topic } => {
            let groups = client.groups(&topic).await?;
            let views: Vec<View> = groups.into_iter().map(View::from).collect();
            printer.whole(&views, || list_table(&views))?;
        }
        Verb::Get { group } => {
            let view = View::from(client.group(&group).await?);
            printer.whole(&view, || one_table(&view))?;
        }
        Verb::Create {
            group,
            topic,
            partition,
        } => {
            let partitions = if partition.is_empty() {
                (0..client.partition_count()).collect()
            } else {
                partition
            };
            client.create_group(&group, &topic, &partitions).await?;
            let created = Created {
                group_id: group,
                created: true,
            };
            printer.one(&created, || format!("group {} created", created.group_id))?;
        }
        Verb::Rebalance { group, member } => {
            let assignments = client.rebalance_group(&group, &member).await?;
            printer.whole(&assignments, || {
                let mut table = table(["MEMBER", "PARTITION"]);
                for (member, partition) in &assignments {
                    table.add_row([member.clone(), partition.to_string()]);
                }
                table
            })?;
        }
    }
    Ok(())
}

fn list_table(groups: &[View]) -> Table {
    let mut table = table(["GROUP", "TOPIC", "PARTITIONS", "MEMBERS", "COMMITTED"]);
    for group in groups {
        table.add_row([
            group.group_id.clone(),
            group.topic.clone(),
            joined(&group.partitions),
            group.member_offsets.len().to_string(),
            pairs(&group.committed_offsets),
        ]);
    }
    table
}

fn one_table(group: &View) -> Table {
    let mut table = table(["FIELD", "VALUE"]);
    let rebalanced = match group.last_rebalance_ts {
        0 => "never".to_string(),
        ms => show_time_ms(ms),
    };
    table.add_rows([
        ["group", group.group_id.as_str()],
        ["topic", group.topic.as_str()],
        ["partitions", &joined(&group.partitions)],
        ["committed", &pairs(&group.committed_offsets)],
        ["members", &pairs(&group.member_offsets)],
        ["last rebalance", &rebalanced],
    ]);
    table
}

fn joined(numbers: &[i32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(",")
}

fn pairs<K: std::fmt::Display>(map: &BTreeMap<K, i64>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View::from(ConsumerGroupMetadata {
            group_id: "office".into(),
            topic: "reminders".into(),
            partitions: vec![0, 1],
            committed_offsets: BTreeMap::from([(0, 41), (1, -1)]),
            member_offsets: BTreeMap::from([("anna".to_string(), 7)]),
            last_rebalance_ts: 0,
        })
    }

    #[test]
    fn tables_hold_every_field() {
        let list = list_table(&[view()]).to_string();
        for text in ["office", "reminders", "0,1", "0:41 1:-1"] {
            assert!(list.contains(text), "{text}: {list}");
        }
        let one = one_table(&view()).to_string();
        assert!(one.contains("anna:7") && one.contains("never"), "{one}");
    }

    #[test]
    fn json_keeps_the_names_of_the_wire() {
        let json = serde_json::to_value(view()).unwrap();
        assert_eq!(json["group_id"], "office");
        assert_eq!(json["committed_offsets"]["0"], 41);
    }
}
