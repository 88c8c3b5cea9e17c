//! The end that connects.

use super::connector::Connector;
use super::reloading::{Current, Reloading};
use super::sources::{Source, Sources};
use super::{Error, HTTP2, pem, provider};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::Path;
use std::sync::Arc;

/// Whom a client trusts, and as whom it connects. By default it trusts the authorities that this machine
/// trusts, expects the name that it connects to, and shows no certificate.
///
/// Files are read again when they change. Text is not looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    sources: Sources,
    server_name: Option<String>,
}

impl ClientOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this PEM file, and no others.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.ca = Some(Source::file(path));
        self
    }

    /// Trusts the authorities in this PEM text, and no others.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.sources.ca = Some(Source::pem(pem));
        self
    }

    /// Shows this certificate to servers that ask for one. It needs its key.
    #[must_use]
    pub fn certificate_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.certificate = Some(Source::file(path));
        self
    }

    /// The key of the certificate.
    #[must_use]
    pub fn key_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.key = Some(Source::file(path));
        self
    }

    /// Shows a certificate to servers that ask for one. Both are PEM texts.
    #[must_use]
    pub fn identity_pem(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.sources.certificate = Some(Source::pem(certificate));
        self.sources.key = Some(Source::pem(key));
        self
    }

    /// Expects this name in the certificate of every server, whatever address it is reached at.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

/// Makes secured connections. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    current: Current<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Client {
    /// Reads the certificates, and reads files again when they change. Has to be called on a runtime.
    ///
    /// # Errors
    /// See [`Error`]: one line that says what to do.
    pub fn load(options: ClientOptions) -> Result<Self, Error> {
        let name = options.server_name;
        let server_name = name.map(|name| {
            let parsed = ServerName::try_from(name.clone());
            parsed.map_err(|_| Error::ServerName(name))
        });
        let files = Reloading::follow(options.sources, |contents| {
            let roots = match pem::authorities(contents)? {
                Some(roots) => roots,
                None => pem::system_authorities()?,
            };
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            let verifier = verifier.map_err(|error| Error::Setup(error.to_string()))?;
            connecting(verifier, pem::identity(contents)?)
        })?;
        Ok(Self::new(
            Arc::new(move || files.current()),
            server_name.transpose()?,
        ))
    }

    pub(crate) fn new(
        current: Current<ClientConfig>,
        server_name: Option<ServerName<'static>>,
    ) -> Self {
        Self {
            current,
            server_name,
        }
    }

    /// For `Endpoint::connect_with_connector`. The endpoint's time to connect bounds the handshake too.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(self.clone())
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        (self.current)()
    }

    /// The name that is expected in the certificate of the server at this host.
    pub(crate) fn expected(&self, host: &str) -> Result<ServerName<'static>, Error> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(host.to_owned()).map_err(|_| Error::ServerName(host.to_owned()))
    }
}

/// What a connection is made with.
pub(crate) fn connecting(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(identity));
            builder.with_client_cert_resolver(resolver)
        }
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}
