//! How a call failed.

use std::fmt;

use super::frame::FrameError;
use super::protobuf::Malformed;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The server answered with a gRPC status other than OK.
    Status {
        /// Numeric gRPC code.
        code: u32,
        /// The server's message, percent-encoded as it came.
        message: String,
    },
    /// The connection or the stream broke.
    Transport(String),
    /// The answer is not what the contract says.
    Protocol(String),
    /// No answer within the time allowed.
    TimedOut,
}

impl CallError {
    /// Whether the server promises that the call had no effect.
    pub(crate) fn surely_not_applied(&self) -> bool {
        // INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION,
        // UNIMPLEMENTED, UNAVAILABLE, UNAUTHENTICATED.
        matches!(
            self,
            Self::Status {
                code: 3 | 5 | 7 | 8 | 9 | 12 | 14 | 16,
                ..
            }
        )
    }

    /// Whether nothing more will come over the same connection.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, message } => write!(formatter, "gRPC status {code}: {message}"),
            Self::Transport(reason) => write!(formatter, "the connection failed: {reason}"),
            Self::Protocol(reason) => write!(formatter, "unexpected answer: {reason}"),
            Self::TimedOut => formatter.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Transport(error.to_string())
    }
}

impl From<FrameError> for CallError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(match error {
            FrameError::Compressed => "a compressed message".to_owned(),
            FrameError::TooLong(bytes) => format!("a message of {bytes} bytes"),
        })
    }
}

impl From<Malformed> for CallError {
    fn from(Malformed: Malformed) -> Self {
        Self::Protocol("malformed protobuf".to_owned())
    }
}
