//! RaftService: where the catalog's group stands on this node. Nodes join and leave in other ways, which
//! it names.

use crate::engine::Engine;
use chronos_core::catalog::NodeState;
use chronos_proto::cronos_db::{
    RaftJoinRequest, RaftJoinResponse, RaftLeaveRequest, RaftLeaveResponse, RaftStatusRequest,
    RaftStatusResponse,
};
use chronos_proto::server::raft_service_server::RaftService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves RaftService.
pub struct RaftCalls {
    /// This node's engine.
    pub engine: Arc<Engine>,
    /// This node's name.
    pub node_id: String,
}

#[tonic::async_trait]
impl RaftService for RaftCalls {
    async fn join(
        &self,
        _: Request<RaftJoinRequest>,
    ) -> Result<Response<RaftJoinResponse>, Status> {
        Ok(Response::new(RaftJoinResponse {
            success: false,
            error: "a node joins by itself: start it with -cluster and -raft-join".into(),
            term: self.engine.catalog_group().status().term as i64,
        }))
    }

    async fn leave(
        &self,
        request: Request<RaftLeaveRequest>,
    ) -> Result<Response<RaftLeaveResponse>, Status> {
        let name = request.into_inner().node_id;
        Ok(Response::new(RaftLeaveResponse {
            success: false,
            error: format!(
                "a node is drained before it leaves: `chronosctl cluster drain {name}`, then \
                 `chronosctl cluster remove-node {name}`"
            ),
        }))
    }

    async fn status(
        &self,
        _: Request<RaftStatusRequest>,
    ) -> Result<Response<RaftStatusResponse>, Status> {
        let group = self.engine.catalog_group();
        let status = group.status();
        let nodes = self.engine.cluster().map(|cluster| cluster.nodes);
        let others = (nodes.into_iter().flatten())
            .map(|(_, node)| node)
            .filter(|node| node.state != NodeState::Gone && node.info.name != self.node_id);
        let index = |index: Option<u64>| index.unwrap_or(0) as i64;
        Ok(Response::new(RaftStatusResponse {
            node_id: self.node_id.clone(),
            is_leader: group.leadership().get().leads,
            term: status.term as i64,
            peers: others.map(|node| node.info.name).collect(),
            commit_index: index(status.committed_index),
            last_applied: index(status.applied_index),
        }))
    }
}
