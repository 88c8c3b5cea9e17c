//! What can go wrong, from the caller's point of view.

use std::time::Duration;

use tonic::{Code, Status};

use crate::address::InvalidAddress;
use crate::retry::{Verdict, effective_code, verdict};

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be understood.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// No address was given.
    #[error("no address given")]
    NoAddress,
    /// What TLS was to be made with is missing or no good.
    #[error(transparent)]
    Tls(#[from] chronos_tls::Error),
    /// No node answered in time, in as many tries as the policy allows. Whether the last
    /// request took effect is not known.
    #[error("unavailable after {tries} tries: {message}")]
    Unavailable {
        /// How often it was tried.
        tries: u32,
        /// What the last try met.
        message: String,
    },
    /// A quota is used up, and the server asked to come again only after longer than the policy
    /// waits, or once more than it tries. Nothing was changed.
    #[error("{message}")]
    Throttled {
        /// How long the server asked to wait.
        retry_after: Duration,
        /// The server's words.
        message: String,
    },
    /// An event of this message_id was stored before; nothing was changed.
    #[error("duplicate message_id")]
    Duplicate,
    /// The request was refused for what it is; nothing was changed.
    #[error("{0}")]
    Rejected(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What was to be created exists.
    #[error("{0}")]
    AlreadyExists(String),
    /// The server answered with a status that none of the others describes.
    #[error("{code:?}: {message}")]
    Status {
        /// The gRPC status code.
        code: Code,
        /// The server's words.
        message: String,
    },
    /// The server's answer breaks the contract.
    #[error("unexpected answer: {0}")]
    Unexpected(&'static str),
    /// The subscription or producer was closed first.
    #[error("closed")]
    Closed,
}

/// The server's words for a second publish of an id.
pub(crate) const DUPLICATE: &str = "duplicate message_id";

impl Error {
    /// The error of an answer that came OK with `success = false`.
    pub(crate) fn rejected(error: String) -> Self {
        if error == DUPLICATE {
            Self::Duplicate
        } else if error.contains("already exists") {
            Self::AlreadyExists(error)
        } else if error.contains("not found") {
            Self::NotFound(error)
        } else {
            Self::Rejected(error)
        }
    }

    pub(crate) fn from_status(status: &Status, tries: u32) -> Self {
        let message = status.message().to_string();
        if let Verdict::Throttled(retry_after) = verdict(status) {
            return Self::Throttled {
                retry_after,
                message,
            };
        }
        match effective_code(status) {
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => {
                Self::Unavailable { tries, message }
            }
            Code::NotFound => Self::NotFound(message),
            Code::AlreadyExists => Self::AlreadyExists(message),
            Code::InvalidArgument => Self::Rejected(message),
            Code::Unknown if message.contains("not found") => Self::NotFound(message),
            code => Self::Status { code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_their_words() {
        assert!(matches!(
            Error::rejected(DUPLICATE.into()),
            Error::Duplicate
        ));
        assert!(matches!(
            Error::rejected("group g already exists".into()),
            Error::AlreadyExists(_)
        ));
        assert!(matches!(
            Error::rejected("consumer group not found".into()),
            Error::NotFound(_)
        ));
        assert!(matches!(
            Error::rejected("payload is required".into()),
            Error::Rejected(_)
        ));
    }

    #[test]
    fn statuses_are_sorted_by_code_and_words() {
        let error = |status: Status| Error::from_status(&status, 3);
        assert!(matches!(
            error(Status::unavailable("x")),
            Error::Unavailable { tries: 3, .. }
        ));
        assert!(matches!(
            error(Status::unknown("consumer group not found")),
            Error::NotFound(_)
        ));
        assert!(matches!(error(Status::not_found("x")), Error::NotFound(_)));
        assert!(matches!(
            error(Status::resource_exhausted("x")),
            Error::Status {
                code: Code::ResourceExhausted,
                ..
            }
        ));
    }
}
