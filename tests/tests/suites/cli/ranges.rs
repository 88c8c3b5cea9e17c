//! What `chronosctl` reads when nobody says how much: every partition, and no more than it tells.

use chronos_tests::server::Server;
use serde_json::Value;

use super::{fails, json, run};
use crate::serve;

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The results of a command that prints one line for each, and what it says beside them.
async fn lines(server: &Server, line: &str) -> (Vec<Value>, String) {
    let line = format!("{line} -o json");
    let output = run(server, &words(&line)).await;
    assert!(output.status.success(), "{line}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let results = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (results, String::from_utf8(output.stderr).unwrap())
}

/// The ids of what a replay reads, sorted.
async fn replayed(server: &Server, line: &str) -> Vec<String> {
    let (events, _) = lines(server, line).await;
    let id = |event: &Value| event["message_id"].as_str().unwrap().to_string();
    let mut ids: Vec<String> = events.iter().map(id).collect();
    ids.sort();
    ids
}

async fn publish(server: &Server, line: &str) {
    let line = format!("publish {line} --payload x");
    let output = run(server, &words(&line)).await;
    assert!(output.status.success(), "{line}: {output:?}");
}

#[tokio::test]
async fn a_replay_reads_all_partitions_unless_one_is_named() {
    let (server, _client) = serve(&["-partition-count=4"]).await;
    publish(&server, "t --count 12 --id e{{n}}").await;
    let mut all: Vec<String> = (1..=12).map(|n| format!("e{n}")).collect();
    all.sort();
    assert_eq!(replayed(&server, "replay t").await, all);
    assert_eq!(replayed(&server, "replay t --by schedule").await, all);
    assert_eq!(replayed(&server, "replay t --count 5").await.len(), 5);
    let mut parts = Vec::new();
    for partition in 0..4 {
        let line = format!("replay t --partition {partition}");
        let part = replayed(&server, &line).await;
        assert!(part.len() < 12, "{part:?}");
        parts.extend(part);
    }
    parts.sort();
    assert_eq!(parts, all);

    fails(&server, &words("replay t --from 1"), 2).await;
    let by_time = words("replay t --partition 0 --from 1 --by schedule");
    fails(&server, &by_time, 2).await;
    fails(&server, &words("replay t --until 0"), 2).await;
}

#[tokio::test]
async fn a_republish_adds_up_what_came_of_each_partition() {
    let (server, _client) = serve(&["-partition-count=4"]).await;
    publish(&server, "t --count 12 --id e{{n}}").await;
    let again = words("replay t --to u --id-prefix again-");
    let first = json(&server, &again).await;
    assert_eq!(
        (&first["read"], &first["published"]),
        (&12.into(), &12.into())
    );
    let second = json(&server, &again).await;
    assert_eq!(
        (&second["published"], &second["duplicates"]),
        (&0.into(), &12.into())
    );
    assert_eq!(replayed(&server, "replay u").await.len(), 12);
    let some = words("replay t --to v --id-prefix some- --count 5");
    assert_eq!(json(&server, &some).await["read"], 5);
}

#[tokio::test]
async fn a_key_is_read_where_its_topic_has_it() {
    let (server, _client) = serve(&["-partition-count=4"]).await;
    let create = words("topic create narrow --partitions 1");
    assert!(run(&server, &create).await.status.success());
    for topic in ["wide", "narrow"] {
        for key in ["k1", "k2", "k3"] {
            let line = format!("{topic} --id {topic}-{key} --meta partition_key={key}");
            publish(&server, &line).await;
        }
        for key in ["k1", "k2", "k3"] {
            let found = replayed(&server, &format!("replay {topic} --key {key}")).await;
            assert_eq!(found, [format!("{topic}-{key}")]);
        }
    }
    // Whatever the topics are.
    let found = lines(&server, "replay --key k2").await.0;
    assert_eq!(found.len(), 2, "{found:?}");
}

#[tokio::test]
async fn lists_say_when_there_is_more() {
    let (server, _client) = serve(&["-partition-count=2"]).await;
    publish(&server, "t --count 3 --id e{{n}} --in 1h").await;
    for (limit, shown, more) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
        let line = format!("schedule list t --limit {limit}");
        let (events, said) = lines(&server, &line).await;
        assert_eq!(events.len(), shown, "{line}");
        assert_eq!(said.contains("more follow: --limit N"), more, "{said}");
    }
    publish(&server, "many --count 1001 --id m{{n}}").await;
    let (events, said) = lines(&server, "replay many").await;
    assert_eq!(events.len(), 1000);
    assert!(said.contains("more follow: --count N"), "{said}");
    let (events, said) = lines(&server, "replay many --count 1001").await;
    assert_eq!((events.len(), said.as_str()), (1001, ""));
}

#[tokio::test]
async fn zero_is_no_bound_and_is_refused_as_one() {
    let (server, _client) = serve(&[]).await;
    publish(&server, "t --id a --in 1h").await;
    for line in [
        "schedule cancel t --to 0",
        "schedule cancel t --all --limit 0",
        "pause topic t --for 0s",
        "pause topic t --until 0",
        "publish t --payload x --at 1796000000",
    ] {
        fails(&server, &words(line), 2).await;
    }
    let counted = json(&server, &words("schedule count t")).await;
    assert_eq!(counted["pending"], 1);
    let paused = json(&server, &words("pause list")).await;
    assert_eq!(paused, Value::Array(Vec::new()));
}
