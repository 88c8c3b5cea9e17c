//! Several engines in one process, over real sockets on loopback: who leads, what is placed where, and
//! what is copied to whom.

mod leads;
mod node;
mod placing;
mod replaced;
mod replicas;
mod status;

use std::time::Duration;

/// No test here waits longer for anything.
const LIMIT: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

/// Waits until something is so. Looks now and then, because nothing tells of all that is looked at.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
