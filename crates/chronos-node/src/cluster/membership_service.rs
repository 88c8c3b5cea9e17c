//! The other end of `membership_client.rs`: answers who this node is, accepts a founding, gives numbers.

use super::founding::Standing;
use super::introductions::{CatalogDoor, IntroductionError, Introductions};
use super::membership::Membership;
use super::wire;
use crate::engine::clock::now_ms;
use chronos_core::catalog::{ClusterCommand, NodeInfo, Outcome, PutNode};
use chronos_proto::chronos_internal as proto;
use chronos_proto::chronos_internal::joined::Result as Kind;
use chronos_proto::chronos_internal::membership_server::{self, MembershipServer};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long the catalog may take to note a node. Who asked asks again.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The service of a node that says this of itself. It has to be served before the node is a member,
/// because nodes found a cluster by it.
pub fn membership_service(
    me: Arc<Introductions>,
) -> MembershipServer<impl membership_server::Membership> {
    MembershipServer::new(Answering(me))
}

struct Answering(Arc<Introductions>);

fn nonsense(error: wire::Nonsense) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unable(error: IntroductionError) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl membership_server::Membership for Answering {
    async fn hello(
        &self,
        request: Request<proto::Introduction>,
    ) -> Result<Response<proto::Introduction>, Status> {
        let caller = wire::take_introduction(request.into_inner()).map_err(nonsense)?;
        self.0.called_by(caller.heard);
        let introduced = self.0.introduce().map_err(unable)?;
        Ok(Response::new(wire::put_introduction(introduced)))
    }

    async fn accept(
        &self,
        request: Request<proto::Founding>,
    ) -> Result<Response<proto::Accepted>, Status> {
        let founding = wire::take_founding(request.into_inner()).map_err(nonsense)?;
        let refused = self.0.accept(founding).await.map_err(unable)?.err();
        Ok(Response::new(proto::Accepted {
            accepted: refused.is_none(),
            stance: refused.map(wire::put_stance),
        }))
    }

    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::Joined>, Status> {
        let request = request.into_inner();
        let info = wire::take_node(request.node).map_err(nonsense)?;
        let cluster = wire::take_optional_id(&request.cluster_id).map_err(nonsense)?;
        let joined = match (self.0.standing(), self.0.catalog()) {
            (Standing::Member(mine), _) if cluster.is_some_and(|id| id != mine.cluster_id) => {
                let stance = Standing::Member(mine).stance();
                answer(Kind::OtherCluster, format!("it is {stance}"))
            }
            (Standing::Member(mine), Some(catalog)) => note(&mine, catalog.as_ref(), info).await,
            (Standing::Member(_), None) => later("its catalog is not open yet"),
            _ => later("it is no member of a cluster yet"),
        };
        Ok(Response::new(joined))
    }
}

fn answer(kind: Kind, detail: String) -> proto::Joined {
    proto::Joined {
        result: kind.into(),
        detail,
        ..proto::Joined::default()
    }
}

fn later(why: &str) -> proto::Joined {
    answer(Kind::Retry, why.to_owned())
}

/// Notes the node in the catalog, if this node leads it.
async fn note(mine: &Membership, catalog: &dyn CatalogDoor, info: NodeInfo) -> proto::Joined {
    match catalog.leader() {
        None => return later("the catalog has no leader; a majority of its voters has to be up"),
        Some(leader) if leader != mine.me => {
            let leader = catalog.nodes().remove(&leader);
            return proto::Joined {
                leader_addr: leader
                    .map(|node| node.info.cluster_addr)
                    .unwrap_or_default(),
                ..answer(Kind::NotLeader, String::new())
            };
        }
        Some(_) => {}
    }
    let now_ms = now_ms();
    let change = catalog.change(ClusterCommand::PutNode(PutNode { info, now_ms }).into());
    match tokio::time::timeout(CHANGE_TIMEOUT, change).await {
        Ok(Ok(Outcome::Node(number))) => proto::Joined {
            number,
            cluster_id: wire::put_id(mine.cluster_id),
            partitions: mine.partitions,
            replication_factor: mine.replication_factor,
            ..answer(Kind::Member, String::new())
        },
        Ok(Ok(Outcome::Gone)) => answer(Kind::Gone, String::new()),
        Ok(Ok(Outcome::Taken)) => answer(Kind::Taken, String::new()),
        // The leader has not founded the cluster in its catalog yet.
        Ok(Ok(Outcome::NotFound)) => later("the catalog knows no cluster yet"),
        Ok(Ok(outcome)) => later(&format!("the catalog answered {outcome:?}")),
        Ok(Err(error)) => later(&error.to_string()),
        Err(_) => later("the catalog did not note the node in time"),
    }
}
