//! TLS between real processes.
//!
//! | module | what it shows |
//! |---|---|
//! | `clients` | who may connect, and what is refused |
//! | `renewal` | certificates that change while a subscription goes on |
//! | `programs` | `chronosctl`, and the Rust client on its way to leaders |
//! | `nodes` | a cluster over mutual TLS |
//! | `secret` | files as Kubernetes mounts them |

mod clients;
mod nodes;
mod programs;
mod renewal;
mod secret;

use chronos_tests::authority::Authority;
use chronos_tests::client::Client;
use chronos_tests::server::{Options, Server, secured_channel};
use chronos_tls::ClientOptions;

use secret::Secret;

/// The address that servers of these tests listen on, as certificates name it.
const HERE: &str = "127.0.0.1";

/// The flags that make a server use a secret.
fn flags(secret: &Secret) -> [String; 3] {
    [
        "-tls-enabled".to_owned(),
        format!("-tls-cert-file={}", secret.path("tls.crt")),
        format!("-tls-key-file={}", secret.path("tls.key")),
    ]
}

async fn start(flags: impl IntoIterator<Item = String>) -> Server {
    let options = flags.into_iter().fold(Options::new(), Options::arg);
    options
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Trusts an authority.
fn trusting(authority: &Authority) -> ClientOptions {
    ClientOptions::new().ca_pem(authority.pem())
}

/// A client over a connection of its own.
fn client(server: &Server, tls: ClientOptions) -> Client {
    Client::new(secured_channel(&server.address(), tls).unwrap())
}
