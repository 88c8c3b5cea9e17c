//! Certificates and keys out of PEM.

use super::sources::{Contents, Found};
use super::{Error, provider};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use std::sync::Arc;

/// The certificate of this end with its key. `None`: it has none.
pub(crate) fn identity(contents: &Contents) -> Result<Option<Arc<CertifiedKey>>, Error> {
    let (certificate, key) = match (&contents.certificate, &contents.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            return Err(Error::Half {
                given: "certificate",
                missing: "key",
            });
        }
        (None, Some(_)) => {
            return Err(Error::Half {
                given: "key",
                missing: "certificate",
            });
        }
    };
    let made = CertifiedKey::from_der(
        certificates(certificate)?,
        private_key(key)?,
        provider().as_ref(),
    );
    let (at, key) = (certificate.from.clone(), key.from.clone());
    match made {
        Ok(made) => Ok(Some(Arc::new(made))),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(Error::Mismatch {
            certificate: at,
            key,
        }),
        Err(error) => Err(Error::Unusable {
            certificate: at,
            key,
            why: error.to_string(),
        }),
    }
}

/// The authorities that were given. `None`: none were.
pub(crate) fn authorities(contents: &Contents) -> Result<Option<RootCertStore>, Error> {
    let Some(found) = &contents.ca else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(found)? {
        roots.add(certificate).map_err(|error| Error::NoAuthority {
            from: found.from.clone(),
            why: error.to_string(),
        })?;
    }
    Ok(Some(roots))
}

/// The authorities that this machine trusts.
pub(crate) fn system_authorities() -> Result<RootCertStore, Error> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Machines hold certificates that no library understands; one that is good is enough.
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added > 0 {
        return Ok(roots);
    }
    let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    Err(Error::NoSystemAuthorities(match errors.is_empty() {
        true => "none found".to_owned(),
        false => errors.join(", "),
    }))
}

fn certificates(found: &Found) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&found.pem)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(found, error))?;
    if certificates.is_empty() {
        return Err(no_pem(found, "certificate", "CERTIFICATE"));
    }
    Ok(certificates)
}

fn private_key(found: &Found) -> Result<PrivateKeyDer<'static>, Error> {
    match PrivateKeyDer::pem_slice_iter(&found.pem).next() {
        Some(key) => key.map_err(|error| damaged(found, error)),
        None => Err(no_pem(
            found,
            "private key without a password",
            "PRIVATE KEY",
        )),
    }
}

fn damaged(found: &Found, error: impl ToString) -> Error {
    Error::Damaged {
        what: found.what,
        from: found.from.clone(),
        why: error.to_string(),
    }
}

fn no_pem(found: &Found, missing: &'static str, label: &'static str) -> Error {
    Error::NoPem {
        what: found.what,
        from: found.from.clone(),
        missing,
        label,
    }
}
