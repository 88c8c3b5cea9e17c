//! Every path over a real socket, with a client of a few lines: each request closes its connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Server {
    address: SocketAddr,
    readiness: Readiness,
    checks: Checks,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoints = Endpoints {
        node_id: "n".to_owned(),
        is_clustered: false,
        readiness: Readiness::new(),
        checks: Checks::new(),
        metrics: Arc::new(Metrics::new()),
        started: Instant::now(),
    };
    let (readiness, checks) = (endpoints.readiness.clone(), endpoints.checks.clone());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, endpoints, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        readiness,
        checks,
        stop,
        task,
    }
}

/// The status and the body.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (head, body) = exchange(address, path).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body)
}

async fn exchange(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_node_that_starts_is_alive_and_not_ready() {
    let server = start().await;
    server.readiness.starting("replaying partition 3");
    let reason = "starting: replaying partition 3";
    assert_eq!(
        get(server.address, "/livez").await,
        (200, "ok\n".to_owned())
    );
    assert_eq!(
        get(server.address, "/readyz").await,
        (503, format!("{reason}\n"))
    );
    assert_eq!(
        get(server.address, "/health").await,
        (503, format!("NOT READY - {reason}\n"))
    );
    let (status, body) = get(server.address, "/health/ready").await;
    assert_eq!(status, 503);
    assert_eq!(json(&body)["status"], "not_ready");
    assert_eq!(json(&body)["checks"]["node"]["detail"], reason);
}

#[tokio::test]
async fn a_ready_node_says_so_everywhere() {
    let server = start().await;
    server.readiness.ready();
    assert_eq!(
        get(server.address, "/health").await,
        (200, "OK - Standalone Mode\n".to_owned())
    );
    assert_eq!(get(server.address, "/livez").await.0, 200);
    assert_eq!(
        get(server.address, "/readyz").await,
        (200, "ok\n".to_owned())
    );
    let (status, body) = get(server.address, "/health/ready").await;
    assert_eq!((status, &json(&body)["status"]), (200, &"ready".into()));
    let (status, body) = get(server.address, "/health/deep?probe=true").await;
    let body = json(&body);
    assert_eq!(status, 200);
    assert_eq!(body["status"], "healthy");
    assert_eq!(body["healthy"], true);
    assert_eq!(body["node_id"], "n");
    assert!(body["timestamp"].is_u64() && body["uptime_ms"].is_u64());
    assert_eq!(body["checks"]["node"]["healthy"], true);
    assert_eq!(get(server.address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn one_failing_check_degrades_the_node() {
    let server = start().await;
    server.readiness.ready();
    for (name, healthy) in [("wal", true), ("disk", false)] {
        server.checks.add(name, move || Check {
            healthy,
            detail: format!("{name} looked at"),
        });
    }
    let (status, body) = get(server.address, "/health/deep").await;
    let body = json(&body);
    assert_eq!(status, 503);
    assert_eq!(body["status"], "degraded");
    assert_eq!(body["checks"]["wal"]["status"], "ok");
    assert_eq!(body["checks"]["disk"]["status"], "failed");
    assert_eq!(body["checks"]["disk"]["detail"], "disk looked at");
    assert_eq!(get(server.address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn draining_is_alive_and_failed_is_not() {
    let server = start().await;
    server.readiness.ready();
    server.readiness.draining();
    assert_eq!(get(server.address, "/livez").await.0, 200);
    assert_eq!(get(server.address, "/readyz").await.0, 503);
    server.readiness.failed("fsync failed");
    assert_eq!(
        get(server.address, "/livez").await,
        (503, "failed: fsync failed\n".to_owned())
    );
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = start().await;
    let (head, body) = exchange(server.address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.to_lowercase()
            .contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("\nchronos_build_info{"), "{body}");
    assert!(body.contains("\nprocess_open_fds "), "{body}");
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends_the_task() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client_that_never_finishes_its_request() {
    let server = start().await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
}
