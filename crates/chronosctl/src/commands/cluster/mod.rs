//! `chronosctl cluster`
//!
//! | file | holds |
//! |---|---|
//! | `view.rs` | what is printed |
//! | `transfer.rs` | having another node lead a partition |
//! | `drain.rs` | draining a node, and waiting until it is |

mod drain;
mod transfer;
mod view;

use std::time::Duration;

use chronos_client::cluster_service::{ClusterStatusResponse, RemoveNodeRequest};
use chronos_client::{Client, Error};
use clap::Subcommand;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::Printer;
use crate::when::parse_duration;
use view::{ClusterView, NodeView};

const STATUS_EXAMPLES: &str = "\
Examples:
  chronosctl cluster status
  chronosctl cluster status -o json | jq .under_replicated";
const NODES_EXAMPLES: &str = "\
Examples:
  chronosctl cluster nodes
  chronosctl cluster nodes -o json | jq '.[] | select(.can_stop | not) | .why_not'";
const DRAIN_EXAMPLES: &str = "\
Examples:
  chronosctl cluster drain node2 --leaders      # before a restart
  chronosctl cluster drain node4                # before it is removed
  chronosctl cluster drain node4 --no-wait && chronosctl cluster nodes";
const UNDRAIN_EXAMPLES: &str = "\
Examples:
  chronosctl cluster undrain node2";
const REBALANCE_EXAMPLES: &str = "\
Examples:
  chronosctl cluster rebalance
  watch chronosctl cluster rebalance";
const TRANSFER_EXAMPLES: &str = "\
Examples:
  chronosctl cluster transfer-leader 3 --to node2";
const REMOVE_EXAMPLES: &str = "\
Examples:
  chronosctl cluster drain node4 && chronosctl cluster remove-node node4
  chronosctl cluster remove-node node4 --lost   # its disk is gone for good";
const ZONE_EXAMPLES: &str = "\
Examples:
  chronosctl cluster zone node2 eu-west-1b";

/// Look at the nodes of a cluster, drain and remove them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say how the cluster stands.
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// List the nodes.
    #[command(after_help = NODES_EXAMPLES)]
    Nodes,
    /// Move all that a node leads and holds to others, and wait until that is done.
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        /// Name of the node.
        node: String,
        /// Move only what it leads; it keeps its replicas. Enough before a restart.
        #[arg(long)]
        leaders: bool,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        /// Stop waiting after this time. The drain goes on.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
        timeout: Duration,
    },
    /// End a drain: the node may lead and hold replicas again.
    #[command(after_help = UNDRAIN_EXAMPLES)]
    Undrain {
        /// Name of the node.
        node: String,
    },
    /// Say what is moving. The cluster spreads replicas and leaders by itself; there is nothing to start.
    #[command(after_help = REBALANCE_EXAMPLES)]
    Rebalance,
    /// Have another node lead a partition of which it holds a replica.
    #[command(after_help = TRANSFER_EXAMPLES)]
    TransferLeader {
        /// Number of the partition.
        partition: u32,
        /// Name of the node that is to lead.
        #[arg(long, value_name = "NODE")]
        to: String,
    },
    /// Remove a node for good. It has to be drained, or lost with its disk.
    #[command(after_help = REMOVE_EXAMPLES)]
    RemoveNode {
        /// Name of the node.
        node: String,
        /// Its disk is gone for good: make its replicas elsewhere.
        #[arg(long)]
        lost: bool,
        /// Its number, if the name may belong to another node by now.
        #[arg(long)]
        number: Option<u64>,
    },
    /// Say in which zone a node stands that does not say so itself.
    #[command(after_help = ZONE_EXAMPLES)]
    Zone {
        /// Name of the node.
        node: String,
        /// Name of the zone; empty for none.
        zone: String,
    },
}

/// What was done to a node, in JSON and YAML.
#[derive(Debug, Serialize)]
struct Done<'a> {
    node: &'a str,
    done: &'static str,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    match args.verb {
        Verb::Status => {
            let view = ClusterView::from(client.cluster_status().await?);
            printer.whole(&view, || view.table())?;
        }
        Verb::Nodes => {
            let status = client.cluster_status().await?;
            let nodes: Vec<NodeView> = status.nodes.into_iter().map(NodeView::from).collect();
            printer.whole(&nodes, || view::nodes_table(&nodes))?;
        }
        Verb::Drain {
            node,
            leaders,
            no_wait,
            timeout,
        } => {
            let drain = drain::Drain::new(&client, &node, leaders);
            drain.begin().await?;
            let done = match no_wait {
                true => "draining",
                false => {
                    drain.wait(timeout).await?;
                    "drained"
                }
            };
            say(printer, &node, done)?;
        }
        Verb::Undrain { node } => {
            client.undrain_node(&node).await?;
            say(printer, &node, "active")?;
        }
        Verb::Rebalance => {
            let status = client.cluster_status().await?;
            let view = view::Moving::from(&status);
            printer.whole(&view, || view.table())?;
        }
        Verb::TransferLeader { partition, to } => {
            transfer::transfer(&client, partition, &to).await?;
            say(printer, &to, "leads the partition")?;
        }
        Verb::RemoveNode { node, lost, number } => {
            let number = match number {
                Some(number) => number,
                None => number_of(&client.cluster_status().await?, &node)?,
            };
            let request = RemoveNodeRequest {
                name: node.clone(),
                number,
                lost,
            };
            client.remove_node(request).await?;
            say(printer, &node, "removed")?;
        }
        Verb::Zone { node, zone } => {
            client.set_node_zone(&node, &zone).await?;
            say(printer, &node, "zone noted")?;
        }
    }
    Ok(())
}

fn say(printer: &Printer, node: &str, done: &'static str) -> Result<(), Failure> {
    let view = Done { node, done };
    printer.one(&view, || format!("node {node}: {done}"))?;
    Ok(())
}

fn number_of(status: &ClusterStatusResponse, name: &str) -> Result<u64, Error> {
    let node = status.nodes.iter().find(|node| node.name == name);
    node.map(|node| node.number)
        .ok_or_else(|| no_such_node(name))
}

fn no_such_node(name: &str) -> Error {
    Error::NotFound(format!("no node of the cluster is called {name}"))
}

/// How the cluster stands, with a node that is in it.
async fn status_with(client: &Client, name: &str) -> Result<ClusterStatusResponse, Error> {
    let status = client.cluster_status().await?;
    number_of(&status, name).map(|_| status)
}
