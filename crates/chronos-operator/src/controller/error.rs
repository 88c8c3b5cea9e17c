//! What can go wrong in a reconciliation. All of it is tried again.

use std::borrow::Cow;
use std::time::Duration;

use crate::api::Malformed;
use crate::database;

/// A failed reconciliation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes did not do what it was asked.
    #[error("Kubernetes refused {what}: {source}")]
    Kubernetes {
        /// What it was asked.
        what: Cow<'static, str>,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// The database did not.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// An object of the name that the cluster needs is somebody else's.
    #[error("{0} exists and is not this cluster's: delete it, or give the cluster another name")]
    Taken(String),
    /// A part of the spec that the API server takes as it is.
    #[error("spec.{0}")]
    SpecInvalid(#[from] Malformed),
    /// A kind that somebody else brings is not there.
    #[error("Kubernetes does not know {0}: install the Prometheus operator.")]
    UnknownKind(&'static str),
    /// Nothing is done for a Lease that may be somebody else's by now.
    #[error("another operator may act by now")]
    TenureOver,
    /// What was seen may no longer be so.
    #[error("looking took so long that it may be different by now; it is looked at again")]
    Stale,
    /// Kubernetes or the database holds a question up.
    #[error("it was given up after {} s: Kubernetes or the database does not answer", .0.as_secs())]
    Overdue(Duration),
    /// Another resource may have the topic.
    #[error(
        "the ScheduledTopics of {0} cannot be watched, so it is not known whether another one has this topic"
    )]
    Unwatched(String),
    /// The resource has no name, namespace or uid, which the API server gives.
    #[error("the resource is incomplete")]
    Incomplete,
}

impl Error {
    /// Wraps an error of Kubernetes.
    pub(super) fn kubernetes(
        what: impl Into<Cow<'static, str>>,
    ) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
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
            Self::SpecInvalid(_) => "SpecInvalid",
            Self::UnknownKind(_) => "UnknownKind",
            Self::TenureOver => "TenureOver",
            Self::Stale => "Stale",
            Self::Overdue(_) => "Overdue",
            Self::Unwatched(_) => "TopicsUnwatched",
            Self::Incomplete => "Incomplete",
        }
    }

    /// Whether Kubernetes does not have what it was asked about.
    pub(super) fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the operator may not do what it tried.
    pub(super) fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The HTTP status of what Kubernetes refused.
    fn code(&self) -> Option<u16> {
        let Self::Kubernetes { source, .. } = self else {
            return None;
        };
        match &**source {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }
}
