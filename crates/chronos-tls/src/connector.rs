//! Makes connections for a channel of tonic.

use super::{Client, Error};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::io;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// Connects by TCP and makes the handshake.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    client: Client,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or nobody can be reached.
    #[error("{host}: {why}")]
    Tcp {
        /// Where to.
        host: String,
        /// What went wrong.
        why: String,
    },
    /// The name that is to be expected is none.
    #[error(transparent)]
    Name(#[from] Error),
    /// One end does not accept the other.
    #[error("no TLS with {host}: {why}")]
    Handshake {
        /// Where to.
        host: String,
        /// What went wrong.
        why: io::Error,
    },
}

impl Connector {
    pub(crate) fn new(client: Client) -> Self {
        let mut tcp = HttpConnector::new();
        // The scheme is https.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, client }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp
            .poll_ready(context)
            .map_err(|error| ConnectError::Tcp {
                host: String::new(),
                why: error.to_string(),
            })
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let client = self.client.clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let tcp = self.tcp.call(uri);
        Box::pin(async move {
            let name = client.expected(&host)?;
            let tcp = tcp.await.map_err(|error| ConnectError::Tcp {
                host: authority.clone(),
                why: innermost(&error),
            })?;
            let handshake = TlsConnector::from(client.config()).connect(name, tcp.into_inner());
            let stream = handshake.await.map_err(|why| ConnectError::Handshake {
                host: authority,
                why,
            })?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Why a connection was not made: the outer errors only say that it was not.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
