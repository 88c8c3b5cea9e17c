//! One file per command.

pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod dlq;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod partition;
pub(crate) mod pause;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod schedule;
pub(crate) mod subscribe;
pub(crate) mod topic;

use chronos_client::{Client, Error};

use crate::connect::Connect;

/// What a failed connection says when it is not for want of TLS.
const NOT_OF_TLS: [&str; 3] = ["tcp connect error", "dns error", "no answer within"];

/// Connects to the nodes named on the command line.
async fn connect(to: &Connect) -> Result<Client, Error> {
    let connected = Client::connect(to.options()).await;
    connected.map_err(|error| match to.tls() {
        None => suggest_tls(error),
        Some(_) => error,
    })
}

/// A node that expects TLS breaks off what begins without, and cannot say why.
fn suggest_tls(error: Error) -> Error {
    match error {
        Error::Unavailable {
            tries,
            message,
            answered: false,
        } if !NOT_OF_TLS.iter().any(|words| message.contains(words)) => Error::Unavailable {
            tries,
            message: format!("{message}; if the node uses TLS, give --tls"),
            answered: false,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_suggested_where_it_may_be_what_is_missing() {
        for (message, answered, expected) in [
            ("db:9000: transport error: http2 error", false, true),
            ("db:9000: starting", true, false),
            ("db:9000: tcp connect error: refused", false, false),
            (
                "db:9000: no answer within the request timeout",
                false,
                false,
            ),
        ] {
            let error = suggest_tls(Error::Unavailable {
                tries: 5,
                message: message.into(),
                answered,
            });
            let words = error.to_string();
            assert!(words.contains(message), "{words}");
            assert_eq!(words.contains("--tls"), expected, "{words}");
        }
    }
}
