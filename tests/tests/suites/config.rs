//! The server's flags, environment and file; and what it says when they are wrong.

use std::fs;
use std::process::Output;

use chronos_proto::cronos_db::ListPartitionsRequest;
use chronos_tests::client::event;
use chronos_tests::http::get;
use chronos_tests::patience::soon;
use chronos_tests::server::{Options, binary};
use tokio::process::Command;

use crate::serve;

async fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("chronosdb").unwrap_or_else(|error| panic!("{error}")));
    command
        .args(args)
        .envs(variables.iter().copied())
        .current_dir(folder.path())
        .kill_on_drop(true);
    soon("the server ends", command.output()).await.unwrap()
}

/// The one line with which a start is refused.
async fn refusal(args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(args, variables).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{args:?}: {text}");
    assert!(output.stdout.is_empty());
    text
}

#[tokio::test]
async fn a_wrong_command_line_stops_the_start_with_one_line() {
    for (args, expected) in [
        (&["-no-such-flag=1"][..], "no-such-flag"),
        (
            &["-node-id=node1", "-partition-count=many"],
            "partition-count",
        ),
        (&["-partition-count=0"], "partition-count"),
        (&["-fsync-mode=sometimes"], "fsync-mode"),
        (&["-ack-timeout=30"], "ack-timeout"),
        (&["-grpc-addr=nonsense"], "grpc-addr"),
        (&["-grpc-addr=:7777", "-http-addr=:7777"], "7777"),
        (&["-segment-size=1"], "segment-size"),
        (&["-node-id"], "node-id"),
        (&["-replication-factor=3"], "replication-factor"),
        (&["-config=/no/such/file.toml"], "file.toml"),
    ] {
        let text = refusal(args, &[]).await;
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn a_wrong_variable_or_file_stops_the_start_with_one_line() {
    let text = refusal(&[], &[("CHRONOS_PARTITION_COUNT", "x")]).await;
    assert!(text.contains("CHRONOS_PARTITION_COUNT"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chronos.toml");
    fs::write(&file, "[partitions]\ncuont = 3\n").unwrap();
    let text = refusal(&[&format!("-config={}", file.display())], &[]).await;
    assert!(text.contains("cuont"), "{text}");
    fs::write(&file, "this is no TOML").unwrap();
    refusal(&[&format!("-config={}", file.display())], &[]).await;
}

#[tokio::test]
async fn flags_stand_above_variables_above_the_file_above_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chronos.toml");
    fs::write(
        &file,
        "[partitions]\ncount = 2\n\n[delivery]\nmax_retries = 2\nmax_credits = 2\n",
    )
    .unwrap();
    let config = format!("--config={}", file.display());
    let variables = [("CHRONOS_MAX_RETRIES", "3"), ("CRONOS_MAX_CREDITS", "3")];
    let output = run(
        &[&config, "--print-config", "-max-credits", "4"],
        &variables,
    )
    .await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in ["count = 2", "max_retries = 3", "max_credits = 4"] {
        assert!(
            text.lines().any(|line| line.starts_with(expected)),
            "no {expected} in {text}"
        );
    }
    // What it prints is a file that it reads.
    fs::write(&file, &text).unwrap();
    let again = run(&[&config, "-print-config"], &[]).await;
    assert!(again.status.success(), "{again:?}");
}

#[tokio::test]
async fn go_s_flag_syntax_is_understood() {
    let server = Options::new()
        .args([
            "--partition-count",
            "3",
            "-fsync-mode=every_event",
            "--reflection=false",
        ])
        .variable("CRONOS_ACK_TIMEOUT", "1m30s")
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let mut client = chronos_tests::client::Client::new(server.channel().unwrap());
    let request = ListPartitionsRequest::default();
    let listed = client
        .partitions
        .list_partitions(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.partitions.len(), 3);
    assert!(client.publish(event("a", "t")).await.unwrap().success);
}

#[tokio::test]
async fn flags_of_the_predecessor_do_not_stop_the_start() {
    let args = [
        "-dev",
        "-tick-ms=10",
        "-wheel-size=600",
        "-bloom-capacity=1000",
        "-flush-interval=1000",
        "-index-interval=1000",
    ];
    let (_server, client) = serve(&args).await;
    assert!(client.publish(event("a", "t")).await.unwrap().success);
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let (server, client) = serve(&[]).await;
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    for path in ["/health", "/livez", "/readyz"] {
        let (status, body) = get(&server.http_address(), path).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
    }
    let (_, body) = get(&server.http_address(), "/health").await.unwrap();
    assert!(body.starts_with("OK"), "{body}");
    let (_, metrics) = get(&server.http_address(), "/metrics").await.unwrap();
    for name in [
        "chronos_publish_events_total",
        "chronos_wal_append_bytes_total",
        "chronos_wal_fsync_seconds_count",
        "chronos_events_fired_total",
        "chronos_events_delivered_total",
        "chronos_events_acked_total",
        "chronos_events_retried_total",
        "chronos_events_dead_lettered_total",
        "chronos_events_pending",
        "chronos_events_overdue",
        "chronos_fire_lateness_seconds_bucket",
        "chronos_wheel_entries",
        "chronos_store_sst_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let (status, _) = get(&server.http_address(), "/").await.unwrap();
    assert!(status < 500);
}

#[tokio::test]
async fn version_and_help_are_printed() {
    let output = run(&["-version"], &[]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("chronosdb "));
    let output = run(&["-help"], &[]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("-partition-count"));
}
