//! What can go wrong in a reconciliation. All of it is tried again.

use crate::database;

/// A failed reconciliation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes did not do what it was asked.
    #[error("Kubernetes refused {what}: {source}")]
    Kubernetes {
        /// What it was asked.
        what: &'static str,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// The database did not.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// An object of the name that the cluster needs is somebody else's.
    #[error("{0} exists and is not this cluster's: delete it, or give the cluster another name")]
    Taken(String),
    /// The resource has no name, namespace or uid, which the API server gives.
    #[error("the resource is incomplete")]
    Incomplete,
}

impl Error {
    /// Wraps an error of Kubernetes.
    pub(super) fn kubernetes(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kubernetes {
            what,
            source: Box::new(source),
        }
    }

    /// In one word, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "KubernetesRefused",
            Self::Database(database::Error::Silent(_)) => "DatabaseSilent",
            Self::Database(database::Error::Refused(_)) => "DatabaseRefused",
            Self::Taken(_) => "NameTaken",
            Self::Incomplete => "Incomplete",
        }
    }
}
