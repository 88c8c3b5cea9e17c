//! `chronosctl` against a real server: exit codes and the shapes of its output.

mod conflicts;
mod health;
mod ranges;

use std::process::{Output, Stdio};

use chronos_tests::history::wall_ms;
use chronos_tests::patience::soon;
use chronos_tests::server::{Server, binary, free_port};
use serde_json::Value;
use tokio::process::Command;

use crate::serve;

fn command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(binary("chronosctl").unwrap_or_else(|error| panic!("{error}")));
    command
        .args(args)
        .env("CHRONOS_ADDR", server.address())
        .env("CHRONOS_HTTP", server.http_address())
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(server: &Server, args: &[&str]) -> Output {
    soon("chronosctl ends", command(server, args).output())
        .await
        .unwrap()
}

pub(crate) async fn fails(server: &Server, args: &[&str], code: i32) {
    let output = run(server, args).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(!text.trim().is_empty(), "{args:?} says why");
}

pub(crate) async fn json(server: &Server, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let output = run(server, &args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"))
}

#[tokio::test]
async fn events_are_published_received_and_replayed() {
    let (server, _client) = serve(&[]).await;
    let before_ms = wall_ms();
    let stored = json(
        &server,
        &[
            "publish",
            "t",
            "--id",
            "a",
            "--payload",
            "hello",
            "--in",
            "300ms",
        ],
    )
    .await;
    assert_eq!(stored["outcome"], "stored");
    assert_eq!(
        (&stored["message_id"], &stored["offset"]),
        (&"a".into(), &0.into())
    );
    let due_ms = stored["schedule_ts"].as_i64().unwrap();
    assert!(due_ms >= before_ms + 300);
    let args = [
        "subscribe",
        "t",
        "--group",
        "g",
        "--from",
        "earliest",
        "--count",
        "1",
    ];
    let received = json(&server, &args).await;
    assert!(wall_ms() >= due_ms);
    assert_eq!(
        (&received["message_id"], &received["payload"]),
        (&"a".into(), &"hello".into())
    );
    assert_eq!(received["attempt"], 1);
    assert!(
        received["lateness_ms"].as_f64().unwrap() >= 0.0,
        "{received}"
    );
    let replayed = json(&server, &["replay", "t"]).await;
    assert_eq!(replayed["message_id"], "a");
    let group = json(&server, &["group", "get", "g"]).await;
    assert_eq!(
        group["committed_offsets"]["0"], 1,
        "the event was acked: {group}"
    );
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let (server, _client) = serve(&[]).await;
    assert!(
        run(&server, &["publish", "t", "--id", "a", "--payload", "x"])
            .await
            .status
            .success()
    );
    fails(&server, &["publish", "t", "--id", "a", "--payload", "x"], 4).await;
    let long = "x".repeat(129);
    fails(
        &server,
        &["publish", "t", "--id", &long, "--payload", "x"],
        1,
    )
    .await;
    fails(&server, &["publish"], 2).await;
    fails(&server, &["no-such-command"], 2).await;
    fails(
        &server,
        &["publish", "t", "--payload", "x", "--in", "soon"],
        2,
    )
    .await;
    fails(&server, &["group", "get", "nobody"], 3).await;
    fails(&server, &["partition", "get", "7"], 3).await;
    assert!(
        run(&server, &["group", "create", "g"])
            .await
            .status
            .success()
    );
    fails(&server, &["group", "create", "g"], 4).await;
    let nowhere = format!("127.0.0.1:{}", free_port());
    fails(&server, &["--addr", &nowhere, "partition", "list"], 5).await;
}

#[tokio::test]
async fn partitions_and_groups_are_shown_in_every_form() {
    let (server, _client) = serve(&["-partition-count=2"]).await;
    let partitions = json(&server, &["partition", "list"]).await;
    assert_eq!(partitions.as_array().map(Vec::len), Some(2), "{partitions}");
    assert_eq!(partitions[1]["partition_id"], 1);
    assert_eq!(partitions[1]["leader_id"], "node1");
    assert_eq!(partitions[1]["last_offset"], -1);
    assert_eq!(
        json(&server, &["partition", "wal", "0"]).await["partition_id"],
        0
    );
    assert_eq!(
        json(&server, &["partition", "scheduler", "0"]).await["active_timers"],
        0
    );
    assert_eq!(
        json(&server, &["group", "list"]).await,
        Value::Array(Vec::new())
    );
    assert_eq!(
        json(&server, &["group", "create", "g", "--topic", "t"]).await["created"],
        true
    );
    assert_eq!(json(&server, &["group", "list"]).await[0]["group_id"], "g");
    for (form, expected) in [("table", "PARTITION"), ("yaml", "partition_id: 1")] {
        let output = run(&server, &["partition", "list", "-o", form]).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{text}");
        assert!(!text.contains('\u{1b}'), "no colors into a pipe");
    }
}

#[tokio::test]
async fn health_is_ok_or_code_5() {
    let (mut server, _client) = serve(&[]).await;
    let checks = json(&server, &["health"]).await;
    let checks = checks.as_array().unwrap();
    assert!(
        !checks.is_empty() && checks.iter().all(|it| it["healthy"] == true),
        "{checks:?}"
    );
    server.kill().await.unwrap();
    let output = run(&server, &["health"]).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

#[tokio::test]
async fn batches_are_received_and_acknowledged_together() {
    let (server, _client) = serve(&[]).await;
    let ids = [
        "publish",
        "t",
        "--count",
        "30",
        "--id",
        "a{{n}}",
        "--payload",
        "x",
    ];
    assert!(run(&server, &ids).await.status.success());
    let receive = |count| {
        let args = [
            "subscribe",
            "t",
            "--from",
            "earliest",
            "--batch",
            "8",
            "--count",
            count,
        ];
        let server = &server;
        async move {
            let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
            let output = run(server, &args).await;
            assert!(output.status.success(), "{output:?}");
            let lines = String::from_utf8(output.stdout).unwrap();
            let events = lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            let id = |event: Value| event["message_id"].as_str().unwrap().to_string();
            events.map(id).collect::<std::collections::BTreeSet<_>>()
        }
    };
    let first = receive("20").await;
    let rest = receive("10").await;
    assert_eq!((first.len(), rest.len()), (20, 10));
    assert!(
        first.is_disjoint(&rest),
        "what was acknowledged does not come back"
    );
}

#[tokio::test]
async fn publish_options_are_told_to_the_server() {
    let (server, _client) = serve(&[]).await;
    let past = [
        "publish",
        "t",
        "--payload",
        "x",
        "--at",
        "1000",
        "--if-past",
    ];
    let with = |what| past.iter().copied().chain([what]).collect::<Vec<_>>();
    fails(&server, &with("reject"), 1).await;
    assert_eq!(json(&server, &with("drop")).await["outcome"], "dropped");
    assert_eq!(json(&server, &with("now")).await["outcome"], "stored");
    let late = [
        "publish",
        "t",
        "--payload",
        "x",
        "--after",
        "1h",
        "--ttl",
        "1m",
        "--priority",
        "9",
    ];
    assert_eq!(json(&server, &late).await["outcome"], "stored");
    let never = [
        "publish",
        "t",
        "--payload",
        "x",
        "--at",
        "2000",
        "--expires-at",
        "1000",
    ];
    fails(&server, &never, 1).await;
}

#[tokio::test]
async fn what_is_scheduled_is_shown_and_changed() {
    let (server, _client) = serve(&["-partition-count=2"]).await;
    for (id, after) in [("a", "1h"), ("b", "2h"), ("c", "3h")] {
        let args = ["publish", "t", "--id", id, "--payload", "x", "--in", after];
        assert!(run(&server, &args).await.status.success());
    }
    let found = json(&server, &["schedule", "get", "t", "a"]).await;
    assert_eq!(
        (&found["state"], &found["version"]),
        (&"pending".into(), &1.into())
    );
    let moved = json(&server, &["schedule", "reschedule", "t", "a", "--in", "4h"]).await;
    assert_eq!(moved["version"], 2);
    let args = [
        "schedule",
        "reschedule",
        "t",
        "--prefix",
        "b",
        "--shift",
        "-30m",
    ];
    assert_eq!(json(&server, &args).await["changed"], 1);
    let listed = run(&server, &["schedule", "list", "t", "-o", "json"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let ids: Vec<Value> = (listed.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["message_id"].clone())
        .collect();
    assert_eq!(ids, ["b", "c", "a"]);
    assert_eq!(
        json(&server, &["schedule", "count"]).await["by_topic"]["t"],
        3
    );
    let drawn = run(&server, &["schedule", "graph", "t"]).await;
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert!(drawn.contains('█') && drawn.contains("later"), "{drawn}");

    let dry = ["schedule", "cancel", "t", "--all", "--dry-run"];
    let dry = json(&server, &dry).await;
    assert_eq!((&dry["matched"], &dry["changed"]), (&3.into(), &0.into()));
    assert!(
        run(&server, &["schedule", "cancel", "t", "c"])
            .await
            .status
            .success()
    );
    fails(&server, &["schedule", "cancel", "t", "c"], 4).await;
    fails(&server, &["schedule", "cancel", "t", "nobody"], 3).await;
    fails(&server, &["schedule", "cancel", "t"], 2).await;
    fails(&server, &["schedule", "cancel", "t", "a", "--key", "k"], 2).await;
    fails(&server, &["schedule", "reschedule", "t", "a"], 2).await;
    let stale = ["schedule", "cancel", "t", "a", "--if-version", "1"];
    fails(&server, &stale, 4).await;
    assert!(
        run(&server, &["schedule", "fire", "t", "a"])
            .await
            .status
            .success()
    );
    assert_eq!(
        json(&server, &["schedule", "get", "t", "a"]).await["state"],
        "fired"
    );
    fails(&server, &["schedule", "fire", "t", "a"], 4).await;
    fails(&server, &["schedule", "get", "t", "nobody"], 3).await;
}
