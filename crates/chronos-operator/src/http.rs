//! What the operator answers over HTTP: probes and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;

/// `/livez` and `/readyz` answer 200 while the process runs: an operator that waits for the Lease is
/// ready to take over, and one whose API server is gone would gain nothing from a restart.
/// `/metrics` is Prometheus' text format.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(show))
        .with_state(metrics)
}

async fn show(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
