//! `chronosctl`: publish, receive and look at ChronosDB from a shell.
//!
//! ```text
//! arguments ──► cli ──► commands::* ──► chronos-client
//!                           │
//!                           ├─► printer   table, JSON or YAML on stdout
//!                           └─► exit      a stable exit code, the reason on stderr
//! ```
//!
//! Called by the name `kubectl-chronos` it is a plugin of kubectl: [`kubectl`].
//!
//! One file per command under `commands`; [`load`] is the load generator.

mod cli;
mod commands;
mod connect;
mod event_view;
mod exit;
mod kubectl;
mod load;
mod payload;
mod printer;
mod template;
mod when;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{ArgMatches, ColorChoice, CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use exit::Failure;
use printer::Printer;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let is_plugin = arguments
        .first()
        .is_some_and(|name| kubectl::is_plugin(name));
    let command = if is_plugin {
        kubectl::command()
    } else {
        Cli::command()
    };
    let matches = read(command, arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    warn_on_stderr(&cli);
    if is_plugin {
        finish(kubectl::run_plugin(cli, &matches))
    } else {
        finish(run(cli))
    }
}

/// Reads the command line; ends the process with help, or with what is wrong.
fn read(command: clap::Command, arguments: Vec<OsString>) -> ArgMatches {
    let color = if arguments.iter().any(|argument| argument == "--no-color") {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    };
    command
        .color(color)
        .try_get_matches_from(arguments)
        .unwrap_or_else(|error| error.exit())
}

fn finish(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()),
    };
    let outcome = runtime.block_on(command);
    // A read of a terminal cannot be cancelled; waiting for it would hang.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::report(&failure),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let printer = Printer::new(cli.output, cli.colorful());
    match cli.command {
        Command::Publish(args) => commands::publish::run(args, &cli.connect, &printer).await,
        Command::Subscribe(args) => commands::subscribe::run(args, &cli.connect, &printer).await,
        Command::Replay(args) => commands::replay::run(args, &cli.connect, &printer).await,
        Command::Schedule(args) => commands::schedule::run(args, &cli.connect, &printer).await,
        Command::Dlq(args) => commands::dlq::run(args, &cli.connect, &printer).await,
        Command::Group(args) => commands::group::run(args, &cli.connect, &printer).await,
        Command::Topic(args) => commands::topic::run(args, &cli.connect, &printer).await,
        Command::Pause(args) => commands::pause::run(args, &cli.connect, &printer).await,
        Command::Resume(args) => commands::pause::resume(args, &cli.connect, &printer).await,
        Command::Partition(args) => commands::partition::run(args, &cli.connect, &printer).await,
        Command::Cluster(args) => commands::cluster::run(args, &cli.connect, &printer).await,
        Command::Health(args) => commands::health::run(args, &cli.connect, &printer).await,
        Command::Load(args) => load::run(args).await,
        Command::Completion(args) => commands::completion::run(&args),
    }
}

/// Shows the client's warnings, such as a subscription that has to connect again.
fn warn_on_stderr(cli: &Cli) {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(io::stderr)
        .with_ansi(cli.colorful())
        .with_target(false)
        .init();
}
