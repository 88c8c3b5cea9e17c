//! Groups of one voter over a real log in a temporary folder, and of several in simulated time.

mod chaos;
mod cluster;
mod disk;
mod faults;
mod force;
mod journal;
mod lease;
mod membership;
mod net;
mod order;
mod purge;
mod recovery;
mod replication;
mod restart;
mod seed;
mod serve;
mod transfer;

use std::time::Duration;

use bytes::Bytes;

/// Bounds a wait that would otherwise be for ever when something is broken.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it takes far too long")
}

/// A command that says which it is.
fn numbered(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}
