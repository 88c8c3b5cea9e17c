//! A scripted server for this crate's tests: stores what is published in memory, delivers
//! what the test says, and fails when the test says.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronos_proto::cronos_db::{
    AckRequest, AckResponse, CompactRequest, CompactResponse, Event, ExistingEvent,
    GetPartitionRequest, GetSchedulerStatusRequest, GetWalStatusRequest, ListPartitionsRequest,
    ListPartitionsResponse, PartitionInfo, PublishBatchResponse, PublishResponse, ReplayRequest,
    RetentionRequest, RetentionResponse, SchedulerStatus, SplitPartitionRequest,
    SplitPartitionResponse, SubscribeRequest, WalStatus,
};
use chronos_proto::raw::{
    Delivery, PublishBatchRequest, PublishRequest, ReplayEvent, Stamp, StoredEvent,
};
use chronos_proto::server::event_service_server::{EventService, EventServiceServer};
use chronos_proto::server::partition_service_server::{PartitionService, PartitionServiceServer};
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::error::DUPLICATE;
use crate::{Client, Options, RetryPolicy, partition_of, routing_key};

/// What one publish request meets. Without a script, success.
pub(crate) enum PublishStep {
    Fail(Status),
    StoreThenFail(Status),
}

/// How a scripted subscription ends.
#[derive(Clone, Copy)]
pub(crate) enum SessionEnd {
    Ok,
    Unavailable,
    Refused,
}

pub(crate) struct Fake {
    service: Service,
    address: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    acked: Notify,
}

#[derive(Default)]
struct State {
    partitions: Vec<Vec<Event>>,
    ids: HashSet<String>,
    publish_script: VecDeque<PublishStep>,
    batch_calls: usize,
    /// Ids to deliver, in order, with whether they are settled.
    deliveries: Vec<(String, bool)>,
    /// Per subscription to come: how many events it gets, and how it ends after their acks.
    session_script: VecDeque<(usize, SessionEnd)>,
    subscribes: Vec<SubscribeRequest>,
    acks: Vec<AckRequest>,
    swallow_acks: usize,
    refuse_acks: bool,
    /// Where the leader of every partition is said to be.
    leader: Option<String>,
}

impl Fake {
    pub(crate) async fn start(partition_count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = Service(Arc::default());
        service.state().partitions = vec![Vec::new(); partition_count];
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tonic::transport::Server::builder()
            .add_service(EventServiceServer::new(service.clone()))
            .add_service(PartitionServiceServer::new(service.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        Self {
            service,
            address,
            stop: Some(stop),
            serving: tokio::spawn(async { server.await.unwrap() }),
        }
    }

    /// A client that tries again without long pauses.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(Duration::from_millis(5)).await
    }

    /// A client whose longest pause is this one.
    pub(crate) async fn client_with(&self, max_backoff: Duration) -> Client {
        Client::connect(self.options(max_backoff)).await.unwrap()
    }

    pub(crate) fn options(&self, max_backoff: Duration) -> Options {
        let mut options = Options::new([self.address.clone()]);
        options.retry = RetryPolicy {
            attempts: 5,
            initial_backoff: Duration::from_millis(1),
            max_backoff,
        };
        options
    }

    /// Stops listening and closes idle connections.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        self.serving.await.unwrap();
    }

    pub(crate) fn script_publish(&self, steps: impl IntoIterator<Item = PublishStep>) {
        self.service.state().publish_script.extend(steps);
    }

    pub(crate) fn script_sessions(&self, steps: impl IntoIterator<Item = (usize, SessionEnd)>) {
        self.service.state().session_script.extend(steps);
    }

    pub(crate) fn deliver(&self, ids: impl IntoIterator<Item = &'static str>) {
        let ids = ids.into_iter().map(|id| (id.to_string(), false));
        self.service.state().deliveries.extend(ids);
    }

    /// Breaks the Ack stream instead of answering, so many times.
    pub(crate) fn swallow_acks(&self, count: usize) {
        self.service.state().swallow_acks = count;
    }

    /// Says that every partition's leader is at this address.
    pub(crate) fn name_leader(&self, address: &str) {
        self.service.state().leader = Some(address.to_owned());
    }

    pub(crate) fn refuse_acks(&self) {
        self.service.state().refuse_acks = true;
    }

    pub(crate) fn stored(&self) -> Vec<Event> {
        self.service.state().partitions.concat()
    }

    pub(crate) fn stored_at(&self, partition_id: u32, offset: u64) -> Option<Event> {
        let state = self.service.state();
        let events = state.partitions.get(partition_id as usize)?;
        events.get(offset as usize).cloned()
    }

    pub(crate) fn batch_calls(&self) -> usize {
        self.service.state().batch_calls
    }

    pub(crate) fn subscribes(&self) -> Vec<SubscribeRequest> {
        self.service.state().subscribes.clone()
    }

    pub(crate) fn acks(&self) -> Vec<AckRequest> {
        self.service.state().acks.clone()
    }
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn store(&mut self, event: &[u8], allow_duplicate: bool) -> Result<(i32, i64), String> {
        let mut event = Event::decode(event).map_err(|error| error.to_string())?;
        if event.message_id.is_empty() {
            return Err("message_id is required".into());
        }
        if !self.ids.insert(event.message_id.clone()) && !allow_duplicate {
            return Err(DUPLICATE.into());
        }
        let partition = partition_of(routing_key(&event), self.partitions.len() as u32);
        let events = &mut self.partitions[partition as usize];
        event.partition_id = partition as i32;
        event.offset = events.len() as i64;
        let position = (event.partition_id, event.offset);
        events.push(event);
        Ok(position)
    }

    fn existing(&self, message_id: &str) -> Option<ExistingEvent> {
        let mut events = self.partitions.iter().flatten();
        let event = events.find(|event| event.message_id == message_id)?;
        Some(ExistingEvent {
            offset: event.offset,
            partition_id: event.partition_id,
            schedule_ts: event.schedule_ts,
            version: 1,
            ..ExistingEvent::default()
        })
    }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Service {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        let step = state.publish_script.pop_front();
        if let Some(PublishStep::Fail(status)) = step {
            return Err(status);
        }
        let event = request.event.unwrap_or_default();
        let stored = state.store(&event, request.allow_duplicate);
        if let Some(PublishStep::StoreThenFail(status)) = step {
            return Err(status);
        }
        let sent = Event::decode(&event[..]).unwrap_or_default();
        Ok(Response::new(match stored {
            Ok((partition_id, offset)) => PublishResponse {
                success: true,
                partition_id,
                offset,
                schedule_ts: sent.schedule_ts,
                ..PublishResponse::default()
            },
            Err(error) => PublishResponse {
                error,
                existing: request
                    .return_existing
                    .then(|| state.existing(&sent.message_id))
                    .flatten(),
                ..PublishResponse::default()
            },
        }))
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.batch_calls += 1;
        let step = state.publish_script.pop_front();
        if let Some(PublishStep::Fail(status)) = step {
            return Err(status);
        }
        let mut response = PublishBatchResponse {
            first_offset: -1,
            last_offset: -1,
            ..PublishBatchResponse::default()
        };
        for event in &request.events {
            match state.store(event, request.allow_duplicate) {
                Ok((_, offset)) => {
                    response.published_count += 1;
                    if response.first_offset < 0 {
                        response.first_offset = offset;
                    }
                    response.last_offset = offset;
                }
                Err(error) if error == DUPLICATE => response.duplicate_count += 1,
                Err(error) => {
                    response.error_count += 1;
                    response.error = error;
                }
            }
        }
        response.success = response.error_count == 0;
        if let Some(PublishStep::StoreThenFail(status)) = step {
            return Err(status);
        }
        Ok(Response::new(response))
    }

    type SubscribeStream = Streamed<Delivery>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let Some(request) = requests.message().await? else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let (session, script, batch) = {
            let mut state = self.state();
            state.subscribes.push(request);
            let script = state.session_script.pop_front();
            let limit = script.map_or(usize::MAX, |(limit, _)| limit);
            let batch: Vec<String> = state
                .deliveries
                .iter()
                .filter(|(_, settled)| !settled)
                .take(limit)
                .map(|(id, _)| id.clone())
                .collect();
            (state.subscribes.len(), script, batch)
        };
        let deliveries = stream::iter(batch.clone().into_iter().enumerate())
            .map(move |(offset, id)| Ok(delivery(session, offset as i64, &id)));
        let service = self.clone();
        let end = stream::once(async move {
            let Some((_, end)) = script else {
                return std::future::pending().await;
            };
            service.all_acked(&batch).await;
            end
        })
        .filter_map(|end| async move {
            match end {
                SessionEnd::Ok => None,
                SessionEnd::Unavailable => Some(Err(Status::unavailable("going away"))),
                SessionEnd::Refused => Some(Err(Status::invalid_argument("no such thing"))),
            }
        });
        // Holds the request stream, as a server does until the client goes away.
        let held = stream::once(async move {
            drop(requests);
            None
        })
        .filter_map(|item: Option<Result<Delivery, Status>>| async move { item });
        Ok(Response::new(deliveries.chain(end).chain(held).boxed()))
    }

    type AckStream = Streamed<AckResponse>;

    async fn ack(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, answered) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(ack)) = requests.message().await {
                let answer = service.settle(ack);
                let broken = answer.is_err();
                if answers.send(answer).await.is_err() || broken {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answered).boxed()))
    }

    type ReplayStream = Streamed<ReplayEvent>;

    async fn replay(
        &self,
        request: Request<ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        let request = request.into_inner();
        let events: Vec<Event> = self.state().partitions[request.partition_id as usize]
            .iter()
            .skip(request.start_offset as usize)
            .take(request.count as usize)
            .cloned()
            .collect();
        let replayed = events.into_iter().enumerate().map(|(nth, event)| {
            Ok(ReplayEvent {
                event: StoredEvent {
                    bytes: event.encode_to_vec().into(),
                    stamp: None,
                },
                replay_offset: nth as i64,
                ..ReplayEvent::default()
            })
        });
        Ok(Response::new(stream::iter(replayed).boxed()))
    }
}

impl Service {
    fn settle(&self, ack: AckRequest) -> Result<AckResponse, Status> {
        let mut state = self.state();
        state.acks.push(ack.clone());
        if state.swallow_acks > 0 {
            state.swallow_acks -= 1;
            return Err(Status::unavailable("connection lost"));
        }
        if state.refuse_acks {
            return Ok(AckResponse {
                error: "refused".into(),
                ..AckResponse::default()
            });
        }
        let id = ack.delivery_id.split('/').nth(1).unwrap_or_default();
        for (delivered, settled) in &mut state.deliveries {
            *settled |= delivered == id;
        }
        self.0.acked.notify_waiters();
        Ok(AckResponse {
            success: true,
            committed_offset: ack.next_offset,
            ..AckResponse::default()
        })
    }

    async fn all_acked(&self, ids: &[String]) {
        loop {
            let acked = self.0.acked.notified();
            let open = self
                .state()
                .deliveries
                .iter()
                .any(|(id, settled)| !settled && ids.contains(id));
            if !open {
                return;
            }
            acked.await;
        }
    }
}

fn delivery(session: usize, offset: i64, id: &str) -> Delivery {
    let event = Event {
        message_id: id.into(),
        ..Event::default()
    };
    let stamp = Stamp {
        offset,
        ..Stamp::default()
    };
    Delivery {
        event: StoredEvent::new(event.encode_to_vec().into(), stamp),
        delivery_id: format!("{session}/{id}").into(),
        attempt: 1,
        ack_timeout_ms: 30_000,
        ..Delivery::default()
    }
}

#[tonic::async_trait]
impl PartitionService for Service {
    async fn list_partitions(
        &self,
        _: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let state = self.state();
        let leader = state.leader.as_deref().unwrap_or("fake");
        let partitions = (0..state.partitions.len() as i32)
            .map(|partition_id| PartitionInfo {
                partition_id,
                leader_id: leader.into(),
                ..PartitionInfo::default()
            })
            .collect();
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    async fn get_partition(
        &self,
        _: Request<GetPartitionRequest>,
    ) -> Result<Response<PartitionInfo>, Status> {
        Err(Status::not_found("partition not found"))
    }

    async fn get_wal_status(
        &self,
        _: Request<GetWalStatusRequest>,
    ) -> Result<Response<WalStatus>, Status> {
        Err(Status::not_found("partition not found"))
    }

    async fn get_scheduler_status(
        &self,
        _: Request<GetSchedulerStatusRequest>,
    ) -> Result<Response<SchedulerStatus>, Status> {
        Err(Status::not_found("partition not found"))
    }

    async fn compact(
        &self,
        _: Request<CompactRequest>,
    ) -> Result<Response<CompactResponse>, Status> {
        Err(Status::not_found("partition not found"))
    }

    async fn run_retention(
        &self,
        _: Request<RetentionRequest>,
    ) -> Result<Response<RetentionResponse>, Status> {
        Err(Status::not_found("partition not found"))
    }

    async fn split_partition(
        &self,
        _: Request<SplitPartitionRequest>,
    ) -> Result<Response<SplitPartitionResponse>, Status> {
        Err(Status::not_found("partition not found"))
    }
}
