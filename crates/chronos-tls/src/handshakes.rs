//! Both ends over loopback: who gets a connection.

use crate::{Client, ClientOptions, Connection, Peers, Server, ServerOptions, incoming};
use chronos_tests::authority::{Authority, Signed};
use futures::stream::BoxStream;
use futures::{StreamExt, future};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;
use tower::Service;

const LIMIT: Duration = Duration::from_secs(20);

/// Writes `tls.crt`, `tls.key` and `ca.crt`.
fn write(folder: &Path, signed: &Signed, ca: &Authority) {
    for (name, text) in [
        ("tls.crt", &signed.certificate),
        ("tls.key", &signed.key),
        ("ca.crt", &ca.pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// A listener that greets everybody who gets through.
struct Greeter {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Greeter {
    async fn start(tls: &Arc<Server>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections: BoxStream<'static, io::Result<Connection>> =
            incoming(TcpIncoming::from(listener), Some(tls));
        let greet = connections.for_each_concurrent(None, |connection| async {
            let mut connection = connection.unwrap();
            // Whoever was refused is gone.
            if connection.write_all(b"hello").await.is_ok() {
                let _ = connection.shutdown().await;
            }
        });
        Self {
            port,
            task: tokio::spawn(greet),
        }
    }

    /// What a client hears, or why it hears nothing.
    async fn greeting(&self, client: &Client) -> io::Result<Vec<u8>> {
        let uri = format!("https://127.0.0.1:{}", self.port).parse().unwrap();
        let heard = async {
            let mut connector = client.connector();
            future::poll_fn(|context| connector.poll_ready(context))
                .await
                .map_err(io::Error::other)?;
            let stream = connector.call(uri).await.map_err(io::Error::other)?;
            let mut heard = Vec::new();
            stream.into_inner().read_to_end(&mut heard).await?;
            Ok(heard)
        };
        tokio::time::timeout(LIMIT, heard).await.unwrap()
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn trusting(ca: &Authority) -> ClientOptions {
    ClientOptions::new().ca_pem(ca.pem())
}

#[tokio::test]
async fn who_trusts_the_authority_and_finds_the_name_is_greeted() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Authority::new());
    write(folder.path(), &ca.sign(&["db.example"]), &ca);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
    let server = Server::load(ServerOptions::new(certificate, key)).unwrap();
    let greeter = Greeter::start(&server).await;
    let named = Client::load(trusting(&ca).server_name("db.example")).unwrap();
    assert_eq!(greeter.greeting(&named).await.unwrap(), b"hello");

    let by_address = Client::load(trusting(&ca)).unwrap();
    let error = greeter.greeting(&by_address).await.unwrap_err();
    assert!(error.to_string().contains("no TLS with"), "{error}");
    let stranger = trusting(&Authority::new()).server_name("db.example");
    let stranger = Client::load(stranger).unwrap();
    assert!(greeter.greeting(&stranger).await.is_err());

    let mut plain = TcpStream::connect(("127.0.0.1", greeter.port))
        .await
        .unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(LIMIT, plain.read_to_end(&mut heard)).await;
    // An alert perhaps, or a reset; no greeting.
    let _ = ended.unwrap();
    assert!(!heard.windows(5).any(|window| window == b"hello"));
    assert_eq!(server.failed_handshakes(), 3);
}

#[tokio::test]
async fn nodes_believe_each_other_by_the_authority_whatever_the_name() {
    let (ca, other) = (Authority::new(), Authority::new());
    let load = |signed: &Signed, ca: &Authority| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), signed, ca);
        let [certificate, key, authority] =
            ["tls.crt", "tls.key", "ca.crt"].map(|name| folder.path().join(name));
        Peers::load(certificate, key, authority).unwrap()
    };
    let (a, b) = (load(&ca.sign(&["a"]), &ca), load(&ca.sign(&["b"]), &ca));
    let greeter = Greeter::start(&a.server).await;
    assert_eq!(greeter.greeting(&b.client).await.unwrap(), b"hello");

    let foreign = load(&other.sign(&["b"]), &ca);
    assert!(greeter.greeting(&foreign.client).await.is_err());
    let without = Client::load(trusting(&ca).server_name("a")).unwrap();
    assert!(greeter.greeting(&without).await.is_err());
    let greeter = Greeter::start(&foreign.server).await;
    let error = greeter.greeting(&b.client).await.unwrap_err();
    assert!(error.to_string().contains("no TLS with"), "{error}");
}
