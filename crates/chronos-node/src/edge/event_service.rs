//! EventService: the calls and what serves them.

use super::forward::{Over, scope};
use super::publish::Publisher;
use super::subscribe::Subscriber;
use super::view::View;
use super::{ack, replay, status};
use crate::config::Config;
use crate::metrics::{Metrics, Rpc, Shape};
use chronos_proto::cronos_db::{
    AckRequest, AckResponse, PublishBatchResponse, PublishResponse, ReplayRequest, SubscribeRequest,
};
use chronos_proto::raw;
use chronos_proto::server::event_service_server::EventService;
use futures::stream::{BoxStream, StreamExt};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status, Streaming};

/// At the head of a replay: the offset from which on events are stored.
const AVAILABLE_FROM: &str = "chronos-available-from";

/// Serves EventService.
pub struct Events {
    engine: View,
    publisher: Publisher,
    subscriber: Subscriber,
    calls: Arc<Calls>,
}

/// The metrics of each method.
struct Calls {
    publish: Rpc,
    publish_batch: Rpc,
    subscribe: Rpc,
    ack: Rpc,
    replay: Rpc,
}

impl Events {
    /// Serves events of this engine.
    pub fn new(engine: &View, metrics: &Arc<Metrics>, config: &Config) -> Self {
        let rpc = |method, shape| metrics.rpc("cronos_db.EventService", method, shape);
        Self {
            engine: engine.clone(),
            publisher: Publisher::new(engine.clone(), Arc::clone(metrics), config),
            subscriber: Subscriber::new(engine.clone(), Arc::clone(metrics), config),
            calls: Arc::new(Calls {
                publish: rpc("Publish", Shape::Unary),
                publish_batch: rpc("PublishBatch", Shape::Unary),
                subscribe: rpc("Subscribe", Shape::BidiStream),
                ack: rpc("Ack", Shape::BidiStream),
                replay: rpc("Replay", Shape::ServerStream),
            }),
        }
    }
}

impl Events {
    /// What takes publishes in.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What opens subscriptions.
    pub fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }
}

impl Over for Events {
    fn over(&self, view: View) -> Self {
        Self {
            publisher: self.publisher.over(view.clone()),
            subscriber: self.subscriber.over(view.clone()),
            calls: Arc::clone(&self.calls),
            engine: view,
        }
    }
}

fn code<T>(result: &Result<T, Status>) -> Code {
    result.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

#[tonic::async_trait]
impl EventService for Events {
    async fn publish(
        &self,
        request: Request<raw::PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let call = self.calls.publish.start();
        let result = self.publisher.publish(request.into_inner()).await;
        call.finish(code(&result));
        result.map(Response::new)
    }

    async fn publish_batch(
        &self,
        request: Request<raw::PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let call = self.calls.publish_batch.start();
        let result = self.publisher.publish_batch(request.into_inner()).await;
        call.finish(code(&result));
        let (response, not_taken) = result?;
        let mut response = Response::new(response);
        if !not_taken.is_empty()
            && let Ok(value) = scope::encode(&not_taken).parse()
        {
            response.metadata_mut().insert(status::NOT_TAKEN, value);
        }
        Ok(response)
    }

    type SubscribeStream = BoxStream<'static, Result<raw::Delivery, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = self.calls.subscribe.start();
        let deliveries = self.subscriber.serve(request.into_inner());
        Ok(Response::new(counted(deliveries.boxed(), call)))
    }

    type AckStream = BoxStream<'static, Result<AckResponse, Status>>;

    async fn ack(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckStream>, Status> {
        let call = self.calls.ack.start();
        let answers = ack::serve(self.engine.clone(), request.into_inner());
        Ok(Response::new(counted(answers.boxed(), call)))
    }

    type ReplayStream = BoxStream<'static, Result<raw::ReplayEvent, Status>>;

    async fn replay(
        &self,
        request: Request<ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        let call = self.calls.replay.start();
        match replay::serve(&self.engine, request.into_inner()).await {
            Ok(replaying) => {
                let mut response = Response::new(counted(replaying.events.boxed(), call));
                response
                    .metadata_mut()
                    .insert(AVAILABLE_FROM, replaying.available_from.into());
                Ok(response)
            }
            Err(status) => {
                call.finish(status.code());
                Err(status)
            }
        }
    }
}

/// The stream, counted as one call until it ends; a stream that the client drops counts as
/// cancelled.
fn counted<T: Send + 'static>(
    stream: BoxStream<'static, Result<T, Status>>,
    call: crate::metrics::Call,
) -> BoxStream<'static, Result<T, Status>> {
    let mut call = Some(call);
    let mut stream = stream;
    futures::stream::poll_fn(move |context| {
        let polled = stream.poll_next_unpin(context);
        let ended = match &polled {
            std::task::Poll::Ready(None) => Some(Code::Ok),
            std::task::Poll::Ready(Some(Err(status))) => Some(status.code()),
            _ => None,
        };
        if let (Some(code), Some(call)) = (ended, if ended.is_some() { call.take() } else { None })
        {
            call.finish(code);
        }
        polled
    })
    .boxed()
}
