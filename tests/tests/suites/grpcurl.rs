//! README's grpcurl commands, as printed there; only the port is another.
//!
//! They use server reflection and the JSON names of fields, so they also show that both work.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::{env, io};

use chronos_tests::patience::soon;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::serve;

const PUBLISH: &str = r#"grpcurl -plaintext \
  -d '{"event":{"messageId":"test-1","scheduleTs":'$(date -u +%s%3N)',"payload":"SGVsbG8=","topic":"test-topic"}}' \
  localhost:9000 cronos_db.EventService.Publish"#;

const SUBSCRIBE: &str = r#"grpcurl -plaintext \
  -d '{"consumerGroup":"group-1","topic":"test-topic","partitionId":0}' \
  localhost:9000 cronos_db.EventService.Subscribe"#;

/// The folder of grpcurl, or none when this machine has neither grpcurl nor the Go that builds it.
fn grpcurl() -> Option<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |program: &str| env::split_paths(&path).find(|it| it.join(program).is_file());
    let places = [cache.join("chronosdb/tools/bin"), home.join("go/bin")];
    let found = places
        .into_iter()
        .find(|it| it.join("grpcurl").is_file())
        .or(on_path("grpcurl"));
    if found.is_none() {
        assert!(
            on_path("go").is_none(),
            "grpcurl is missing; `scripts/tools grpcurl` installs it"
        );
        eprintln!("skipped: this machine has no grpcurl, and no Go to build it");
    }
    found
}

fn shell(folder: &Path, command: &str, address: &str) -> Command {
    let port = address.rsplit(':').next().unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_path_buf()]
        .into_iter()
        .chain(env::split_paths(&path));
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!(
            "exec {}",
            command.replace("localhost:9000", &format!("localhost:{port}"))
        ))
        .env("PATH", env::join_paths(folders).unwrap_or(path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    shell
}

async fn run(folder: &Path, command: &str, address: &str) -> io::Result<Output> {
    soon("grpcurl ends", shell(folder, command, address).output()).await
}

#[tokio::test]
async fn readme_s_commands_work_as_printed() {
    let Some(folder) = grpcurl() else { return };
    let (server, _client) = serve(&[]).await;
    let output = run(&folder, PUBLISH, &server.address()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
    assert!(
        answer["scheduleTs"]
            .as_str()
            .is_some_and(|it| it.parse::<i64>().is_ok()),
        "{answer}"
    );

    // It keeps its stream open for ever, so it is read until the event is complete.
    let mut subscriber = shell(&folder, SUBSCRIBE, &server.address())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let delivery: serde_json::Value = loop {
        match soon("grpcurl prints a delivery", lines.next_line())
            .await
            .unwrap()
        {
            Some(line) => text.push_str(&line),
            None => {
                let mut errors = String::new();
                let _ = subscriber
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut errors)
                    .await;
                panic!("grpcurl ended: {text}{errors}");
            }
        }
        if let Ok(delivery) = serde_json::from_str(&text) {
            break delivery;
        }
    };
    assert_eq!(delivery["event"]["messageId"], "test-1", "{delivery}");
    assert_eq!(delivery["event"]["payload"], "SGVsbG8=");
    assert_eq!(delivery["event"]["topic"], "test-topic");
    assert_eq!(delivery["attempt"], 1);
    subscriber.kill().await.unwrap();
}

#[tokio::test]
async fn services_are_listed_and_described() {
    let Some(folder) = grpcurl() else { return };
    let (server, _client) = serve(&[]).await;
    for (command, expected) in [
        (
            "grpcurl -plaintext localhost:9000 list",
            "cronos_db.EventService",
        ),
        (
            "grpcurl -plaintext localhost:9000 describe cronos_db.Event",
            "schedule_ts",
        ),
        (
            "grpcurl -plaintext localhost:9000 grpc.health.v1.Health/Check",
            "SERVING",
        ),
    ] {
        let output = run(&folder, command, &server.address()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(expected),
            "{command}: {output:?}"
        );
    }
}
