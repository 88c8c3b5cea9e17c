//! `kubectl chronos`: the same commands, for a ChronosCluster in Kubernetes.
//!
//! ```text
//! kubectl chronos ──► target   which cluster, asked of kubectl
//!                 ──► forward  kubectl port-forward to one of its nodes
//!                 ──► the command, over that one connection
//! ```
//!
//! kubectl runs a program of the name `kubectl-chronos` in PATH, so the name that this program was
//! called by decides. kubectl also does all that concerns Kubernetes: whatever way of logging in it
//! knows works here too.

mod forward;
mod target;

use std::ffi::OsStr;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, Command, CommandFactory, FromArgMatches};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{self, Cli};
use crate::exit::Failure;
use crate::run;
use forward::Forward;
use target::Target;

const NAME: &str = "kubectl chronos";

const EXAMPLES: &str = "\
Without --cluster, the only ChronosCluster of the namespace is meant.

Examples:
  kubectl chronos topic list
  kubectl chronos -n shop --cluster db publish reminders --payload 'call back' --in 10s
  kubectl chronos -n shop --cluster db cluster status";

/// Whether kubectl called this program as its plugin.
pub(crate) fn is_plugin(program: &OsStr) -> bool {
    Path::new(program)
        .file_stem()
        .is_some_and(|name| name == "kubectl-chronos")
}

/// The command line of the plugin.
pub(crate) fn command() -> Command {
    let help = format!("{}\n\n{EXAMPLES}", cli::EXIT_CODES);
    Target::augment_args(Cli::command())
        .name("kubectl-chronos")
        .bin_name(NAME)
        .mut_subcommands(respell)
        .mut_subcommand("load", |load| load.hide(true))
        .mut_subcommand("completion", |completion| completion.hide(true))
        .mut_subcommand("health", |health| {
            health.mut_arg("http", |http| http.hide(true))
        })
        .mut_arg("addr", |addr| addr.hide(true))
        .about("Publish, receive and look at a ChronosDB cluster in Kubernetes")
        .after_help(help)
}

/// Spells the examples as they are typed here. Those that name an address have no counterpart.
fn respell(command: Command) -> Command {
    let command = command.mut_subcommands(respell);
    let Some(help) = command.get_after_help() else {
        return command;
    };
    let lines: Vec<String> = help
        .to_string()
        .lines()
        .filter(|line| !line.contains("--addr"))
        .map(|line| line.replace("chronosctl", NAME))
        .collect();
    command.after_help(lines.join("\n"))
}

/// Runs a command against the cluster that the command line names.
pub(crate) async fn run_plugin(cli: Cli, matches: &ArgMatches) -> Result<(), Failure> {
    let target =
        Target::from_arg_matches(matches).map_err(|error| Failure::Usage(error.to_string()))?;
    if matches.value_source("addr") == Some(ValueSource::CommandLine) {
        return Err(Failure::Usage(
            "kubectl chronos finds the nodes itself: name the cluster by --cluster, or use \
             chronosctl with --addr"
                .to_owned(),
        ));
    }
    match cli.command {
        cli::Command::Completion(_) => return run(cli).await,
        cli::Command::Load(_) => {
            return Err(Failure::Usage(
                "load would measure the port-forward: run chronosctl load in a pod".to_owned(),
            ));
        }
        _ => {}
    }
    let leaves_by_itself = matches!(
        cli.command,
        cli::Command::Subscribe(_) | cli::Command::Dlq(_)
    );
    tokio::select! {
        outcome = over_a_forward(cli, &target) => outcome,
        asked = asked_to_end(leaves_by_itself) => Err(asked),
    }
}

async fn over_a_forward(mut cli: Cli, target: &Target) -> Result<(), Failure> {
    let cluster = target.cluster().await?;
    let wants_http = matches!(cli.command, cli::Command::Health(_));
    // Its process ends when this is dropped, whatever the command came to.
    let forward = Forward::open(target, &cluster, wants_http).await?;
    cli.connect.addr = forward.grpc.to_string();
    cli.connect.direct = false;
    if let (cli::Command::Health(health), Some(http)) = (&mut cli.command, forward.http) {
        health.http = Some(http.to_string());
    }
    run(cli).await
}

/// A command that takes its leave at Ctrl-C still needs the connection until it has.
async fn asked_to_end(leaves_by_itself: bool) -> Failure {
    let interrupted = async {
        if leaves_by_itself || ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupted => Failure::Ended { signal: 2 },
        _ = terminated => Failure::Ended { signal: 15 },
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_name_decides() {
        for name in [
            "kubectl-chronos",
            "/usr/bin/kubectl-chronos",
            "kubectl-chronos.exe",
        ] {
            assert!(is_plugin(OsStr::new(name)), "{name}");
        }
        for name in ["chronosctl", "kubectl-chronos/chronosctl", ""] {
            assert!(!is_plugin(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_help_is_that_of_a_plugin() {
        command().debug_assert();
        let help = |line: &str| {
            let error = command().try_get_matches_from(line.split(' ')).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{error}");
            error.to_string()
        };
        let all = help("kubectl-chronos --help");
        for part in [
            "Usage: kubectl chronos",
            "--cluster",
            "--namespace",
            "Exit codes:",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        for part in ["--addr", "chronosctl", "completion"] {
            assert!(!all.contains(part), "{part}: {all}");
        }
        let one = help("kubectl-chronos topic list --help");
        assert!(one.contains("kubectl chronos topic list"), "{one}");
        let health = help("kubectl-chronos health --help");
        assert!(!health.contains("--http"), "{health}");
        assert!(!health.contains("chronosctl"), "{health}");
    }

    #[test]
    fn the_cluster_stands_anywhere() {
        for line in [
            "kubectl-chronos -n shop --cluster db topic list",
            "kubectl-chronos topic list --cluster db --namespace shop",
            "kubectl-chronos topic --cluster=db list -n shop",
        ] {
            let matches = command().try_get_matches_from(line.split(' ')).unwrap();
            let target = Target::from_arg_matches(&matches).unwrap();
            assert_eq!(target, Target::of("shop", "db"), "{line}");
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_before_kubectl_is_asked() {
        for line in [
            "kubectl-chronos --addr a:1 topic list",
            "kubectl-chronos topic list --addr a:1",
            "kubectl-chronos load batch",
        ] {
            let matches = command().try_get_matches_from(line.split(' ')).unwrap();
            let cli = Cli::from_arg_matches(&matches).unwrap();
            let refused = run_plugin(cli, &matches).await;
            assert!(matches!(refused, Err(Failure::Usage(_))), "{line}");
        }
    }
}
