//! openraft's requests as messages of ours, and the answers back.
//!
//! openraft makes a [`Peer`] for each purpose: one that replicates to a target, one that sends it
//! heartbeats, one for each vote that is asked for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, BoxFuture, Either};
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use openraft::RaftNetworkFactory;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use crate::machine::LogId;
use crate::reverts::Reverts;
use crate::transport::{Request, RequestKind, Transport, Unreachable};
use crate::types::{RaftLogId, TermId, Types, Vote};
use crate::wire::{Answer, Append, Ask, Envelope, Message};

/// How many appends to one peer are under way at once. With the size of one append this bounds
/// what a slow peer holds in memory.
const WINDOW: usize = 8;

/// Makes the clients of peers.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) group: u32,
    pub(crate) node_id: u64,
    /// How long the answer to entries may take, which a peer gives when they are on its disk.
    pub(crate) append_deadline: Duration,
    pub(crate) reverts: Reverts,
}

/// The client of one peer.
pub(crate) struct Peer {
    network: Network,
    target: u64,
}

impl Peer {
    /// Whether the peer may come back without what it acknowledged.
    fn may_revert(&self, may: bool) {
        // Nobody listens any more when the group is gone.
        let _ = self.network.reverts.send((self.target, may));
    }

    fn call(
        &self,
        kind: RequestKind,
        deadline: Duration,
        message: Message,
    ) -> impl Future<Output = Result<Answer, Unreachable>> + Send + 'static + use<> {
        let target = self.target;
        let envelope = Envelope {
            group: self.network.group,
            from: self.network.node_id,
            to: target,
        };
        let request = Request {
            parts: message.encode(envelope),
            deadline,
            kind,
        };
        let call = self
            .network
            .transport
            .call(target, self.network.group, request);
        async move {
            let bytes = match tokio::time::timeout(deadline, call).await {
                Ok(answered) => answered?,
                Err(_) => {
                    return Err(Unreachable(format!(
                        "node {target} did not answer within {deadline:?}"
                    )));
                }
            };
            match Answer::decode(bytes) {
                Ok(Answer::Refused(why)) => {
                    Err(Unreachable(format!("node {target} refused: {why}")))
                }
                Ok(answer) => Ok(answer),
                Err(error) => Err(Unreachable(format!("the answer of node {target}: {error}"))),
            }
        }
    }

    fn append<R: Send + Sync + 'static>(
        &self,
        kind: RequestKind,
        request: AppendEntriesRequest<Types<R>>,
        deadline: Duration,
    ) -> impl Future<Output = Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>>>
    + Send
    + 'static
    + use<R> {
        let target = self.target;
        let message = Message::Append(Append {
            term: request.vote.leader_id.term,
            prev: log_id(request.prev_log_id.as_ref()),
            commit: log_id(request.leader_commit.as_ref()),
            entries: request.entries,
        });
        let has_prev = request.prev_log_id.is_some();
        let call = self.call(kind, deadline, message);
        async move {
            match call.await.map_err(unreachable)? {
                Answer::Appended => Ok(AppendEntriesResponse::Success),
                // Nothing comes before the first entry, so nothing can be missing there.
                Answer::Conflict if has_prev => Ok(AppendEntriesResponse::Conflict),
                Answer::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote)),
                other => Err(unexpected(target, &other)),
            }
        }
    }

    async fn ask<R: Send + Sync + 'static>(
        &self,
        message: Message,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        let call = self.call(RequestKind::Vote, option.hard_ttl(), message);
        match call.await.map_err(unreachable)? {
            Answer::Voted {
                granted,
                vote,
                last,
            } => Ok(VoteResponse {
                vote,
                vote_granted: granted,
                last_log_id: last.map(RaftLogId::from),
            }),
            other => Err(unexpected(self.target, &other)),
        }
    }
}

fn log_id(id: Option<&RaftLogId>) -> Option<LogId> {
    id.map(LogId::from)
}

fn unreachable<R: Send + Sync + 'static>(error: Unreachable) -> RPCError<Types<R>> {
    RPCError::Unreachable(openraft::errors::Unreachable::new(&error))
}

fn unexpected<R: Send + Sync + 'static>(target: u64, answer: &Answer) -> RPCError<Types<R>> {
    unreachable(Unreachable(format!(
        "node {target} answered something else than was asked: {answer:?}"
    )))
}

impl<R: Send + Sync + 'static> RaftNetworkFactory<Types<R>> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &()) -> Peer {
        Peer {
            network: self.clone(),
            target,
        }
    }
}

type Appended<R> = Result<StreamAppendResult<Types<R>>, RPCError<Types<R>>>;

impl<R: Send + Sync + 'static> RaftNetworkV2<Types<R>> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        self.append(RequestKind::Append, request, option.hard_ttl())
            .await
    }

    /// Sends a request as soon as there is one, without waiting for the answers to those before,
    /// and gives the answers in the order of the requests.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Appended<R>>, RPCError<Types<R>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types<R>>> + Send + Unpin + 'static,
    {
        let under_way = Arc::new(());
        let answers = input
            .map(move |request| {
                // With nothing under way before it, it cannot come too early anywhere.
                let kind = if request.entries.is_empty() && Arc::strong_count(&under_way) == 1 {
                    RequestKind::Heartbeat
                } else {
                    RequestKind::Append
                };
                let deadline = match kind {
                    RequestKind::Heartbeat => option.hard_ttl(),
                    _ => self.network.append_deadline,
                };
                let mark = Arc::clone(&under_way);
                let prev = request.prev_log_id;
                let last = (request.entries.last()).map_or(prev, |entry| Some(entry.log_id));
                self.append(kind, request, deadline).map(move |answered| {
                    drop(mark);
                    answered.map(|response| response.into_stream_result(prev, last))
                })
            })
            .buffered(WINDOW)
            // What comes after an answer that is no success builds on entries that are not there.
            .scan(false, |failed, answered: Appended<R>| {
                let over = *failed;
                *failed |= !matches!(answered, Ok(Ok(_)));
                future::ready((!over).then_some(answered))
            })
            .boxed();
        future::ready(Ok(answers)).boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        let message = Message::Vote {
            ask: ask(&request),
            transfer: request.leadership_transfer,
        };
        self.ask(message, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        self.ask(Message::PreVote(ask(&request)), option).await
    }

    /// Sends no snapshot: it tells the target that it needs a copy, which is not Raft's to make,
    /// and fails until the target has one and can go on from the log.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TermId, u64, (), ()>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let not_yet = |text: String| StreamingError::from(unreachable(Unreachable(text)));
        let target = self.target;
        let Some(floor) = log_id(snapshot.meta.last_log_id.as_ref()) else {
            return Err(not_yet("there is nothing to copy yet".to_owned()));
        };
        let message = Message::Seed {
            term: vote.leader_id.term,
            floor,
        };
        // Before it is asked, because its answer may get lost.
        self.may_revert(true);
        let call = self.call(RequestKind::Seed, self.network.append_deadline, message);
        let answer = match future::select(std::pin::pin!(cancel), std::pin::pin!(call)).await {
            Either::Left((closed, _)) => return Err(StreamingError::Closed(closed)),
            Either::Right((answered, _)) => answered.map_err(unreachable)?,
        };
        match answer {
            Answer::SeedHeld => {
                self.may_revert(false);
                Ok(SnapshotResponse::new(vote))
            }
            Answer::SeedPending => Err(not_yet(format!(
                "node {target} needs a copy of what follows entry {floor}"
            ))),
            Answer::HigherVote(higher) if higher > vote => Ok(SnapshotResponse::new(higher)),
            other => Err(unexpected(target, &other).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R>>, RPCError<Types<R>>> {
        let message = Message::Transfer {
            term: request.from_leader().leader_id.term,
            to: *request.to_node_id(),
            last: log_id(request.last_log_id()),
        };
        let call = self.call(RequestKind::TransferLeader, option.hard_ttl(), message);
        match call.await.map_err(unreachable)? {
            Answer::Transferred => Ok(Ok(())),
            Answer::HigherVote(actual) => Ok(Err(TransferLeaderError::VoteChanged {
                expected: *request.from_leader(),
                actual,
            })),
            Answer::NotFlushed(actual) => Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: request.last_log_id().copied(),
                actual: actual.map(RaftLogId::from),
            })),
            other => Err(unexpected(self.target, &other)),
        }
    }
}

fn ask<R: Send + Sync + 'static>(request: &VoteRequest<Types<R>>) -> Ask {
    Ask {
        term: request.vote.leader_id.term,
        last: log_id(request.last_log_id.as_ref()),
    }
}
