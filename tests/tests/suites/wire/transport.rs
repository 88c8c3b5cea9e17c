//! HTTP/2 as the load generators use it.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use chronos_tests::client::{Client, event, event_of, subscription};
use chronos_tests::patience::soon;
use chronos_tests::server::Server;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::serve;

/// An HTTP/2 connection without gRPC above it, and the task that drives it.
struct Raw {
    requests: h2::client::SendRequest<Bytes>,
    pings: h2::PingPong,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Raw {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (requests, mut connection) = h2::client::handshake(stream).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        Self {
            requests,
            pings,
            driver: tokio::spawn(connection),
        }
    }
}

#[tokio::test]
async fn pings_without_a_stream_are_answered_and_not_punished() {
    let (server, _client) = serve(&[]).await;
    let mut raw = Raw::connect(&server).await;
    // Far more, and far closer together, than a client that pings every 10 seconds sends.
    for _ in 0..200 {
        let pong = raw.pings.ping(h2::Ping::opaque());
        soon("a ping is answered", pong)
            .await
            .expect("the connection lives");
    }
    assert!(!raw.driver.is_finished(), "the server must not say GOAWAY");
    let ready = soon("the connection takes requests", raw.requests.ready()).await;
    assert!(ready.is_ok(), "{:?}", ready.err());
}

#[tokio::test]
async fn ten_thousand_streams_are_allowed_on_a_connection() {
    let (server, _client) = serve(&[]).await;
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (requests, mut connection) = h2::client::handshake(stream).await.unwrap();
    let before = connection.max_concurrent_send_streams();
    let told = std::future::poll_fn(|context| {
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(context) {
            panic!("the connection ended: {end:?}");
        }
        match connection.max_concurrent_send_streams() {
            limit if limit == before => Poll::Pending,
            limit => Poll::Ready(limit),
        }
    });
    let limit = soon("the server's settings are known", told).await;
    assert!(limit >= 10_000, "{limit}");
    drop(requests);
}

#[tokio::test]
async fn hundreds_of_open_streams_share_a_connection() {
    let (_server, client) = serve(&[]).await;
    let mut open = Vec::new();
    for number in 0..300 {
        let request = subscription(&format!("group {number}"), "m", "t");
        open.push(client.subscribe(request).await.unwrap());
    }
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    for subscription in &mut open {
        assert_eq!(event_of(&subscription.next().await).message_id, "a");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_takes_nothing_with_it() {
    let (server, client) = serve(&[]).await;
    for round in 0..5 {
        let other = Client::new(server.channel().unwrap());
        let id = format!("a{round}");
        assert!(other.publish(event(&id, "t")).await.unwrap().success);
        let mut subscription = other.subscribe(subscription(&id, "m", "t")).await.unwrap();
        subscription.next().await;
    }
    let mut all = client
        .subscribe(subscription("last", "m", "t"))
        .await
        .unwrap();
    assert_eq!(all.take(5).await.len(), 5);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let (server, _client) = serve(&[]).await;
    let mut raw = Raw::connect(&server).await;
    for path in [
        "/cronos_db.EventService/NoSuchMethod",
        "/no.such.Service/Method",
    ] {
        let request = http::Request::post(format!("http://{}{path}", server.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = raw.requests.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        let response = soon("an answer", response).await.unwrap();
        assert_eq!(response.headers().get("grpc-status").unwrap(), "12");
    }
}
