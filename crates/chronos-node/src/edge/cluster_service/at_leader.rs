//! The way to the catalog's leader.

use crate::cluster::placer::Placer;
use crate::cluster::routes::{Peer, Routes};
use crate::engine::Engine;
use chronos_raft::Lead;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Marks a call that another node has forwarded: it goes no further.
const FORWARDED: &str = "chronos-forwarded";
/// How long a call waits for a leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// A leader that refused is asked again after this time, if there is no other before.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a leader may take: it asks all nodes, and may wait for their disks.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Has the catalog's leader answer calls.
pub struct AtLeader {
    engine: Arc<Engine>,
    routes: Arc<Routes>,
    placer: Option<Arc<Placer>>,
}

impl AtLeader {
    /// `placer` is `None` on a node that stands alone.
    pub fn new(engine: &Arc<Engine>, routes: &Arc<Routes>, placer: Option<Arc<Placer>>) -> Self {
        Self {
            engine: Arc::clone(engine),
            routes: Arc::clone(routes),
            placer,
        }
    }

    /// Answers by `here` on the node that leads the catalog, and asks that node by `there` elsewhere.
    ///
    /// # Errors
    /// FAILED_PRECONDITION on a node that stands alone, UNAVAILABLE when nobody is found to lead, and
    /// the leader's own.
    pub async fn ask<Q, A, H, T>(
        &self,
        request: Request<Q>,
        here: impl Fn(Arc<Placer>, Q) -> H,
        there: impl Fn(Channel, Request<Q>) -> T,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone,
        H: Future<Output = Result<A, Status>>,
        T: Future<Output = Result<Response<A>, Status>>,
    {
        let placer = self.placer.as_ref().ok_or_else(alone)?;
        let is_forwarded = request.metadata().contains_key(FORWARDED);
        let message = request.into_inner();
        let deadline = Instant::now() + PATIENCE;
        let mut leadership = self.engine.catalog_group().leadership();
        loop {
            let lead = leadership.get();
            let answer = match self.leader_elsewhere(lead) {
                _ if lead.leads => {
                    let answer = here(Arc::clone(placer), message.clone()).await;
                    answer.map(Response::new)
                }
                Some(peer) if !is_forwarded => {
                    let answer = there(peer.channel(), forwarded(message.clone())).await;
                    answer.map_err(|status| told(&peer, status))
                }
                _ => Err(no_leader()),
            };
            match answer {
                Err(status) if status.code() == Code::Unavailable && !is_forwarded => {
                    if Instant::now() >= deadline {
                        return Err(status);
                    }
                }
                answer => return answer,
            }
            if let Ok(Err(_)) = tokio::time::timeout(AGAIN, leadership.changed()).await {
                return Err(Status::unavailable("the node is stopping"));
            }
        }
    }

    fn leader_elsewhere(&self, lead: Lead) -> Option<Arc<Peer>> {
        let leader = lead.leader.filter(|leader| *leader != self.engine.me())?;
        self.routes.node(leader)
    }
}

fn forwarded<Q>(message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    let mark = tonic::metadata::MetadataValue::from_static("1");
    request.metadata_mut().insert(FORWARDED, mark);
    request.set_timeout(ANSWER_LIMIT);
    request
}

/// What the leader answered, or that it did not.
fn told(peer: &Peer, status: Status) -> Status {
    use std::error::Error;
    let is_its_own = status.source().is_none()
        && !matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
    match is_its_own {
        true => status,
        false => Status::unavailable(format!(
            "node {}, which leads the catalog, does not answer: try again",
            peer.name
        )),
    }
}

/// Nobody is known to lead the catalog.
pub fn no_leader() -> Status {
    Status::unavailable(
        "the catalog has no leader: most of the nodes that vote in it have to be running",
    )
}

fn alone() -> Status {
    Status::failed_precondition("this node stands alone: a cluster is of nodes with -cluster")
}
