//! What is done to pods from outside, by the scripts of the testbed.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(120);

fn testbed() -> PathBuf {
    std::env::var_os("CHRONOS_TEST_TESTBED")
        .expect("no CHRONOS_TEST_TESTBED: run scripts/test-kubernetes-nodes")
        .into()
}

async fn run(script: &str, arguments: &[&str]) {
    let mut command = Command::new(testbed().join(script));
    let output = command.args(arguments).kill_on_drop(true).output();
    let output = timeout(LIMIT, output).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{script} {arguments:?}: {output:?}"
    );
}

/// `kill -9` of a pod's process: the container starts again in the same pod.
pub async fn kill(namespace: &str, pod: &str) {
    run("fault", &["signal", &format!("{namespace}/{pod}"), "KILL"]).await;
}

/// Cuts a pod off from all other pods; probes and the API server still reach it.
pub async fn isolate(namespace: &str, pod: &str) {
    run("fault", &["isolate", &format!("{namespace}/{pod}")]).await;
}

/// Undoes all cuts.
pub async fn heal() {
    run("fault", &["heal"]).await;
}

/// `kill -9` of the API server.
pub async fn kill_api_server() {
    let file = "/run/chronos-testbed/kube-apiserver.pid";
    let text = tokio::fs::read_to_string(file).await.unwrap();
    let id = text.split_whitespace().next().unwrap();
    let status = Command::new("kill").args(["-9", id]).status();
    assert!(timeout(LIMIT, status).await.unwrap().unwrap().success());
}

/// Starts what has ended of Kubernetes itself.
pub async fn repair() {
    run("up", &[]).await;
}
