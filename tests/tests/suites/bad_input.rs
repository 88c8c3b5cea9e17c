//! Bad input gets a clear error, changes nothing, and does not harm the server.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use chronos_proto::cronos_db::{GetPartitionRequest, PublishRequest, SubscribeRequest};
use chronos_tests::client::{Client, event, event_at, event_of, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::http::get;
use chronos_tests::patience::soon;
use chronos_tests::random::Random;
use chronos_tests::server::Server;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::serve;

async fn last_offset(client: &Client) -> i64 {
    let request = GetPartitionRequest { partition_id: 0 };
    client
        .partitions
        .clone()
        .get_partition(request)
        .await
        .unwrap()
        .into_inner()
        .last_offset
}

/// The server runs and works, and holds exactly `count` events besides the one this publishes.
async fn unharmed(server: &mut Server, client: &Client, count: i64) {
    assert!(server.is_running(), "{}", server.log());
    assert_eq!(last_offset(client).await, count - 1);
    let id = format!("probe {}", wall_ms());
    let answer = soon("a publish is answered", client.publish(event(&id, "probe")))
        .await
        .unwrap();
    assert!(answer.success && answer.offset == count, "{answer:?}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Sends bytes as the body of a gRPC call; the status that the server answers with.
async fn call(server: &Server, path: &str, body: Bytes) -> (Option<String>, String) {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}{path}", server.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut sender) = requests.send_request(request, false).unwrap();
    sender.send_data(body, true).unwrap();
    let Ok(response) = soon(&format!("{path} answers"), response).await else {
        return (None, "the stream was reset".to_string());
    };
    let text = |map: &http::HeaderMap, name: &str| {
        map.get(name)
            .and_then(|it| it.to_str().ok())
            .map(str::to_string)
    };
    let mut status = text(response.headers(), "grpc-status");
    let mut message = text(response.headers(), "grpc-message").unwrap_or_default();
    let mut body = response.into_body();
    while let Some(data) = soon("the body ends", body.data()).await {
        let Ok(data) = data else { break };
        let _ = body.flow_control().release_capacity(data.len());
    }
    if let Ok(Some(trailers)) = soon("the trailers", body.trailers()).await {
        status = status.or(text(&trailers, "grpc-status"));
        message.push_str(&text(&trailers, "grpc-message").unwrap_or_default());
    }
    driver.abort();
    (status, message)
}

/// A gRPC frame around a message.
fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// `PublishRequest` with an event whose field `number` holds these bytes.
fn publish_with(number: u32, bytes: &[u8]) -> Bytes {
    let mut inner = event("", "t").encode_to_vec();
    prost::encoding::bytes::encode(number, &bytes.to_vec(), &mut inner);
    if number != 1 {
        prost::encoding::string::encode(1, &"a".to_string(), &mut inner);
    }
    let mut outer = Vec::new();
    prost::encoding::bytes::encode(1, &inner, &mut outer);
    frame(&outer)
}

const PUBLISH: &str = "/cronos_db.EventService/Publish";

#[tokio::test]
async fn sizes_beyond_their_limits_are_refused_and_at_their_limits_accepted() {
    let (mut server, client) = serve(&[]).await;
    let mut bad = Vec::new();
    for (id, accepted) in [
        ("x".repeat(128), true),
        ("x".repeat(129), false),
        ("é".repeat(65), false),
    ] {
        bad.push((event(&id, "t"), accepted));
    }
    for (topic, accepted) in [("é".repeat(127), true), ("x".repeat(256), false)] {
        bad.push((event(&format!("topic {}", topic.len()), &topic), accepted));
    }
    for (bytes, accepted) in [(4 << 20, true), ((4 << 20) + 1, false), (10 << 20, false)] {
        let mut large = event(&format!("payload {bytes}"), "t");
        large.payload = vec![1; bytes].into();
        bad.push((large, accepted));
    }
    for (bytes, accepted) in [((64 << 10) - 1, true), (64 << 10, false)] {
        let mut large = event(&format!("meta {bytes}"), "t");
        large.meta.insert("k".into(), "v".repeat(bytes));
        bad.push((large, accepted));
    }
    let mut stored = 0;
    for (event, accepted) in bad {
        let name = format!("{:.20}… {:.20}…", event.message_id, event.topic);
        let answer = client.publish(event).await.unwrap();
        assert_eq!(answer.success, accepted, "{name}: {answer:?}");
        assert_eq!(answer.error.is_empty(), accepted, "{name}: {answer:?}");
        stored += i64::from(accepted);
    }
    unharmed(&mut server, &client, stored).await;
}

#[tokio::test]
async fn extreme_times_are_refused_or_kept() {
    let (mut server, client) = serve(&[]).await;
    const END_OF_9999: i64 = 253_402_300_799_999;
    for (id, schedule_ts, accepted) in [
        ("min", i64::MIN, false),
        ("minus one", -1, false),
        ("zero", 0, false),
        ("one", 1, true),
        ("last", END_OF_9999, true),
        ("beyond", END_OF_9999 + 1, false),
        ("nanoseconds", 1_800_000_000_000_000_000, false),
        ("max", i64::MAX, false),
    ] {
        let answer = client
            .publish(event_at(id, "t", schedule_ts))
            .await
            .unwrap();
        assert_eq!(answer.success, accepted, "{id}: {answer:?}");
        assert_eq!(answer.error.is_empty(), accepted, "{id}: {answer:?}");
    }
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(event_of(&subscription.next().await).message_id, "one");
    assert!(
        subscription
            .within(Duration::from_millis(300))
            .await
            .is_none(),
        "not due for long"
    );
    unharmed(&mut server, &client, 2).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let (mut server, client) = serve(&[]).await;
    let mut pair = Vec::new();
    prost::encoding::bytes::encode(1, &b"k\xff".to_vec(), &mut pair);
    prost::encoding::bytes::encode(2, &b"v".to_vec(), &mut pair);
    for (number, bytes) in [(1, &b"id\xff\xfe"[..]), (4, b"\xc3\x28"), (5, &pair)] {
        let (status, message) = call(&server, PUBLISH, publish_with(number, bytes)).await;
        // InvalidArgument or Internal, as gRPC servers say it.
        assert!(
            matches!(status.as_deref(), Some("3" | "13")),
            "field {number}: {status:?} {message}"
        );
        assert!(!message.is_empty(), "field {number}");
    }
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn malformed_protobuf_is_refused_by_every_method() {
    let (mut server, client) = serve(&[]).await;
    let mut random = Random::new(41);
    let methods = [
        "EventService/Publish",
        "EventService/PublishBatch",
        "EventService/Subscribe",
        "EventService/Ack",
        "EventService/Replay",
        "ConsumerGroupService/CreateConsumerGroup",
        "ConsumerGroupService/GetConsumerGroup",
        "PartitionService/GetPartition",
    ];
    // A length beyond the end, a group that never ends, a varint without an end, field number 0.
    let bad: [&[u8]; 4] = [
        b"\x0a\xff\xff\xff\xff\x0fabc",
        b"\x0b\x0b\x0b",
        &[0xff; 11],
        b"\x00\x00",
    ];
    for method in methods {
        let path = format!("/cronos_db.{method}");
        for body in bad {
            let (status, message) = call(&server, &path, frame(body)).await;
            assert!(
                !matches!(status.as_deref(), Some("0")),
                "{method} {body:?}: {message}"
            );
        }
        for _ in 0..10 {
            let len = usize::try_from(random.range(0, 200)).unwrap();
            call(&server, &path, frame(&random.bytes(len))).await;
        }
    }
    let last = last_offset(&client).await;
    assert_eq!(last, -1, "noise is not an event");
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn truncated_messages_are_refused() {
    let (mut server, client) = serve(&[]).await;
    let request = PublishRequest {
        event: Some(event("a", "t")),
        allow_duplicate: false,
        ..Default::default()
    };
    let whole = frame(&request.encode_to_vec());
    for len in [0, 1, 4, 5, 6, whole.len() / 2, whole.len() - 1] {
        let (status, _) = call(&server, PUBLISH, whole.slice(..len)).await;
        assert!(
            !matches!(status.as_deref(), Some("0")),
            "{len} of {} bytes",
            whole.len()
        );
    }
    // Frames that hold less than the message they begin, each cut at another byte.
    let message = request.encode_to_vec();
    for len in 1..message.len() {
        call(&server, PUBLISH, frame(&message[..len])).await;
    }
    assert_eq!(last_offset(&client).await, -1);
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn frames_that_lie_about_themselves_are_refused() {
    let (mut server, client) = serve(&[]).await;
    let compressed = Bytes::from_static(b"\x01\x00\x00\x00\x02ab");
    let huge = Bytes::from_static(b"\x00\xff\xff\xff\xffab");
    let flag = Bytes::from_static(b"\x07\x00\x00\x00\x00");
    for body in [compressed, huge, flag] {
        let (status, _) = call(&server, PUBLISH, body.clone()).await;
        assert!(!matches!(status.as_deref(), Some("0")), "{body:?}");
    }
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn a_message_above_16_mebibytes_is_refused_with_a_status() {
    let (mut server, client) = serve(&[]).await;
    let mut batch = Vec::new();
    for number in 0..18 {
        let mut large = event(&format!("a{number}"), "t");
        large.payload = vec![1; 1 << 20].into();
        batch.push(large);
    }
    let status = client.publish_batch(batch).await.unwrap_err();
    let code = status.code();
    assert!(
        matches!(code, Code::OutOfRange | Code::ResourceExhausted),
        "{status}"
    );
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn an_event_must_be_there() {
    let (mut server, client) = serve(&[]).await;
    match client
        .events
        .clone()
        .publish(PublishRequest::default())
        .await
    {
        Ok(answer) => assert!(!answer.get_ref().success && !answer.get_ref().error.is_empty()),
        Err(status) => assert_eq!(status.code(), Code::InvalidArgument),
    }
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn a_subscription_needs_a_group_of_a_fair_length() {
    let (mut server, client) = serve(&[]).await;
    for group in [String::new(), "x".repeat(100_000)] {
        let request = SubscribeRequest {
            consumer_group: group,
            ..subscription("", "m", "t")
        };
        let requests = tokio_stream::once(request);
        let status = match client.events.clone().subscribe(requests).await {
            Err(status) => status,
            Ok(stream) => soon("the stream fails", stream.into_inner().message())
                .await
                .expect_err("a refusal"),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(!status.message().is_empty());
    }
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn half_open_connections_and_streams_harm_nobody() {
    let (mut server, client) = serve(&[]).await;
    let mut open = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let part = number % (H2_PREFACE.len() + 1);
        stream.write_all(&H2_PREFACE[..part]).await.unwrap();
        open.push(stream);
    }
    // Calls that begin and never say anything.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(client.acks().await.unwrap());
        let events = client.events.clone();
        silent_subscription(events);
    }
    unharmed(&mut server, &client, 0).await;
    drop((open, silent));
    unharmed(&mut server, &client, 1).await;
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn silent_subscription(
    mut events: chronos_proto::cronos_db::event_service_client::EventServiceClient<
        tonic::transport::Channel,
    >,
) {
    // Ends with the test's runtime.
    tokio::spawn(async move { events.subscribe(tokio_stream::pending()).await.map(drop) });
}

#[tokio::test]
async fn noise_on_either_port_harms_nobody() {
    let (mut server, client) = serve(&[]).await;
    let mut random = Random::new(42);
    for address in [server.address(), server.http_address()] {
        for round in 0..20 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let mut noise = if round % 2 == 0 {
                H2_PREFACE.to_vec()
            } else {
                Vec::new()
            };
            noise.extend(random.bytes(2_000));
            let _ = stream.write_all(&noise).await;
        }
        // The other protocol of the two.
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = [0; 64];
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut answer)).await;
    }
    assert_eq!(
        get(&server.http_address(), "/no/such/path")
            .await
            .unwrap()
            .0,
        404
    );
    let (status, body) = get(&server.http_address(), "/health").await.unwrap();
    assert!(status == 200 && body.starts_with("OK"), "{status} {body}");
    unharmed(&mut server, &client, 0).await;
}

#[tokio::test]
async fn a_client_that_never_reads_holds_up_nobody() {
    let (mut server, client) = serve(&["-max-credits=50000"]).await;
    // Its own connection, with windows that fill at once.
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address()))
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let deaf = Client::new(endpoint.connect().await.unwrap());
    let request = SubscribeRequest {
        max_buffer_size: 50_000,
        ..subscription("deaf", "m", "t")
    };
    let _never_read = deaf.subscribe(request).await.unwrap();
    let mut reading = client
        .subscribe(subscription("reading", "m", "t"))
        .await
        .unwrap();
    let mut acks = client.acks().await.unwrap();
    for round in 0..20 {
        let batch = (0..200)
            .map(|number| {
                let mut large = event(&format!("{round}/{number}"), "t");
                large.payload = vec![7; 4_000].into();
                large
            })
            .collect();
        assert!(client.publish_batch(batch).await.unwrap().success);
        for delivery in reading.take(200).await {
            assert!(acks.send(chronos_tests::client::settlement(&delivery, true)));
        }
    }
    for _ in 0..4_000 {
        assert!(acks.answer().await.success);
    }
    unharmed(&mut server, &client, 4_000).await;
}
