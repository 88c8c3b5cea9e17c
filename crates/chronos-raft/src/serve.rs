//! Answering the requests of peers.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use openraft::errors::RaftError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};

use crate::group::{Group, Inner, plain};
use crate::machine::{LogId, Machine};
use crate::seed::SeedWanted;
use crate::types::{RaftLogId, Types, Vote};
use crate::wire::{Answer, Append, Ask, Envelope, Message};

impl<M: Machine> Group<M> {
    /// Answers a request that a peer's [`Transport`](crate::Transport) brought here. Bytes that are
    /// no request are answered too, with a refusal that says so.
    ///
    /// The request takes its place when this is called, not when the future is first polled: of
    /// two calls one after the other, the first comes first. What the answer says is on disk by
    /// then. The future may be dropped; what was asked happens all the same.
    pub fn serve(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let answered = match self.0.open_envelope(request) {
            Ok((envelope, message)) => {
                started(Arc::clone(&self.0).answer(envelope, message).boxed())
            }
            Err(refusal) => future::ready(Answer::Refused(refusal)).boxed(),
        };
        answered.map(|answer| answer.encode()).boxed()
    }
}

impl<M: Machine> Inner<M> {
    fn open_envelope(&self, request: Bytes) -> Result<(Envelope, Message), String> {
        let (envelope, message) = Message::decode(request).map_err(|error| error.to_string())?;
        let Envelope { group, from, to } = envelope;
        if (to, group) != (self.node_id, self.group) {
            return Err(format!(
                "this is group {} of node {}, not group {group} of node {to}",
                self.group, self.node_id
            ));
        }
        if from == self.node_id {
            return Err(format!(
                "node {from} asks itself: two nodes have the same id"
            ));
        }
        Ok((envelope, message))
    }

    async fn answer(self: Arc<Self>, envelope: Envelope, message: Message) -> Answer {
        let from = envelope.from;
        let raft = &self.raft;
        match message {
            Message::Append(append) => {
                // Heard of now, however long its entries take to reach the disk.
                if self
                    .log
                    .vote()
                    .is_none_or(|vote| vote.leader_id.term <= append.term)
                {
                    self.silence.broken();
                }
                appended(raft.append_entries(append_request(from, append)).await)
            }
            // A vote that the leader itself asks for is not what a hold is for.
            Message::Vote {
                transfer: false, ..
            }
            | Message::PreVote(_)
                if !self.quiet.may_vote() =>
            {
                Answer::Refused("the node has just started and gives no vote yet".to_owned())
            }
            Message::Vote { ask, .. } | Message::PreVote(ask) if ask.last < self.end => {
                Answer::Refused("the candidate lacks entries that this node had".to_owned())
            }
            Message::Vote { ask, transfer } => {
                let request = VoteRequest {
                    leadership_transfer: transfer,
                    ..vote_request(from, ask)
                };
                let answer = voted(raft.vote(request).await);
                if let Answer::Voted { granted: true, .. } = answer {
                    self.silence.begin();
                }
                answer
            }
            Message::PreVote(ask) => voted(raft.pre_vote(vote_request(from, ask)).await),
            Message::Transfer { term, to, last } => {
                let leader = Vote::new_committed(term, from);
                let last = last.map(RaftLogId::from);
                let request = TransferLeaderRequest::new(leader, to, last);
                match raft.handle_transfer_leader(request).await {
                    Ok(Ok(())) => Answer::Transferred,
                    Ok(Err(TransferLeaderError::VoteChanged { actual, .. })) => {
                        Answer::HigherVote(actual)
                    }
                    Ok(Err(TransferLeaderError::LogNotFlushed { actual, .. })) => {
                        Answer::NotFlushed(actual.as_ref().map(LogId::from))
                    }
                    Err(fatal) => refused(&fatal),
                }
            }
            Message::Seed { term, floor } => self.answer_seed(from, term, floor),
        }
    }

    fn answer_seed(&self, from: u64, term: u64, floor: LogId) -> Answer {
        if let Some(vote) = self.log.vote()
            && vote.leader_id.term > term
        {
            return Answer::HigherVote(vote);
        }
        match self.log.holds(floor) {
            Ok(true) => Answer::SeedHeld,
            Ok(false) => {
                (self.on_seed_wanted)(SeedWanted {
                    group: self.group,
                    leader: from,
                    term,
                    floor,
                });
                Answer::SeedPending
            }
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}

/// Polls a future once, so that what it does first is done.
fn started<T: Send + 'static>(future: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    // Without the runtime's budget, which may make a call that could be served wait.
    let mut future = tokio::task::unconstrained(future).boxed();
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => future::ready(value).boxed(),
        Poll::Pending => future,
    }
}

fn append_request<R: Send + Sync + 'static>(
    from: u64,
    append: Append,
) -> AppendEntriesRequest<Types<R>> {
    AppendEntriesRequest {
        vote: Vote::new_committed(append.term, from),
        prev_log_id: append.prev.map(RaftLogId::from),
        entries: append.entries,
        leader_commit: append.commit.map(RaftLogId::from),
    }
}

fn vote_request<R: Send + Sync + 'static>(from: u64, ask: Ask) -> VoteRequest<Types<R>> {
    VoteRequest::new(Vote::new(ask.term, from), ask.last.map(RaftLogId::from))
}

fn appended<R: Send + Sync + 'static>(
    result: Result<AppendEntriesResponse<Types<R>>, RaftError<Types<R>>>,
) -> Answer {
    match result {
        Ok(AppendEntriesResponse::Success) => Answer::Appended,
        Ok(AppendEntriesResponse::Conflict) => Answer::Conflict,
        Ok(AppendEntriesResponse::HigherVote(vote)) => Answer::HigherVote(vote),
        Ok(AppendEntriesResponse::PartialSuccess(_)) => {
            Answer::Refused("only a part of the entries was taken".to_owned())
        }
        Err(error) => refused(&error),
    }
}

fn voted<R: Send + Sync + 'static>(
    result: Result<VoteResponse<Types<R>>, RaftError<Types<R>>>,
) -> Answer {
    match result {
        Ok(response) => Answer::Voted {
            granted: response.vote_granted,
            vote: response.vote,
            last: response.last_log_id.as_ref().map(LogId::from),
        },
        Err(error) => refused(&error),
    }
}

fn refused(error: &dyn std::fmt::Display) -> Answer {
    Answer::Refused(format!("the group has stopped: {}", plain(error)))
}
