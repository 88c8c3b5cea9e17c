//! The HTTP side of a node: health for people and load balancers, probes for Kubernetes, metrics.
//!
//! | path | 200 when | body |
//! |---|---|---|
//! | `/health` | ready | `OK - Standalone Mode`, or `OK - Cluster Mode` and the node, or the reason why not |
//! | `/livez` | not failed | `ok`, or what failed |
//! | `/readyz` | ready | `ok`, or the reason why not |
//! | `/health/ready` | ready | JSON |
//! | `/health/deep` | ready and every check healthy | JSON with the checks |
//! | `/metrics` | always | Prometheus text |
//!
//! Everything else that is not 200 is 503, but for unknown paths.

mod checks;
mod readiness;
mod routes;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

pub use checks::{Check, Checks};
pub use readiness::{Readiness, State};

use crate::metrics::Metrics;

/// How long answers in progress may take after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What the HTTP side shows.
#[derive(Clone)]
pub struct Endpoints {
    /// The node's id.
    pub node_id: String,
    /// Whether it belongs to a cluster.
    pub is_clustered: bool,
    /// Whether the node serves.
    pub readiness: Readiness,
    /// The checks of `/health/deep`.
    pub checks: Checks,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// When the process started.
    pub started: Instant,
}

/// Answers on the listener until `stop` resolves, then finishes what is in progress, for at most
/// two seconds.
///
/// # Errors
/// The system's, if the listener fails.
pub async fn serve(
    listener: TcpListener,
    endpoints: Endpoints,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let signal = async move {
        stop.await;
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, routes::router(endpoints)).with_graceful_shutdown(signal);
    let deadline = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(STOP_GRACE).await,
            // The server ended by itself and dropped the signal.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        done = server => done,
        () = deadline => Ok(()),
    }
}

#[cfg(test)]
mod tests;
