//! One file per command.

pub(crate) mod completion;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod partition;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod subscribe;

use chronos_client::{Client, Error, Options};

use crate::cli::Connect;

/// Connects to the nodes named on the command line.
async fn connect(to: &Connect) -> Result<Client, Error> {
    Client::connect(Options::new(
        to.addr
            .split(',')
            .filter(|address| !address.trim().is_empty()),
    ))
    .await
}
