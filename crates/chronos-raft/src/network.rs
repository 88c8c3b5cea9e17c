//! The way to the peers of a group. There is none yet: every group has one voter.
//!
//! This is the seam for the transport: a factory that holds one connection per peer node makes a
//! [`Peer`] per target, whose calls carry the group's id over that connection, so that many
//! groups share it and their heartbeats are coalesced.

use std::future::Future;

use openraft::RaftNetworkFactory;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use crate::types::{TermId, Types, Vote};

/// Makes the client of a peer.
pub(crate) struct Network;

/// The client of one peer: answers that it cannot be reached.
pub(crate) struct Peer {
    target: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("node {target} cannot be reached: there is no transport between the nodes of a group yet")]
struct NoTransport {
    target: u64,
}

impl Peer {
    fn unreachable<R: Send + Sync + 'static>(&self) -> Unreachable<Types<R>> {
        Unreachable::new(&NoTransport {
            target: self.target,
        })
    }
}

impl<R: Send + Sync + 'static> RaftNetworkFactory<Types<R>> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &()) -> Peer {
        Peer { target }
    }
}

impl<R: Send + Sync + 'static> RaftNetworkV2<Types<R>> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    // The provided method grants, which would let a node that reaches nobody raise its term.
    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<TermId, u64, (), ()>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
