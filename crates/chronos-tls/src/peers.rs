//! Nodes of one cluster: each is both ends, and both show a certificate.

use super::client::connecting;
use super::reloading::Reloading;
use super::server::Accepting;
use super::sources::{Source, Sources};
use super::{Client, Error, Server, pem, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use std::path::Path;
use std::sync::Arc;

/// Both ends of the connections between nodes. A node is believed by the authority that signed its
/// certificate, whatever name that has: nodes find each other by addresses that no certificate knows.
#[derive(Clone)]
pub struct Peers {
    /// Takes connections of other nodes.
    pub server: Arc<Server>,
    /// Makes connections to them.
    pub client: Client,
}

/// What the files make of both ends.
struct Ends {
    accepting: Arc<Accepting>,
    connecting: Arc<ClientConfig>,
}

impl Peers {
    /// Reads the certificate of this node, its key, and the authority of all nodes, and reads them again
    /// when they change. Has to be called on a runtime.
    ///
    /// # Errors
    /// See [`Error`]: one line that says what to do.
    pub fn load(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        ca: impl AsRef<Path>,
    ) -> Result<Self, Error> {
        let sources = Sources {
            certificate: Some(Source::file(certificate)),
            key: Some(Source::file(key)),
            ca: Some(Source::file(ca)),
        };
        let files = Reloading::follow(sources, |contents| {
            let identity = pem::identity(contents)?.ok_or(Error::Missing("certificate"))?;
            let roots = pem::authorities(contents)?.ok_or(Error::Missing("CA file"))?;
            let verifier = AnyNode {
                roots: roots.clone(),
                algorithms: provider().signature_verification_algorithms,
            };
            let connecting = connecting(Arc::new(verifier), Some(Arc::clone(&identity)))?;
            Ok(Ends {
                accepting: Arc::new(Accepting::new(identity, Some(roots))?),
                connecting: Arc::new(connecting),
            })
        })?;
        let of_server = Arc::clone(&files);
        Ok(Self {
            server: Server::new(Arc::new(move || Arc::clone(&of_server.current().accepting))),
            client: Client::new(
                Arc::new(move || Arc::clone(&files.current().connecting)),
                None,
            ),
        })
    }
}

/// Accepts a certificate that an authority of the cluster signed, of whatever name.
#[derive(Debug)]
struct AnyNode {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
