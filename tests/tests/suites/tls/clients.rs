//! Who may connect, and what is refused.

use std::fs;

use chronos_tests::client::{Client, event, event_of, subscription};
use chronos_tests::patience::{eventually, soon};
use chronos_tests::server::Server;
use chronos_tests::server::binary;
use tokio::process::Command;

use super::{Authority, HERE, Secret, client, flags, start, trusting};

const EXPIRY: &str = "chronos_tls_certificate_expiry_timestamp_seconds";
const FAILED: &str = "chronos_tls_handshakes_failed_total";

async fn refused(client: &Client) -> String {
    let answer = soon("a refusal", client.publish(event("refused", "t"))).await;
    answer.unwrap_err().to_string()
}

async fn accepted(client: &Client, id: &str) {
    let answer = soon("an answer", client.publish(event(id, "t"))).await;
    assert!(answer.unwrap().success);
}

async fn failed_handshakes(server: &Server, least: f64) {
    eventually("failed handshakes are counted", || async {
        (server.metric(FAILED).await.ok()? >= least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_are_published_and_delivered_over_tls() {
    let ca = Authority::new();
    let secret = Secret::new(&ca.sign_until(&[HERE], 2051), &ca);
    let server = start(flags(&secret)).await;
    let client = client(&server, trusting(&ca));
    accepted(&client, "a").await;
    let mut events = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(event_of(&events.next().await).message_id, "a");
    assert_eq!(server.metric(EXPIRY).await.unwrap(), 2_556_144_000.0);
    assert_eq!(server.metric(FAILED).await.unwrap(), 0.0);
}

#[tokio::test]
async fn who_speaks_no_tls_or_trusts_another_authority_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let secret = Secret::new(&ca.sign(&[HERE]), &ca);
    let server = start(flags(&secret)).await;
    refused(&Client::new(server.channel().unwrap())).await;
    let error = refused(&client(&server, trusting(&other))).await;
    assert!(error.contains("no TLS with 127.0.0.1"), "{error}");
    let error = refused(&client(&server, trusting(&ca).server_name("db.example"))).await;
    assert!(error.contains("no TLS with 127.0.0.1"), "{error}");
    failed_handshakes(&server, 3.0).await;
    accepted(&client(&server, trusting(&ca)), "a").await;
}

#[tokio::test]
async fn clients_show_a_certificate_of_the_authority_when_it_is_demanded() {
    let (ca, of_clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let secret = Secret::new(&ca.sign(&[HERE]), &of_clients);
    let more = [
        "-tls-client-auth".to_owned(),
        format!("-tls-ca-file={}", secret.path("ca.crt")),
    ];
    let server = start(flags(&secret).into_iter().chain(more)).await;
    refused(&client(&server, trusting(&ca))).await;
    let foreign = other.sign(&["me"]);
    let foreign = trusting(&ca).identity_pem(foreign.certificate, foreign.key);
    refused(&client(&server, foreign)).await;
    failed_handshakes(&server, 2.0).await;
    let known = of_clients.sign(&["me"]);
    let known = trusting(&ca).identity_pem(known.certificate, known.key);
    accepted(&client(&server, known), "a").await;
}

#[tokio::test]
async fn a_start_with_a_bad_file_is_refused_in_one_line() {
    let ca = Authority::new();
    let secret = Secret::new(&ca.sign(&[HERE]), &ca);
    let folder = tempfile::tempdir().unwrap();
    let (none, text, key) = (
        folder.path().join("none.crt"),
        folder.path().join("text.crt"),
        folder.path().join("other.key"),
    );
    fs::write(&text, "no certificate").unwrap();
    fs::write(&key, ca.sign(&[HERE]).key).unwrap();
    let refusal = async |flag: String| {
        let mut command = Command::new(binary("chronosdb").unwrap());
        let command = command.args(flags(&secret)).arg(flag);
        let command = command.current_dir(folder.path()).kill_on_drop(true);
        let output = soon("the server ends", command.output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        said
    };
    let said = refusal(format!("-tls-cert-file={}", none.display())).await;
    assert!(said.contains("none.crt"), "{said}");
    let said = refusal(format!("-tls-cert-file={}", text.display())).await;
    assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
    let said = refusal(format!("-tls-key-file={}", key.display())).await;
    assert!(said.contains("does not belong"), "{said}");
    assert!(!folder.path().join("data").exists());
}
