//! The other end of a link: requests of a peer's groups in, answers out.

use super::peers::MOST_MESSAGE_BYTES;
use bytes::Bytes;
use chronos_proto::chronos_internal::peers_server::{self, PeersServer};
use chronos_proto::chronos_internal::{Frame, Frames};
use chronos_raft::{Group, Machine};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::{Request, Response, Status, Streaming};

/// Requests of one connection that are answered at once. Further ones wait in the connection.
const MOST_UNDER_WAY: usize = 4_096;
/// Answers that travel in one message.
const MOST_ANSWERS: usize = 1_024;

/// Answers the requests of a group's peers.
pub trait Serve: Send + Sync {
    /// The answer to a request. The request takes its place when this is called.
    fn serve(&self, request: Bytes) -> BoxFuture<'static, Bytes>;
}

impl<M: Machine> Serve for Group<M> {
    fn serve(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        Group::serve(self, request)
    }
}

/// The groups on this node, by number.
#[derive(Default)]
pub struct Served(RwLock<BTreeMap<u32, Arc<dyn Serve>>>);

impl Served {
    /// A group is open.
    pub fn insert(&self, group: u32, serve: Arc<dyn Serve>) {
        self.0.write().insert(group, serve);
    }

    /// A group closes. Requests to it are answered with an error from now on.
    pub fn remove(&self, group: u32) {
        self.0.write().remove(&group);
    }

    fn take_up(&self, frame: Frame) -> BoxFuture<'static, Frame> {
        let Frame {
            call, group, body, ..
        } = frame;
        let served = self.0.read().get(&group).cloned();
        let answered = served.map(|served| served.serve(body));
        Box::pin(async move {
            let (body, error) = match answered {
                Some(answer) => (answer.await, String::new()),
                None => (Bytes::new(), format!("group {group} is not on this node")),
            };
            Frame {
                call,
                group,
                body,
                error,
            }
        })
    }
}

/// The internal service of a node with these groups.
pub fn service(served: Arc<Served>) -> PeersServer<impl peers_server::Peers> {
    PeersServer::new(Exchange(served))
        .max_decoding_message_size(MOST_MESSAGE_BYTES)
        .max_encoding_message_size(MOST_MESSAGE_BYTES)
}

struct Exchange(Arc<Served>);

#[tonic::async_trait]
impl peers_server::Peers for Exchange {
    type ExchangeStream = BoxStream<'static, Result<Frames, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Frames>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let answers = Answers {
            served: Arc::clone(&self.0),
            requests: Some(request.into_inner()),
            under_way: FuturesUnordered::new(),
        };
        Ok(Response::new(answers.boxed()))
    }
}

/// The answers to what one peer asks, as they become ready.
struct Answers {
    served: Arc<Served>,
    /// `None` when the peer has closed its side.
    requests: Option<Streaming<Frames>>,
    under_way: FuturesUnordered<BoxFuture<'static, Frame>>,
}

impl Answers {
    /// Takes up what has arrived, in order.
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        while let Some(requests) = &mut self.requests
            && self.under_way.len() < MOST_UNDER_WAY
        {
            match requests.poll_next_unpin(context) {
                Poll::Pending => break,
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Err(status))) => return Err(status),
                Poll::Ready(Some(Ok(frames))) => {
                    for frame in frames.frames {
                        self.under_way.push(self.served.take_up(frame));
                    }
                }
            }
        }
        Ok(())
    }
}

impl futures::Stream for Answers {
    type Item = Result<Frames, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut frames = Frames::default();
        loop {
            if let Err(status) = this.read(context) {
                return Poll::Ready(Some(Err(status)));
            }
            match this.under_way.poll_next_unpin(context) {
                Poll::Ready(Some(frame)) => {
                    frames.frames.push(frame);
                    if frames.frames.len() < MOST_ANSWERS {
                        continue;
                    }
                }
                Poll::Ready(None) if this.requests.is_none() && frames.frames.is_empty() => {
                    return Poll::Ready(None);
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            return match frames.frames.is_empty() {
                true => Poll::Pending,
                false => Poll::Ready(Some(Ok(frames))),
            };
        }
    }
}
