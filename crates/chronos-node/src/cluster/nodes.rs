//! What other nodes ask of this one.

use super::peers::MOST_MESSAGE_BYTES;
use super::pulse::Pulses;
use super::recipient;
use super::steer::{Order, SteerError};
use super::{outcome, reports};
use crate::edge::status;
use crate::engine::copy::Part;
use crate::engine::{Engine, Refused, clock};
use chronos_proto::chronos_internal::nodes_server::{self, NodesServer};
use chronos_proto::chronos_internal::{
    ChangeAnswer, ChangeRequest, CopyPart, CopyRequest, PulseAnswer, PulseRequest, ReportAnswer,
    ReportRequest, SteerAnswer, SteerRequest,
};
use futures::stream::{BoxStream, StreamExt};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// Parts of a copy that wait to be sent.
const PARTS: usize = 2;

/// What is behind the service, while it is there: a node listens before it has opened its data, and
/// connections outlive it.
#[derive(Clone, Default)]
pub struct Door(Arc<RwLock<Option<Inside>>>);

/// A node that is open.
#[derive(Clone)]
pub struct Inside {
    /// Its partitions and its catalog.
    pub engine: Arc<Engine>,
    /// The signs of life.
    pub pulses: Arc<Pulses>,
}

impl Door {
    /// Requests are answered from now on.
    pub fn open(&self, inside: Inside) {
        *self.0.write() = Some(inside);
    }

    /// Requests are refused from now on.
    pub fn close(&self) {
        *self.0.write() = None;
    }

    fn inside(&self) -> Result<Inside, Status> {
        let inside = self.0.read().clone();
        inside.ok_or_else(|| Status::unavailable("the node is starting or stopping"))
    }
}

/// The service of the internal listener.
pub fn service(
    door: Door,
) -> InterceptedService<NodesServer<impl nodes_server::Nodes>, impl Interceptor + Clone> {
    let service = NodesServer::new(Nodes(door.clone()))
        .max_decoding_message_size(MOST_MESSAGE_BYTES)
        .max_encoding_message_size(MOST_MESSAGE_BYTES);
    InterceptedService::new(service, move |request: Request<()>| {
        recipient::check(door.inside()?.engine.me(), request.metadata())?;
        Ok(request)
    })
}

struct Nodes(Door);

#[tonic::async_trait]
impl nodes_server::Nodes for Nodes {
    async fn pulse(&self, request: Request<PulseRequest>) -> Result<Response<PulseAnswer>, Status> {
        let inside = self.0.inside()?;
        inside.pulses.take(&request.into_inner())?;
        let (partitions, terms) = inside.engine.replicas().leads().into_iter().unzip();
        Ok(Response::new(PulseAnswer {
            partitions,
            terms,
            now_us: clock::now_us(),
        }))
    }

    async fn change(
        &self,
        request: Request<ChangeRequest>,
    ) -> Result<Response<ChangeAnswer>, Status> {
        let engine = self.0.inside()?.engine;
        let command = request.into_inner().command;
        let made = engine.change_catalog_here(command).await;
        let made = made.map_err(|refused| match refused {
            Refused::Stopping(_) => status::of_refused(&Refused::NoCatalog),
            refused => status::of_refused(&refused),
        })?;
        let (outcome, node) = outcome::encode(made.outcome);
        Ok(Response::new(ChangeAnswer {
            outcome,
            node,
            index: made.index,
        }))
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<ReportAnswer>, Status> {
        let engine = self.0.inside()?.engine;
        let groups = reports::of_led(&engine);
        Ok(Response::new(ReportAnswer {
            groups: (groups.into_iter())
                .map(|(group, report)| reports::encode(group, report))
                .collect(),
            held: reports::of_held(&engine),
        }))
    }

    async fn steer(&self, request: Request<SteerRequest>) -> Result<Response<SteerAnswer>, Status> {
        let engine = self.0.inside()?.engine;
        let Some((group, order)) = Order::decode(request.into_inner()) else {
            return Err(Status::invalid_argument("the step is not known here"));
        };
        match order.carry_out(&engine, group).await {
            Ok(()) => Ok(Response::new(SteerAnswer {})),
            Err(error) => Err(of_steer(&error)),
        }
    }

    type CopyStream = BoxStream<'static, Result<CopyPart, Status>>;

    async fn copy(
        &self,
        request: Request<CopyRequest>,
    ) -> Result<Response<Self::CopyStream>, Status> {
        let engine = self.0.inside()?.engine;
        let number = request.into_inner().partition;
        let Some(replica) = engine.replicas().get(number) else {
            return Err(status::of_refused(&Refused::NotLeader(number)));
        };
        let (parts, sending) = mpsc::channel(PARTS);
        let giving = tokio::spawn(engine.give_copy(replica, parts));
        let end = futures::stream::once(async move {
            match giving.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Err(Status::aborted(error.to_string()))),
                Err(_) => Some(Err(Status::aborted("the copy was given up"))),
            }
        });
        let parts = ReceiverStream::new(sending).map(|part| Ok(on_the_way(&part)));
        let parts = parts.chain(end.filter_map(std::future::ready));
        Ok(Response::new(parts.boxed()))
    }
}

fn on_the_way(part: &Part) -> CopyPart {
    let body = part.encode();
    CopyPart {
        checksum: crc32c::crc32c(&body),
        body,
    }
}

fn of_steer(error: &SteerError) -> Status {
    let text = error.to_string();
    match error {
        SteerError::NotHere(_) => Status::not_found(text),
        SteerError::Outdated | SteerError::NotReady => Status::failed_precondition(text),
        SteerError::Change(_) | SteerError::Transfer(_) => Status::aborted(text),
    }
}
