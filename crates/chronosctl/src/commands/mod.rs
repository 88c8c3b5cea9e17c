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

/// Connects to the nodes named on the command line, and names them when none answers.
async fn connect(to: &Connect) -> Result<Client, Error> {
    Client::connect(to.options())
        .await
        .map_err(|error| match error {
            Error::Unavailable { tries, message } => Error::Unavailable {
                tries,
                message: format!("{}: {message}", to.addr),
            },
            error => error,
        })
}
