//! Exit codes. Scripts rely on them: a code never changes its meaning.

use std::io;
use std::process::ExitCode;

use chronos_client::Error;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense together with what it names.
    Usage(String),
    /// A call failed.
    Client(Error),
    /// Nobody answers at the other end, or what leads there failed.
    Unreachable(String),
    /// A node is not well. The report said so already.
    Unhealthy,
    /// Some of several events failed, the first of them so. Each was reported already.
    Partly(Error),
    /// Reading or writing failed.
    Io(io::Error),
    /// Somebody asked it to end, by this signal.
    Ended { signal: u8 },
    /// Anything else.
    Other(anyhow::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Address(_) | Error::NoAddress | Error::Tls(_) => Self::Usage(error.to_string()),
            error => Self::Client(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Says on stderr what went wrong, and gives the code to exit with.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    match failure {
        // Whoever read our output has had enough of it.
        Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Failure::Usage(words) | Failure::Unreachable(words) => eprintln!("error: {words}"),
        Failure::Client(error) => eprintln!("error: {error}"),
        Failure::Io(error) => eprintln!("error: {error}"),
        Failure::Other(error) => eprintln!("error: {error:#}"),
        Failure::Unhealthy | Failure::Partly(_) | Failure::Ended { .. } => {}
    }
    ExitCode::from(code(failure))
}

/// The code of a failure.
pub(crate) fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Usage(_) => 2,
        Failure::Client(error) | Failure::Partly(error) => client_code(error),
        Failure::Unreachable(_) | Failure::Unhealthy => 5,
        Failure::Io(_) => 1,
        // As shells count.
        Failure::Ended { signal } => 128 + signal,
        Failure::Other(error) => error.downcast_ref::<Error>().map_or(1, client_code),
    }
}

fn client_code(error: &Error) -> u8 {
    match error {
        Error::Address(_) | Error::NoAddress | Error::Tls(_) => 2,
        Error::NotFound(_) => 3,
        Error::Duplicate | Error::AlreadyExists(_) | Error::Conflict(_) => 4,
        Error::Unavailable { .. } | Error::Throttled { .. } => 5,
        Error::Rejected(_) | Error::Status { .. } | Error::Unexpected(_) | Error::Closed => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_code() {
        let unavailable = || Error::Unavailable {
            tries: 1,
            message: String::new(),
            answered: false,
        };
        let throttled = Error::Throttled {
            retry_after: std::time::Duration::from_secs(1),
            message: String::new(),
        };
        let invalid = || Error::Address(chronos_client::endpoint_uri("").unwrap_err());
        for (failure, expected) in [
            (Failure::Usage(String::new()), 2),
            (invalid().into(), 2),
            (Error::NoAddress.into(), 2),
            (Error::NotFound(String::new()).into(), 3),
            (Error::Duplicate.into(), 4),
            (Error::AlreadyExists(String::new()).into(), 4),
            (Error::Conflict(String::new()).into(), 4),
            (unavailable().into(), 5),
            (Failure::Unhealthy, 5),
            (Failure::Unreachable(String::new()), 5),
            (throttled.into(), 5),
            (Error::Rejected(String::new()).into(), 1),
            (Error::Closed.into(), 1),
            (Failure::Partly(Error::Duplicate), 4),
            (Failure::Ended { signal: 2 }, 130),
            (Failure::Other(anyhow::anyhow!("x")), 1),
            (
                Failure::Other(anyhow::Error::new(unavailable()).context("c")),
                5,
            ),
            (io::Error::from(io::ErrorKind::NotFound).into(), 1),
        ] {
            assert_eq!(code(&failure), expected, "{failure:?}");
        }
    }
}
