//! ClusterService and LeadershipService: how the cluster stands, and taking nodes in and out of service. The catalog's leader
//! does it, whichever node was asked.
//!
//! | file | holds |
//! |---|---|
//! | `at_leader.rs` | the way to the catalog's leader |
//! | `status.rs` | a status as it travels |
//! | `removing.rs` | whether a node may be removed |

mod at_leader;
mod removing;
mod status;

use crate::cluster::placer::{Placer, Seen};
use crate::cluster::routes::Routes;
use crate::edge::status::of_refused;
use crate::engine::{Engine, clock};
pub use at_leader::AtLeader;
use chronos_core::catalog::nodes::by_name;
use chronos_core::catalog::{Cluster, ClusterCommand, Command, Drain, Node, Outcome};
use chronos_proto::cronos_db::cluster_service_client::ClusterServiceClient;
use chronos_proto::cronos_db::leadership_service_client::LeadershipServiceClient;
use chronos_proto::cronos_db::{
    ClusterStatusRequest, ClusterStatusResponse, DrainNodeRequest, DrainNodeResponse, DrainScope,
    PreferLeaderRequest, PreferLeaderResponse, RemoveNodeRequest, RemoveNodeResponse,
    SetNodeZoneRequest, SetNodeZoneResponse, UndrainNodeRequest, UndrainNodeResponse,
};
use chronos_proto::server::cluster_service_server::ClusterService;
use chronos_proto::server::leadership_service_server::LeadershipService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Bytes that the name of a zone may have.
const MOST_ZONE_BYTES: usize = 128;

/// Serves ClusterService.
pub struct ClusterCalls(AtLeader);

impl ClusterCalls {
    /// `placer` is `None` on a node that stands alone.
    pub fn new(engine: &Arc<Engine>, routes: &Arc<Routes>, placer: Option<Arc<Placer>>) -> Self {
        Self(AtLeader::new(engine, routes, placer))
    }
}

/// Answers at the catalog's leader, here or there.
macro_rules! at_leader {
    ($self:ident, $request:ident, $method:ident, $here:expr) => {
        at_leader!($self, $request, ClusterServiceClient, $method, $here)
    };
    ($self:ident, $request:ident, $client:ident, $method:ident, $here:expr) => {
        $self
            .0
            .ask($request, $here, |channel, request| async move {
                $client::new(channel).$method(request).await
            })
            .await
    };
}

#[tonic::async_trait]
impl ClusterService for ClusterCalls {
    async fn cluster_status(
        &self,
        request: Request<ClusterStatusRequest>,
    ) -> Result<Response<ClusterStatusResponse>, Status> {
        at_leader!(self, request, cluster_status, |placer, _| async move {
            Ok(status::encode(&look(&placer).await?))
        })
    }

    async fn drain_node(
        &self,
        request: Request<DrainNodeRequest>,
    ) -> Result<Response<DrainNodeResponse>, Status> {
        let drain = match request.get_ref().scope() {
            DrainScope::DrainLeaders => Drain::Leaders,
            DrainScope::DrainReplicas => Drain::Replicas,
            DrainScope::DrainNone => {
                return Err(Status::invalid_argument(
                    "scope must be DRAIN_LEADERS or DRAIN_REPLICAS; UndrainNode ends a drain",
                ));
            }
        };
        at_leader!(self, request, drain_node, |placer, asked| async move {
            set_draining(&placer, &asked.name, drain).await?;
            Ok(DrainNodeResponse {})
        })
    }

    async fn undrain_node(
        &self,
        request: Request<UndrainNodeRequest>,
    ) -> Result<Response<UndrainNodeResponse>, Status> {
        at_leader!(self, request, undrain_node, |placer, asked| async move {
            set_draining(&placer, &asked.name, Drain::Nothing).await?;
            Ok(UndrainNodeResponse {})
        })
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        at_leader!(self, request, remove_node, |placer, asked| async move {
            let seen = look(&placer).await?;
            let id = removing::check(&seen.view(), &asked)?;
            let command = ClusterCommand::RemoveNode {
                id,
                force: asked.lost,
                now_ms: clock::now_ms(),
            };
            change(&placer, &asked.name, command).await?;
            Ok(RemoveNodeResponse {})
        })
    }

    async fn set_node_zone(
        &self,
        request: Request<SetNodeZoneRequest>,
    ) -> Result<Response<SetNodeZoneResponse>, Status> {
        if request.get_ref().zone.len() > MOST_ZONE_BYTES {
            let text = format!("zone must have at most {MOST_ZONE_BYTES} bytes");
            return Err(Status::invalid_argument(text));
        }
        at_leader!(self, request, set_node_zone, |placer, asked| async move {
            let SetNodeZoneRequest { name, zone } = asked;
            let id = id_of(&placer, &name)?;
            change(&placer, &name, ClusterCommand::SetZone { id, zone }).await?;
            Ok(SetNodeZoneResponse {})
        })
    }
}

#[tonic::async_trait]
impl LeadershipService for ClusterCalls {
    async fn prefer_leader(
        &self,
        request: Request<PreferLeaderRequest>,
    ) -> Result<Response<PreferLeaderResponse>, Status> {
        at_leader!(
            self,
            request,
            LeadershipServiceClient,
            prefer_leader,
            |placer, asked| async move {
                prefer(&placer, asked).await?;
                Ok(PreferLeaderResponse {})
            }
        )
    }
}

async fn prefer(placer: &Placer, asked: PreferLeaderRequest) -> Result<(), Status> {
    let PreferLeaderRequest { partition, node } = asked;
    let id = id_of(placer, &node)?;
    let command = Command::Cluster(ClusterCommand::PreferLeader { partition, id });
    let made = placer.engine.change_catalog(&command).await;
    match made.map_err(|refused| of_refused(&refused))? {
        Outcome::Done => Ok(()),
        Outcome::NotFound => Err(Status::not_found(format!(
            "partition {partition} not found"
        ))),
        Outcome::Busy => Err(Status::failed_precondition(format!(
            "a replica of partition {partition} is moving: try again when it is there"
        ))),
        Outcome::Invalid => Err(Status::failed_precondition(format!(
            "node {node} holds no replica of partition {partition}: `chronosctl partition get \
             {partition}` says who does"
        ))),
        outcome => Err(Status::internal(format!("the catalog says {outcome:?}"))),
    }
}

/// How the cluster stands, by a leader of its catalog that still leads.
pub async fn look(placer: &Placer) -> Result<Seen, Status> {
    let seen = placer.look().await.ok_or_else(not_founded)?;
    // One that was replaced may not know it yet.
    match placer.engine.catalog_group().holds_lease() {
        true => Ok(seen),
        false => Err(at_leader::no_leader()),
    }
}

async fn set_draining(placer: &Placer, name: &str, drain: Drain) -> Result<(), Status> {
    let command = ClusterCommand::SetDraining {
        id: id_of(placer, name)?,
        drain,
        now_ms: clock::now_ms(),
    };
    change(placer, name, command).await
}

fn id_of(placer: &Placer, name: &str) -> Result<u64, Status> {
    let cluster = placer.engine.cluster().ok_or_else(not_founded)?;
    member(&cluster, name).map(|node| node.id)
}

/// A member by its name.
fn member<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Node, Status> {
    by_name(&cluster.nodes, name).ok_or_else(|| no_such_node(name))
}

async fn change(placer: &Placer, name: &str, command: ClusterCommand) -> Result<(), Status> {
    let made = placer
        .engine
        .change_catalog(&Command::Cluster(command))
        .await;
    match made.map_err(|refused| of_refused(&refused))? {
        Outcome::Done => Ok(()),
        Outcome::NotFound | Outcome::Gone => Err(no_such_node(name)),
        Outcome::InUse => Err(Status::failed_precondition(format!(
            "node {name} got a replica meanwhile: drain it first"
        ))),
        Outcome::Invalid => Err(Status::failed_precondition(format!(
            "no other node could take what node {name} holds: add a node, or undrain one"
        ))),
        outcome => Err(Status::internal(format!("the catalog says {outcome:?}"))),
    }
}

fn no_such_node(name: &str) -> Status {
    Status::not_found(format!(
        "no node of the cluster is called {name}: `chronosctl cluster nodes` lists them"
    ))
}

fn not_founded() -> Status {
    Status::unavailable("the cluster is not founded yet: try again")
}
