//! A server in memory that keeps the contract, or breaks it once in a chosen way.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chronos_proto::cronos_db::{
    AckRequest, AckResponse, Event, PublishBatchResponse, PublishResponse, ReplayRequest,
    SubscribeRequest,
};
use chronos_proto::raw::{
    Delivery, PublishBatchRequest, PublishRequest, ReplayEvent, Stamp, StoredEvent,
};
use chronos_proto::server::event_service_server::{EventService, EventServiceServer};
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Pending, Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::clock;

/// What the server does wrong to the event at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Accepts it and never delivers it.
    Lose(i64),
    /// Delivers it twice as a first attempt.
    Repeat(i64),
    /// Delivers it twice, the second time as attempt 2.
    Redeliver(i64),
    /// Delivers it at once.
    Early(i64),
    /// Flips a bit of its payload.
    Damage(i64),
    /// Delivers it with another schedule_ts.
    Postdate(i64),
    /// Says that it refused it, but delivers it.
    RefuseYetDeliver(i64),
    /// Accepts it and calls it a duplicate.
    CallDuplicate(i64),
    /// Answers the publish with UNAVAILABLE and does nothing.
    Unavailable(i64),
    /// Answers the publish with INTERNAL although it did everything.
    Internal(i64),
}

/// A running fake, on threads of its own so that it can vanish with everything it started.
pub(crate) struct FakeServer {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl FakeServer {
    /// Starts a server with one fault on a free port.
    pub(crate) fn start(fault: Fault) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            fault,
            state: Mutex::default(),
            news: Notify::new(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let service = EventServiceServer::new(Service {
            shared: shared.clone(),
        })
        .max_decoding_message_size(16 << 20);
        runtime.spawn(async move {
            let connections = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            // Without this, small frames wait for the client's delayed TCP acks, 40 ms each.
            let connections = connections.map(|connection| {
                let connection = connection?;
                connection.set_nodelay(true)?;
                Ok::<_, std::io::Error>(connection)
            });
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        Self {
            addr,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Waits until `count` events were published.
    pub(crate) async fn published(&self, count: usize) {
        loop {
            let mut news = std::pin::pin!(self.shared.news.notified());
            news.as_mut().enable();
            if self.shared.state.lock().unwrap().events.len() >= count {
                return;
            }
            news.await;
        }
    }

    /// Breaks off everything.
    pub(crate) fn vanish(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.vanish();
    }
}

struct Shared {
    fault: Fault,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// Events that no member of the group has taken: (when to deliver, offset).
    groups: HashMap<String, BTreeSet<(i64, i64)>>,
}

struct Service {
    shared: Arc<Shared>,
}

impl Shared {
    /// Stores events. The second part of the answer is what the fault makes of the reply.
    fn publish(&self, encoded: Vec<prost::bytes::Bytes>) -> Result<PublishBatchResponse, Status> {
        let mut state = self.state.lock().unwrap();
        let first = state.events.len() as i64;
        let offsets = first..first + encoded.len() as i64;
        if matches!(self.fault, Fault::Unavailable(offset) if offsets.contains(&offset)) {
            // The offset is used up, so that the fault happens once.
            state.events.push(Event::default());
            return Err(Status::unavailable("retry against the partition leader"));
        }
        let mut reply = PublishBatchResponse {
            success: true,
            ..Default::default()
        };
        for (offset, bytes) in offsets.clone().zip(encoded) {
            let event =
                Event::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
            assert!(!event.message_id.is_empty() && !event.topic.is_empty());
            let key = self.key(offset, &event);
            for group in state.groups.values_mut() {
                group.insert(key);
            }
            state.events.push(event);
            match self.fault {
                Fault::RefuseYetDeliver(at) if at == offset => {
                    reply.success = false;
                    reply.error = "payload is required".to_owned();
                    reply.error_count += 1;
                }
                Fault::CallDuplicate(at) if at == offset => {
                    reply.error = "duplicate message_id".to_owned();
                    reply.duplicate_count += 1;
                }
                _ => reply.published_count += 1,
            }
        }
        drop(state);
        self.news.notify_waiters();
        if matches!(self.fault, Fault::Internal(offset) if offsets.contains(&offset)) {
            return Err(Status::internal("something broke"));
        }
        Ok(reply)
    }

    /// When an event is delivered, and its offset.
    fn key(&self, offset: i64, event: &Event) -> (i64, i64) {
        let early = self.fault == Fault::Early(offset);
        (if early { 0 } else { event.schedule_ts }, offset)
    }

    /// The next due event of a group, or when to look again.
    fn take(&self, group: &str) -> Result<i64, Duration> {
        let mut state = self.state.lock().unwrap();
        let waiting = state.groups.entry(group.to_owned()).or_default();
        let now_ms = clock::now_ms();
        match waiting.first().copied() {
            Some((due_ms, offset)) if due_ms <= now_ms => {
                waiting.pop_first();
                Ok(offset)
            }
            Some((due_ms, _)) => Err(Duration::from_millis((due_ms - now_ms) as u64)),
            None => Err(Duration::from_secs(60)),
        }
    }

    fn deliveries(&self, offset: i64) -> Vec<Delivery> {
        let mut event = self.state.lock().unwrap().events[offset as usize].clone();
        match self.fault {
            Fault::Damage(at) if at == offset => {
                let mut payload = event.payload.to_vec();
                payload[0] ^= 1;
                event.payload = payload.into();
            }
            Fault::Postdate(at) if at == offset => event.schedule_ts -= 1,
            _ => {}
        }
        let attempts: &[i32] = match self.fault {
            Fault::Lose(at) if at == offset => &[],
            Fault::Repeat(at) if at == offset => &[1, 1],
            Fault::Redeliver(at) if at == offset => &[1, 2],
            _ => &[1],
        };
        let stamp = Stamp {
            offset,
            ..Stamp::default()
        };
        attempts
            .iter()
            .map(|attempt| Delivery {
                event: StoredEvent::new(event.encode_to_vec().into(), stamp),
                delivery_id: format!("group:0:member-{offset}").into(),
                attempt: *attempt,
                ack_timeout_ms: 30_000,
                ..Delivery::default()
            })
            .collect()
    }
}

#[tonic::async_trait]
impl EventService for Service {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let event = request.into_inner().event.unwrap();
        let reply = self.shared.publish(vec![event])?;
        Ok(Response::new(PublishResponse {
            success: reply.published_count == 1,
            error: reply.error,
            ..Default::default()
        }))
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        self.shared
            .publish(request.into_inner().events)
            .map(Response::new)
    }

    type SubscribeStream = ReceiverStream<Result<Delivery, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let wanted = requests.next().await.unwrap()?;
        assert_eq!(wanted.partition_id, -1);
        assert!(wanted.max_buffer_size > 0 && !wanted.subscription_id.is_empty());
        let shared = self.shared.clone();
        let group = wanted.consumer_group;
        {
            let mut state = shared.state.lock().unwrap();
            let keys = (0..)
                .zip(&state.events)
                .map(|(offset, event)| shared.key(offset, event))
                .collect();
            state.groups.entry(group.clone()).or_insert(keys);
        }
        let (sender, receiver) = mpsc::channel(256);
        tokio::spawn(async move {
            // Held, so that the client sees a stream that stays open.
            let _requests = requests;
            loop {
                let mut news = std::pin::pin!(shared.news.notified());
                news.as_mut().enable();
                match shared.take(&group) {
                    Ok(offset) => {
                        for delivery in shared.deliveries(offset) {
                            if sender.send(Ok(delivery)).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(wait) => tokio::select! {
                        () = news => {}
                        () = tokio::time::sleep(wait) => {}
                        () = sender.closed() => return,
                    },
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type AckStream = std::pin::Pin<Box<dyn Stream<Item = Result<AckResponse, Status>> + Send>>;

    async fn ack(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckStream>, Status> {
        let answers = request.into_inner().map(|request| {
            let request = request?;
            Ok(AckResponse {
                success: request.success && !request.delivery_id.is_empty(),
                error: String::new(),
                committed_offset: request.next_offset,
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type ReplayStream = Pending<Result<ReplayEvent, Status>>;

    async fn replay(
        &self,
        _: Request<ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        Err(Status::unimplemented("the fake does not replay"))
    }
}
