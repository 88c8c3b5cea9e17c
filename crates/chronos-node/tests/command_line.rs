//! The program from outside: exit codes, and which stream says what.

use std::path::Path;
use std::process::{Command, Output};

fn chronosdb(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chronosdb"));
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str()
            && (name.starts_with("CHRONOS_") || name.starts_with("CRONOS_") || name == "RUST_LOG")
        {
            command.env_remove(name);
        }
    }
    command.args(args).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = chronosdb(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_usage_error_is_one_line_and_exit_code_2() {
    for args in [
        &["-segment-sise=1"][..],
        &["-segment-size=big"],
        &["-replication-factor=3"],
        &["-tls-enabled"],
        &["-grpc-addr=:1", "-http-addr=:1"],
        &["-config=/nonexistent/file.toml"],
        &["serve"],
        &["-node-id"],
        &["-node-id=a\nb"],
    ] {
        let output = chronosdb(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stdout, b"", "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("chronosdb: "), "{said}");
        assert_eq!(said.matches('\n').count(), 1, "{said}");
        assert!(said.ends_with('\n'), "{said}");
    }
}

#[test]
fn help_and_version_are_answers_and_no_errors() {
    assert!(stdout(&["--help"]).contains("-fsync-mode word (default batch)"));
    assert!(stdout(&["-h"]).contains("inspect-wal"));
    assert_eq!(
        stdout(&["-version"]),
        format!("chronosdb {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn print_config_reads_back_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chronosdb.toml");
    let without_sources = |text: &str| -> Vec<String> {
        let value = |line: &str| line.rsplit_once(" # ").map_or(line, |(v, _)| v).to_owned();
        text.lines().map(value).collect()
    };
    let args = ["-print-config", "-ack-timeout=90s", "-data-dir=./a #\"b\""];
    let first = stdout(&args);
    assert!(
        first.contains("ack_timeout = \"1m30s\" # flag\n"),
        "{first}"
    );
    std::fs::write(&path, &first).unwrap();
    let second = stdout(&["-print-config", "-config", path.to_str().unwrap()]);
    assert_eq!(without_sources(&first), without_sources(&second));
}

#[test]
fn the_references_are_what_is_committed() {
    for (command, file) in [
        ("config-reference", "configuration.md"),
        ("metrics-reference", "metrics.md"),
    ] {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let committed = std::fs::read_to_string(docs.join(file)).unwrap();
        assert!(
            stdout(&[command]) == committed,
            "docs/{file} is out of date; run scripts/generated"
        );
    }
}

#[test]
fn a_log_that_cannot_be_inspected_is_a_failure() {
    let output = chronosdb(&["inspect-wal", "/nonexistent/log"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nonexistent/log"), "{said}");
}
