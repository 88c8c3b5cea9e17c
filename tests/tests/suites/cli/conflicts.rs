//! What `chronosctl` says of what is there already, is missing, or is in the way.

use serde_json::Value;

use super::{command, fails, json, run};
use crate::serve;

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[tokio::test]
async fn what_is_in_the_way_has_a_code_of_its_own() {
    let (server, _client) = serve(&[]).await;
    json(&server, &words("topic create t --max-retries 3")).await;
    let later = words("publish t --id a --payload x --in 1h");
    assert!(run(&server, &later).await.status.success());
    let stale = words("topic alter t --max-retries 4 --if-version 7");
    fails(&server, &stale, 4).await;
    fails(&server, &words("topic delete t"), 4).await;
    let output = run(&server, &words("topic delete t")).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("FailedPrecondition"), "{said}");
    fails(&server, &words("topic alter t"), 2).await;
    let wrong = run(&server, &words("topic alter t --clear retries")).await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said.contains("max_retries"), "{said}");

    let listed = json(&server, &words("topic list")).await;
    assert_eq!(listed[0].get("pending"), None, "{listed}");
    let described = json(&server, &words("topic describe t")).await;
    assert_eq!(described["pending"], 1);
}

#[tokio::test]
async fn a_duplicate_says_where_its_id_is_known() {
    let (server, _client) = serve(&[]).await;
    let publish = words("publish t --id a --payload x --in 1h");
    let first = json(&server, &publish).await;
    let output = run(&server, &publish).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("known as 0/0, due "), "{said}");
    let in_json = command(&server, &publish).args(["-o", "json"]).output();
    let output = in_json.await.unwrap();
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again["outcome"], "duplicate");
    assert_eq!(again["existing"]["schedule_ts"], first["schedule_ts"]);
    assert_eq!(again["existing"]["fired"], false);
}

#[tokio::test]
async fn what_is_due_after_a_delay_is_as_the_server_counts() {
    let (server, _client) = serve(&[]).await;
    let publish = words("publish t --id a --payload x --after 1h");
    let stored = json(&server, &publish).await;
    let found = json(&server, &words("schedule get t a")).await;
    assert_eq!(stored["schedule_ts"], found["schedule_ts"]);
}

#[tokio::test]
async fn an_event_without_a_name_that_is_known_is_found_by_its_place() {
    let (server, _client) = serve(&[]).await;
    let publish = words("publish t --id a --payload twice --in 1h --allow-duplicate --meta k=v");
    assert!(run(&server, &publish).await.status.success());
    fails(&server, &words("schedule get t a"), 3).await;
    let get = words("schedule get --partition 0 --offset 0");
    let found = json(&server, &get).await;
    assert_eq!(
        (&found["message_id"], &found["payload"]),
        (&"a".into(), &"twice".into())
    );
    let shown = run(&server, &get).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("twice") && shown.contains("meta k"),
        "{shown}"
    );
    let cancel = words("schedule cancel --partition 0 --offset 0");
    assert!(run(&server, &cancel).await.status.success());
    fails(&server, &cancel, 4).await;
    fails(&server, &words("schedule get --partition 0 --offset 7"), 3).await;
}

#[tokio::test]
async fn letters_that_are_named_and_missing_are_told() {
    let (server, _client) = serve(&[]).await;
    for verb in ["redrive", "discard"] {
        fails(&server, &words(&format!("dlq {verb} 0:1:2")), 3).await;
        let filtered = format!("dlq {verb} 0:1:2 --key k");
        fails(&server, &words(&filtered), 2).await;
    }
}
