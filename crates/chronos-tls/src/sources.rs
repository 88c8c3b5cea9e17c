//! Where certificates come from, and what was found there.

use super::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

/// Where one certificate, key or list of authorities comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, which may change.
    File(PathBuf),
    /// PEM that somebody has read already.
    Pem(Arc<[u8]>),
}

impl Source {
    pub(crate) fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    pub(crate) fn pem(pem: impl AsRef<[u8]>) -> Self {
        Self::Pem(pem.as_ref().into())
    }

    fn read(&self, what: &'static str) -> Result<Found, Error> {
        let pem = match self {
            Self::Pem(pem) => Arc::clone(pem),
            Self::File(path) => fs::read(path)
                .map_err(|error| Error::Unreadable {
                    what,
                    from: self.to_string(),
                    why: error.to_string(),
                })?
                .into(),
        };
        let from = self.to_string();
        Ok(Found { what, from, pem })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Pem(_) => f.write_str("(given as text)"),
        }
    }
}

/// Keys are never shown.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where everything comes from that one end needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// This end's certificate, followed by those between it and the authority.
    pub(crate) certificate: Option<Source>,
    /// Its private key.
    pub(crate) key: Option<Source>,
    /// The authorities that sign the other end's certificate.
    pub(crate) ca: Option<Source>,
}

impl Sources {
    pub(crate) fn have_files(&self) -> bool {
        let mut all = [&self.certificate, &self.key, &self.ca].into_iter();
        all.any(|source| matches!(source, Some(Source::File(_))))
    }

    pub(crate) fn read(&self) -> Result<Contents, Error> {
        let read = |source: &Option<Source>, what| {
            let source = source.as_ref();
            source.map(|source| source.read(what)).transpose()
        };
        Ok(Contents {
            certificate: read(&self.certificate, "certificate file")?,
            key: read(&self.key, "key file")?,
            ca: read(&self.ca, "CA file")?,
        })
    }
}

/// What was found at one moment. Equal contents give equal configurations.
#[derive(PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) certificate: Option<Found>,
    pub(crate) key: Option<Found>,
    pub(crate) ca: Option<Found>,
}

/// What was found in one place.
#[derive(PartialEq, Eq)]
pub(crate) struct Found {
    /// Which of the files it is.
    pub(crate) what: &'static str,
    /// Where it was.
    pub(crate) from: String,
    pub(crate) pem: Arc<[u8]>,
}
