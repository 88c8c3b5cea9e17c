//! The command line.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

use crate::log;

/// The Kubernetes operator of ChronosDB.
#[derive(Debug, Parser)]
#[command(name = "chronos-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look after the ChronosClusters and ScheduledTopics of a Kubernetes cluster.
    Run(Run),
    /// Print the CustomResourceDefinitions.
    Crds,
}

/// How to run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The image of clusters that name none.
    #[arg(long, env = "CHRONOS_OPERATOR_DEFAULT_IMAGE")]
    pub default_image: String,
    /// Namespaces to look after, separated by commas. Empty: all.
    #[arg(long, env = "CHRONOS_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Look at Kubernetes nodes, for zones and for nodes that are being emptied. Needs the right to.
    #[arg(long, env = "CHRONOS_OPERATOR_WATCH_NODES", action = clap::ArgAction::Set, default_value_t = true)]
    pub watch_nodes: bool,
    /// The namespace of the Lease by which one of several operators acts.
    #[arg(long, env = "CHRONOS_OPERATOR_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// The Lease's name.
    #[arg(
        long,
        env = "CHRONOS_OPERATOR_LEASE",
        default_value = "chronos-operator"
    )]
    pub lease_name: String,
    /// A name that no other operator has: the pod's.
    #[arg(long, env = "CHRONOS_OPERATOR_POD", default_value_t = chronos_client::unique_id())]
    pub identity: String,
    /// Where probes and metrics answer.
    #[arg(long, env = "CHRONOS_OPERATOR_HTTP", default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,
    /// How log lines look. RUST_LOG says which there are.
    #[arg(long, env = "CHRONOS_OPERATOR_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: log::Format,
}
