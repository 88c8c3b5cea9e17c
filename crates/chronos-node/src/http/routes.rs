//! The answers.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::{Endpoints, State};

/// The content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/health/ready", get(ready_json))
        .route("/health/deep", get(deep))
        .route("/metrics", get(metrics))
        .with_state(endpoints)
}

/// Existing scripts look for a body that begins with `OK`.
async fn health(Shared(endpoints): Shared<Endpoints>) -> Response {
    match endpoints.readiness.state().reason() {
        None if endpoints.is_clustered => {
            format!("OK - Cluster Mode\nNode: {}\n", endpoints.node_id).into_response()
        }
        None => "OK - Standalone Mode\n".into_response(),
        Some(reason) => unavailable(&format!("NOT READY - {reason}\n")),
    }
}

/// Only a failure asks for a restart: a node that replays a long log or drains must be left alone.
async fn live(Shared(endpoints): Shared<Endpoints>) -> Response {
    let state = endpoints.readiness.state();
    match (&state, state.reason()) {
        (State::Failed(_), Some(reason)) => unavailable(&format!("{reason}\n")),
        _ => "ok\n".into_response(),
    }
}

async fn ready(Shared(endpoints): Shared<Endpoints>) -> Response {
    match endpoints.readiness.state().reason() {
        None => "ok\n".into_response(),
        Some(reason) => unavailable(&format!("{reason}\n")),
    }
}

async fn ready_json(Shared(endpoints): Shared<Endpoints>) -> Response {
    let checks = Map::from_iter([node_check(&endpoints)]);
    report(&endpoints, checks, ["ready", "not_ready"])
}

/// `?probe=true` asks existing servers to look closer; here every request looks at the live state.
async fn deep(Shared(endpoints): Shared<Endpoints>) -> Response {
    let mut checks = Map::from_iter([node_check(&endpoints)]);
    for (name, check) in endpoints.checks.ask() {
        checks.insert(name, check_json(check.healthy, &check.detail));
    }
    report(&endpoints, checks, ["healthy", "degraded"])
}

async fn metrics(Shared(endpoints): Shared<Endpoints>) -> Response {
    // Collecting reads /proc and the index's statistics.
    let metrics = endpoints.metrics.clone();
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Ok(Err(error)) => failure(&error.to_string()),
        Err(error) => failure(&error.to_string()),
    }
}

fn node_check(endpoints: &Endpoints) -> (String, Value) {
    let reason = endpoints.readiness.state().reason();
    let detail = reason.as_deref().unwrap_or("the node is ready");
    ("node".to_owned(), check_json(reason.is_none(), detail))
}

fn check_json(healthy: bool, detail: &str) -> Value {
    let status = if healthy { "ok" } else { "failed" };
    json!({ "status": status, "detail": detail, "healthy": healthy })
}

fn report(endpoints: &Endpoints, checks: Map<String, Value>, words: [&str; 2]) -> Response {
    let healthy = checks.values().all(|check| check["healthy"] == true);
    let (code, word) = if healthy {
        (StatusCode::OK, words[0])
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, words[1])
    };
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let body = json!({
        "status": word,
        "node_id": endpoints.node_id,
        "timestamp": since_epoch.as_millis() as u64,
        "uptime_ms": endpoints.started.elapsed().as_millis() as u64,
        "checks": checks,
        "healthy": healthy,
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, format!("{body}\n")).into_response()
}

fn unavailable(body: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, body.to_owned()).into_response()
}

fn failure(reason: &str) -> Response {
    let body = format!("metrics cannot be shown: {reason}\n");
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}
