//! `kubectl chronos` without Kubernetes: a kubectl that says what the real one would, and a way to a
//! real server in place of its port-forward.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use chronos_tests::patience::{eventually, soon};
use chronos_tests::server::{Server, binary, free_port};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::serve;

/// Writes down what it is asked, and stays until it is ended, as a port-forward does.
const KUBECTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/asked"
case "$*" in
*port-forward*)
    echo $$ >"$here/pid"
    cat "$here/forwards"
    exec tail -f /dev/null ;;
*) cat "$here/clusters" ;;
esac
"#;

/// A folder with kubectl and its plugin.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    /// One that has these clusters, and a way to this server.
    async fn new(server: &Server, clusters: &[&str]) -> Self {
        let folder = server.scratch().join("bin");
        fs::create_dir(&folder).unwrap();
        let kubectl = folder.join("kubectl");
        fs::write(&kubectl, KUBECTL).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        let chronosctl = binary("chronosctl").unwrap_or_else(|error| panic!("{error}"));
        symlink(chronosctl, folder.join("kubectl-chronos")).unwrap();
        let names: String = (clusters.iter())
            .map(|name| format!("chronoscluster.chronosdb.io/{name}\n"))
            .collect();
        fs::write(folder.join("clusters"), names).unwrap();
        let grpc = way_to(server.address()).await;
        let http = way_to(server.http_address()).await;
        let forwards = format!("Forwarding from {grpc} -> 9000\nForwarding from {http} -> 8080\n");
        fs::write(folder.join("forwards"), forwards).unwrap();
        Self { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("kubectl-chronos"));
        let nowhere = format!("127.0.0.1:{}", free_port());
        command
            .args(args)
            .env("PATH", format!("{}:/usr/bin:/bin", self.folder.display()))
            .env("CHRONOS_ADDR", &nowhere)
            .env("CHRONOS_HTTP", &nowhere)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        let ran = self.command(args).output();
        soon("kubectl chronos ends", ran).await.unwrap()
    }

    async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let output = self.run(&args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What kubectl was asked since the last time.
    fn asked(&self) -> Vec<String> {
        let file = self.folder.join("asked");
        let asked = fs::read_to_string(&file).unwrap_or_default();
        fs::write(file, "").unwrap();
        asked.lines().map(str::to_owned).collect()
    }

    /// Waits until no port-forward runs. One that nobody has waited for yet has no command line.
    async fn forward_is_gone(&self) {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap();
        let runs = Path::new("/proc").join(pid.trim()).join("cmdline");
        eventually("the port-forward ends", || async {
            fs::read(&runs).unwrap_or_default().is_empty().then_some(())
        })
        .await;
    }
}

/// An address that leads to this one.
async fn way_to(target: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    address
}

#[tokio::test]
async fn a_cluster_is_found_by_its_name_and_reached_through_a_forward() {
    let (server, _client) = serve(&[]).await;
    let machine = Machine::new(&server, &["db"]).await;
    let named = ["--cluster", "db", "-n", "shop"];
    let with = |words: &[&'static str]| [&named, words].concat();
    let made = machine.json(&with(&["topic", "create", "orders"])).await;
    assert_eq!(made["name"], "orders");
    assert_eq!(
        machine.asked(),
        [
            "--namespace shop get chronosclusters.chronosdb.io --output name db",
            "--namespace shop port-forward --address 127.0.0.1 service/db-nodes :9000",
        ]
    );
    machine.forward_is_gone().await;

    // The only one of the namespace needs no name.
    let listed = machine.json(&["topic", "list"]).await;
    assert_eq!(listed[0]["name"], "orders");
    machine.forward_is_gone().await;

    let checks = machine.json(&["health"]).await;
    let checks = checks.as_array().unwrap();
    assert_eq!(checks.len(), 3);
    assert!(checks.iter().all(|it| it["healthy"] == true), "{checks:?}");
    machine.forward_is_gone().await;

    // Codes are those of the command.
    let output = machine.run(&["group", "get", "nobody"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    machine.forward_is_gone().await;
}

#[tokio::test]
async fn a_forward_does_not_outlive_a_command_that_is_ended() {
    let (server, _client) = serve(&[]).await;
    let machine = Machine::new(&server, &["db"]).await;
    machine.json(&["publish", "t", "--payload", "x"]).await;
    for (signal, code) in [("INT", 0), ("TERM", 143)] {
        let subscribe = ["subscribe", "t", "--group", signal, "--from", "earliest"];
        let mut child = machine.command(&subscribe).arg("-ojson").spawn().unwrap();
        let mut received = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = soon("an event arrives", received.next_line()).await;
        assert!(first.unwrap().is_some());
        let pid = child.id().unwrap();
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {pid}"))
            .status()
            .await;
        assert!(sent.unwrap().success());
        let status = soon("the command ends", child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(code), "{signal}");
        machine.forward_is_gone().await;
    }
}

#[tokio::test]
async fn without_a_cluster_it_says_what_to_do() {
    let (server, _client) = serve(&[]).await;
    let machine = Machine::new(&server, &["a", "b"]).await;
    let refused = async |mut command: Command, code: i32, words: &str| {
        let ran = soon("kubectl chronos ends", command.output()).await;
        let output = ran.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let list = || machine.command(&["topic", "list"]);
    refused(list(), 2, "--cluster (a, b)").await;
    fs::write(machine.folder.join("clusters"), "").unwrap();
    refused(list(), 3, "--namespace").await;
    fs::remove_file(machine.folder.join("kubectl")).unwrap();
    let mut alone = list();
    alone.env("PATH", &machine.folder);
    refused(alone, 2, "kubectl is not in PATH").await;
}
