//! The types this crate runs openraft with.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch};
use openraft::raft::responder::Responder;
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::vote::RaftLeaderId;
use openraft::{Entry, EntryPayload, OptionalSend, RaftTypeConfig};
use tokio::sync::oneshot;

use crate::machine::LogId;

/// The type configuration, generic over a machine's response.
///
/// One leader per term (the standard mode), so that a term identifies a leader and a log id is
/// (term, index). Node ids carry no address: those are the catalog's.
pub(crate) struct Types<R>(PhantomData<fn() -> R>);

/// Tokio, with random numbers that come from a seed, so that a simulation can repeat itself. What
/// starts a group runs in [`DeterministicRng::scope`].
// The re-export is deprecated in favour of a second crate that would need its own exact pin.
#[allow(deprecated)]
pub(crate) type Runtime = DeterministicRng<openraft::impls::TokioRuntime>;

pub(crate) type NodeLeaderId = LeaderId<u64, u64>;
pub(crate) type TermId = <NodeLeaderId as RaftLeaderId>::Committed;
pub(crate) type Vote = openraft::Vote<NodeLeaderId>;
pub(crate) type Payload = EntryPayload<Command, u64, ()>;
pub(crate) type LogEntry = Entry<TermId, Payload>;
pub(crate) type RaftLogId = openraft::LogId<TermId>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<TermId, u64, ()>;

impl<R: Send + Sync + 'static> RaftTypeConfig for Types<R> {
    type D = Command;
    /// `None` answers entries that are no commands.
    type R = Option<R>;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = NodeLeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = LogEntry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// A command's bytes as the proposer gave them: what the log stores and the machine gets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Answers a proposer. Nobody has to be there any more to hear it.
pub(crate) struct Reply<T>(pub(crate) oneshot::Sender<T>);

impl<R, T> Responder<Types<R>, T> for Reply<T>
where
    R: Send + Sync + 'static,
    T: Send + 'static,
{
    fn on_complete(self, result: T) {
        let _ = self.0.send(result);
    }
}

impl From<LogId> for RaftLogId {
    fn from(id: LogId) -> Self {
        let leader = NodeLeaderId::new(id.term, 0).to_committed();
        Self::new(leader, id.index)
    }
}

impl From<&RaftLogId> for LogId {
    fn from(id: &RaftLogId) -> Self {
        Self {
            term: *id.leader_id,
            index: id.index,
        }
    }
}

// By hand, because a derive would ask the same of `R`, which is never held.
impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Types<R> {}

impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for Types<R> {}

impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
