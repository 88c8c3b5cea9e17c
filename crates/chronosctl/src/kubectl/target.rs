//! Which cluster is meant, and where.

use std::io;
use std::process::Stdio;

use chronos_client::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStderr, Command};

use crate::exit::Failure;

/// In full: another kind of the short name may exist.
const KIND: &str = "chronosclusters.chronosdb.io";

/// The cluster to talk to, in the words of kubectl.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Target {
    /// The ChronosCluster. Left out: the only one of the namespace.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    cluster: Option<String>,
    /// Its namespace. Left out: that of kubectl's context.
    #[arg(short, long, global = true, help_heading = "Global options")]
    namespace: Option<String>,
    /// The context of the kubeconfig. Left out: the current one.
    #[arg(long, global = true, help_heading = "Global options")]
    context: Option<String>,
    /// The kubeconfig. Left out: the one that kubectl finds.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    kubeconfig: Option<String>,
}

impl Target {
    /// kubectl, told where.
    pub(super) fn kubectl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        for (flag, value) in [
            ("--namespace", &self.namespace),
            ("--context", &self.context),
            ("--kubeconfig", &self.kubeconfig),
        ] {
            if let Some(value) = value {
                command.args([flag, value]);
            }
        }
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The cluster's name. It exists.
    pub(super) async fn cluster(&self) -> Result<String, Failure> {
        let mut words = vec!["get", KIND, "--output", "name"];
        words.extend(self.cluster.as_deref());
        let mut get = self.kubectl(&words);
        let get = get.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = get.spawn().map_err(not_run)?;
        let said = passed_on(child.stderr.take());
        let (answer, said) = tokio::join!(child.wait_with_output(), said);
        let answer = answer.map_err(not_run)?;
        if !answer.status.success() {
            return Err(self.refusal(&said));
        }
        let names = String::from_utf8_lossy(&answer.stdout).into_owned();
        let names: Vec<&str> = names
            .lines()
            .map(|line| line.rsplit('/').next().unwrap_or(line))
            .collect();
        match names[..] {
            [name] => Ok(name.to_owned()),
            [] => Err(missing(
                "there is no ChronosCluster in this namespace: name another one by --namespace",
            )),
            _ => Err(Failure::Usage(format!(
                "there are several ChronosClusters: name one by --cluster ({})",
                names.join(", ")
            ))),
        }
    }

    /// What it means that kubectl failed with these words.
    fn refusal(&self, said: &str) -> Failure {
        match &self.cluster {
            // As kubectl puts it: Error from server (NotFound).
            Some(name) if said.contains("NotFound") => {
                missing(&format!("there is no ChronosCluster {name} to be found"))
            }
            _ => {
                let last = said
                    .trim()
                    .lines()
                    .next_back()
                    .unwrap_or("it does not say why");
                Failure::Unreachable(format!("kubectl failed: {last}"))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn of(namespace: &str, cluster: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            cluster: Some(cluster.to_owned()),
            ..Self::default()
        }
    }
}

/// What kubectl says beside its answer. It is shown as it comes: it may be how to log in.
async fn passed_on(stderr: Option<ChildStderr>) -> String {
    let mut said = String::new();
    let Some(stderr) = stderr else {
        return said;
    };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    said
}

fn missing(words: &str) -> Failure {
    Failure::Client(Error::NotFound(words.to_owned()))
}

/// Says what is missing when kubectl does not run.
pub(super) fn not_run(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::Usage("kubectl is not in PATH: install it, or use chronosctl".to_owned())
        }
        _ => Failure::Other(anyhow::Error::new(error).context("kubectl does not run")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_missing_is_told_from_a_kubectl_that_failed() {
        let target = Target::of("shop", "db");
        let missing = "Error from server (NotFound): chronosclusters.chronosdb.io \"db\" not found";
        assert!(matches!(
            target.refusal(missing),
            Failure::Client(Error::NotFound(words)) if words.contains("db")
        ));
        for (said, reason) in [
            (
                "W1124 old\nUnable to connect: timeout\n",
                "Unable to connect: timeout",
            ),
            ("", "it does not say why"),
        ] {
            match target.refusal(said) {
                Failure::Unreachable(words) => {
                    assert_eq!(words, format!("kubectl failed: {reason}"));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            Target::default().refusal(missing),
            Failure::Unreachable(_)
        ));
    }

    #[test]
    fn kubectl_is_told_where() {
        let mut target = Target::of("shop", "db");
        target.context = Some("far".to_owned());
        let command = target.kubectl(&["get", "pods"]);
        let words: Vec<_> = command.as_std().get_args().collect();
        let expected = ["--namespace", "shop", "--context", "far", "get", "pods"];
        assert_eq!(words, expected);
    }
}
