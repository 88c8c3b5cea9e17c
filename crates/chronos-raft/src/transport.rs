//! The way to the peers of a group, as whoever owns the connections provides it.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, future};

/// Carries requests to other nodes and brings back their answers.
///
/// One transport serves all groups of a node. What it carries is opaque to it: the answer to a
/// request is what [`Group::serve`](crate::Group::serve) of the same group on the target returns
/// for the request's bytes.
///
/// Requests of kind [`RequestKind::Append`] of one group to one target have to reach
/// [`Group::serve`](crate::Group::serve) in the order of the calls; a later one that overtakes is
/// refused by the target and costs a new start of the replication. Many requests may be under way
/// at once, and their answers may come in any order. A call whose future is dropped need not be
/// finished.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request of a group to a node. The request takes its place when this is called, not
    /// when the future is first polled.
    fn call(
        &self,
        target: u64,
        group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>>;
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request's bytes, to be written one part after the other. A part is often the body of a
    /// log entry, shared with the log.
    pub parts: Vec<Bytes>,
    /// How long the sender waits for the answer.
    pub deadline: Duration,
    /// What a transport may know of the request.
    pub kind: RequestKind,
}

impl Request {
    /// How many bytes all parts have.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether there is not one byte, which no request of a group is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All parts as one, copied unless there is only one.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() == 1
            && let Some(only) = self.parts.pop()
        {
            return only;
        }
        self.parts.concat().into()
    }
}

/// What a transport may treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// Entries, or news of a commit that come after entries under way. Keeps its order.
    Append,
    /// Says that the leader is there. May wait a few milliseconds for those of other groups, and
    /// may overtake.
    Heartbeat,
    /// Asks for a vote, or whether one would be given.
    Vote,
    /// Hands the lead over.
    TransferLeader,
    /// Tells the target that the log no longer has what it needs next.
    Seed,
}

/// The target did not answer; whether it got the request is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// The transport of a node that has no peers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn call(
        &self,
        target: u64,
        _group: u32,
        _request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let error = Unreachable(format!(
            "node {target} cannot be reached: this node was started without peers"
        ));
        future::ready(Err(error)).boxed()
    }
}
