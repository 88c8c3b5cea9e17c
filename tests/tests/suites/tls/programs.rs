//! `chronosctl`, and the Rust client on its way to leaders.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use chronos_client::{NewEvent, Options, Tls};
use chronos_tests::patience::{eventually, soon};

use super::nodes::{PlainOr, found};
use super::{Authority, HERE, Secret, flags, start};
use crate::cli::{fails, json};

#[tokio::test]
async fn chronosctl_connects_over_tls() {
    let (ca, other) = (Authority::new(), Authority::new());
    let secret = Secret::new(&ca.sign(&["db.example"]), &ca);
    let more = [
        "-tls-client-auth".to_owned(),
        format!("-tls-ca-file={}", secret.path("ca.crt")),
    ];
    let server = start(flags(&secret).into_iter().chain(more)).await;
    let mine = Secret::new(&ca.sign(&["me"]), &ca);
    let [authority, certificate, key] =
        ["ca.crt", "tls.crt", "tls.key"].map(|name| mine.path(name));
    let tls = [
        "--tls-ca-file",
        &authority,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-server-name",
        "db.example",
    ];
    let publish = ["publish", "t", "--id", "a", "--payload", "x"];
    let stored = json(&server, &[&publish[..], &tls[..]].concat()).await;
    assert_eq!(stored["outcome"], "stored");
    let subscribe = ["subscribe", "t", "--from", "earliest", "--count", "1"];
    let received = json(&server, &[&subscribe[..], &tls[..]].concat()).await;
    assert_eq!(received["message_id"], "a");
    let load = ["load", "batch", "--events", "200", "--batch", "50"];
    json(&server, &[&load[..], &tls[..]].concat()).await;

    let scratch = server.scratch().join("other.crt");
    fs::write(&scratch, other.pem()).unwrap();
    let stranger = ["topic", "list", "--tls-ca-file", scratch.to_str().unwrap()];
    fails(&server, &stranger, 5).await;
    fails(&server, &["topic", "list"], 5).await;
    fails(&server, &["topic", "list", "--tls-ca-file", "/none"], 2).await;
    fails(&server, &["topic", "list", "--tls-key-file", &key], 2).await;
}

#[tokio::test]
async fn the_rust_client_reaches_every_leader_under_one_name() {
    let ca = Authority::new();
    // No node's address is in it.
    let secret = Secret::new(&ca.sign(&["db.example"]), &ca);
    let nodes = found(3, &flags(&secret), PlainOr::Plain).await;
    let mut options = Options::new([format!("{HERE}:{}", nodes.grpc_port(0))]);
    options.tls = Some(Tls::new().ca_pem(ca.pem()).server_name("db.example"));
    let client = soon("a connection", chronos_client::Client::connect(options));
    let client = client.await.unwrap();
    let sent = AtomicU32::new(0);
    eventually("every node was published to", || async {
        let id = format!("e{}", sent.fetch_add(1, Ordering::Relaxed));
        client.publish(NewEvent::new("t", id, "x")).await.unwrap();
        for node in nodes.all() {
            let published = node.metric("chronos_publish_requests_total").await.ok()?;
            (published > 0.0).then_some(())?;
        }
        Some(())
    })
    .await;
    for node in nodes.all() {
        let failed = node.metric("chronos_tls_handshakes_failed_total").await;
        assert_eq!(failed.unwrap(), 0.0, "{}", node.name());
    }
}
