//! What can go wrong, from the caller's point of view.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::address::InvalidAddress;
use crate::retry::{Verdict, effective_code, is_of_the_node, verdict};

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
        /// What the last try met, or what a node said of itself before.
        message: String,
        /// Whether a node said so. Without, the connection failed or no answer came in time.
        answered: bool,
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
    /// Something is in the way, such as another version than the one expected, or what is still there;
    /// nothing was changed.
    #[error("{0}")]
    Conflict(String),
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

    /// The error of a call to this node.
    pub(crate) fn of_call(status: &Status, tries: u32, node: &http::Uri) -> Self {
        let address = node.authority().map_or("", |authority| authority.as_str());
        if !speaks_grpc(status) {
            return Self::Unavailable {
                tries,
                message: format!("{address} does not speak gRPC; is it the HTTP port?"),
                answered: true,
            };
        }
        match Self::from_status(status, tries) {
            Self::Unavailable {
                tries,
                message,
                answered,
            } => Self::Unavailable {
                tries,
                message: format!("{address}: {message}"),
                answered,
            },
            error => error,
        }
    }

    pub(crate) fn from_status(status: &Status, tries: u32) -> Self {
        let message = in_full(status);
        match verdict(status) {
            Verdict::Throttled(retry_after) => {
                return Self::Throttled {
                    retry_after,
                    message,
                };
            }
            // Nobody who leads was found.
            Verdict::WrongLeader => {
                return Self::Unavailable {
                    tries,
                    message,
                    answered: true,
                };
            }
            Verdict::Final | Verdict::Uncertain => {}
        }
        match effective_code(status) {
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Self::Unavailable {
                tries,
                message,
                answered: is_of_the_node(status),
            },
            Code::NotFound => Self::NotFound(message),
            Code::AlreadyExists => Self::AlreadyExists(message),
            Code::InvalidArgument => Self::Rejected(message),
            Code::FailedPrecondition => Self::Conflict(message),
            Code::Unknown if message.contains("not found") => Self::NotFound(message),
            code => Self::Status { code, message },
        }
    }
}

/// The words of a status and of what caused it, each once.
pub(crate) fn in_full(status: &Status) -> String {
    let mut words = status.message().to_string();
    let mut cause = status.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // tonic's own error says no more than that there is one.
        if !error.is::<tonic::transport::Error>() && !words.contains(&said) {
            words = match words.is_empty() {
                true => said,
                false => format!("{words}: {said}"),
            };
        }
        cause = error.source();
    }
    words
}

/// False when the answer is one of HTTP alone, by the words of tonic for an answer without the header of
/// a gRPC status and for a body that is no message. An answer that broke off, and a proxy that finds no
/// server or lets nobody in, are no sign of what listens there.
pub(crate) fn speaks_grpc(status: &Status) -> bool {
    let words = status.message();
    let has_no_status = words.starts_with("grpc-status header missing")
        && !words.ends_with(" 200")
        && !matches!(
            status.code(),
            Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied
        );
    !has_no_status && !words.contains("received message with invalid compression flag")
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
        let conflict = error(Status::failed_precondition("it has version 3"));
        assert!(matches!(&conflict, Error::Conflict(_)));
        assert_eq!(conflict.to_string(), "it has version 3");
        assert!(matches!(
            error(Status::failed_precondition("not the leader")),
            Error::Unavailable { answered: true, .. }
        ));
        assert!(matches!(
            error(Status::resource_exhausted("x")),
            Error::Status {
                code: Code::ResourceExhausted,
                ..
            }
        ));
    }

    #[test]
    fn an_answer_of_http_alone_is_told_from_one_of_grpc() {
        let missing = "grpc-status header missing, mapped from HTTP status code";
        for (status, expected) in [
            (Status::unimplemented("unknown service"), true),
            (Status::unimplemented(format!("{missing} 404")), false),
            (Status::unknown(format!("{missing} 405")), false),
            (Status::unavailable(format!("{missing} 503")), true),
            (Status::unauthenticated(format!("{missing} 401")), true),
            (Status::unknown(format!("{missing} 200")), true),
        ] {
            assert_eq!(speaks_grpc(&status), expected, "{status:?}");
        }
        let node = http::Uri::from_static("http://db:8080/");
        let http = Status::unimplemented(format!("{missing} 404"));
        let error = Error::of_call(&http, 1, &node).to_string();
        assert!(error.contains("db:8080 does not speak gRPC"), "{error}");
        let error = Error::of_call(&Status::unavailable("starting"), 1, &node);
        assert!(
            matches!(&error, Error::Unavailable { message, answered: true, .. } if message == "db:8080: starting"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_failed_connection_tells_its_cause() {
        let options = crate::Options {
            retry: crate::RetryPolicy::never(),
            ..crate::Options::new(["127.0.0.1:1"])
        };
        let error = crate::Client::connect(options).await.unwrap_err();
        let words = error.to_string();
        assert!(
            matches!(
                error,
                Error::Unavailable {
                    answered: false,
                    ..
                }
            ),
            "{words}"
        );
        assert!(words.contains("127.0.0.1:1: "), "{words}");
        assert_eq!(words.matches("refused").count(), 1, "{words}");
    }
}
