//! The end that listens.

use super::expiry::expires_at;
use super::reloading::{Current, Reloading};
use super::sources::{Source, Sources};
use super::{Connection, Error, HTTP2, pem, provider};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A client that has not finished its handshake by then is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes under way. Further connections wait in the system's queue.
const MOST_HANDSHAKES: usize = 1_024;

/// Where a server's certificates are.
#[derive(Clone, Debug)]
pub struct ServerOptions(Sources);

impl ServerOptions {
    /// A server with this certificate, which any client may connect to. The file may go on with the
    /// certificates between it and the authority.
    pub fn new(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self(Sources {
            certificate: Some(Source::file(certificate)),
            key: Some(Source::file(key)),
            ca: None,
        })
    }

    /// Demands a certificate of every client, signed by an authority in this file.
    #[must_use]
    pub fn client_ca(mut self, ca: impl AsRef<Path>) -> Self {
        self.0.ca = Some(Source::file(ca));
        self
    }
}

/// The connections of a listener. With TLS, each after its handshake; those that fail are left out.
pub fn incoming<S>(tcp: S, tls: Option<&Arc<Server>>) -> BoxStream<'static, io::Result<Connection>>
where
    S: Stream<Item = io::Result<TcpStream>> + Send + 'static,
{
    match tls {
        None => tcp.map_ok(Connection::Plain).boxed(),
        Some(server) => Arc::clone(server).secure(tcp),
    }
}

/// Turns TCP connections into secured ones.
pub struct Server {
    current: Current<Accepting>,
    failed: AtomicU64,
}

/// What the files make of a connection.
pub(crate) struct Accepting {
    config: Arc<ServerConfig>,
    expires_at: i64,
}

impl Server {
    /// Reads the certificates, and reads them again when they change. Has to be called on a runtime.
    ///
    /// # Errors
    /// See [`Error`]: one line that says what to do.
    pub fn load(options: ServerOptions) -> Result<Arc<Self>, Error> {
        let files = Reloading::follow(options.0, |contents| {
            let identity = pem::identity(contents)?.ok_or(Error::Missing("certificate"))?;
            Accepting::new(identity, pem::authorities(contents)?)
        })?;
        Ok(Self::new(Arc::new(move || files.current())))
    }

    pub(crate) fn new(current: Current<Accepting>) -> Arc<Self> {
        Arc::new(Self {
            current,
            failed: AtomicU64::new(0),
        })
    }

    /// When the certificate expires that new connections are served with, seconds since the epoch.
    pub fn expires_at(&self) -> i64 {
        (self.current)().expires_at
    }

    /// Connections that ended before their handshake did.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn secure<S>(self: Arc<Self>, tcp: S) -> BoxStream<'static, io::Result<Connection>>
    where
        S: Stream<Item = io::Result<TcpStream>> + Send + 'static,
    {
        let handshake = move |accepted: io::Result<TcpStream>| {
            let server = Arc::clone(&self);
            // A task of its own, so that cryptography uses all processors.
            let task = accepted.map(|tcp| tokio::spawn(server.handshake(tcp)));
            async move {
                match task {
                    Ok(task) => task.await.ok().flatten().map(Ok),
                    Err(error) => Some(Err(error)),
                }
            }
        };
        tcp.map(handshake)
            .buffer_unordered(MOST_HANDSHAKES)
            .filter_map(std::future::ready)
            .boxed()
    }

    async fn handshake(self: Arc<Self>, tcp: TcpStream) -> Option<Connection> {
        let peer = tcp.peer_addr().ok();
        let config = Arc::clone(&(self.current)().config);
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let why = match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
            Ok(Ok(stream)) => return Some(Connection::Secured(Box::new(stream))),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it was not done within {HANDSHAKE_LIMIT:?}"),
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(?peer, why, "a TLS handshake has failed");
        None
    }
}

impl Accepting {
    /// `clients`: the authorities of clients; none have to show a certificate without.
    pub(crate) fn new(
        identity: Arc<CertifiedKey>,
        clients: Option<RootCertStore>,
    ) -> Result<Self, Error> {
        let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
        let expires_at = expiry(&identity);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().map_err(|error| setup(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            expires_at,
        })
    }
}

/// When it expires, seconds since the epoch. rustls has understood the certificate before.
fn expiry(identity: &CertifiedKey) -> i64 {
    let certificate = identity.cert.first();
    certificate.and_then(|it| expires_at(it)).unwrap_or(0)
}
