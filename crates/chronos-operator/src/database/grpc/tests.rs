//! The client against a server that says what it is told, over a real socket.

mod silence;
mod topics;

use std::collections::BTreeMap;
use std::sync::Mutex;

use chronos_proto::cronos_db as wire;
use chronos_proto::server::cluster_service_server::{ClusterService, ClusterServiceServer};
use chronos_proto::server::partition_service_server::PartitionServiceServer;
use chronos_proto::server::schedule_service_server::ScheduleServiceServer;
use chronos_proto::server::topic_service_server::TopicServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status as Refusal};

use super::*;

#[derive(Clone, Default)]
struct Server {
    calls: Arc<Mutex<Vec<String>>>,
    topics: Arc<Mutex<BTreeMap<String, wire::TopicSettings>>>,
}

impl Server {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

#[tonic::async_trait]
impl ClusterService for Server {
    async fn cluster_status(
        &self,
        _: Request<wire::ClusterStatusRequest>,
    ) -> Result<Response<wire::ClusterStatusResponse>, Refusal> {
        let node = |name: &str, state: wire::NodeState, drain: DrainScope| ClusterNode {
            name: name.to_owned(),
            number: 7,
            state: state.into(),
            drain: drain.into(),
            alive: true,
            leaders: 2,
            replicas: 3,
            can_stop: true,
            draining_ms: 9,
            ..ClusterNode::default()
        };
        Ok(Response::new(wire::ClusterStatusResponse {
            cluster_id: "id".to_owned(),
            replication_factor: 3,
            under_replicated: 1,
            moves: 2,
            overdue_ms: 4,
            nodes: vec![
                node("a", NodeState::NodeActive, DrainScope::DrainNone),
                node("b", NodeState::NodeDraining, DrainScope::DrainLeaders),
                node("c", NodeState::NodeDraining, DrainScope::DrainReplicas),
            ],
            ..wire::ClusterStatusResponse::default()
        }))
    }

    async fn drain_node(
        &self,
        request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Refusal> {
        let request = request.into_inner();
        self.note(format!("drain {} {:?}", request.name, request.scope()));
        Ok(Response::new(Default::default()))
    }

    async fn undrain_node(
        &self,
        request: Request<wire::UndrainNodeRequest>,
    ) -> Result<Response<wire::UndrainNodeResponse>, Refusal> {
        self.note(format!("undrain {}", request.into_inner().name));
        Ok(Response::new(Default::default()))
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Refusal> {
        let request = request.into_inner();
        match request.name.as_str() {
            "gone" => Err(Refusal::not_found("no such node")),
            "full" => Err(Refusal::failed_precondition("it holds replicas")),
            _ => {
                self.note(format!("remove {} {}", request.name, request.number));
                Ok(Response::new(Default::default()))
            }
        }
    }

    async fn set_node_zone(
        &self,
        request: Request<wire::SetNodeZoneRequest>,
    ) -> Result<Response<wire::SetNodeZoneResponse>, Refusal> {
        let request = request.into_inner();
        self.note(format!("zone {} {}", request.name, request.zone));
        Ok(Response::new(Default::default()))
    }
}

/// A connection to a server of its own, and what that server was asked.
async fn connected() -> (Connection, Arc<Mutex<Vec<String>>>) {
    let (connection, server) = served().await;
    (connection, server.calls)
}

/// A connection to a server of its own, and that server.
async fn served() -> (Connection, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::default();
    let serving = tonic::transport::Server::builder()
        .add_service(ClusterServiceServer::new(server.clone()))
        .add_service(PartitionServiceServer::new(server.clone()))
        .add_service(ScheduleServiceServer::new(server.clone()))
        .add_service(TopicServiceServer::new(server.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (Connection::new(plain(address)), server)
}

fn plain(address: String) -> Way {
    Way {
        addresses: vec![address],
        tls: None,
    }
}

#[tokio::test]
async fn a_status_arrives_whole() {
    let (database, _) = connected().await;
    let status = database.status().await.unwrap();
    assert_eq!(status.cluster_id, "id");
    assert_eq!((status.under_replicated, status.moves), (1, 2));
    assert_eq!(status.overdue_ms, 4);
    let drains: Vec<Drain> = status.nodes.iter().map(|(_, node)| node.drain).collect();
    assert_eq!(drains, [Drain::None, Drain::Leaders, Drain::Replicas]);
    let (name, node) = &status.nodes[1];
    assert_eq!((name.as_str(), node.number, node.draining_ms), ("b", 7, 9));
    assert!(node.alive && node.can_stop && !node.caught_up);
}

#[tokio::test]
async fn orders_arrive_and_refusals_come_back_in_words() {
    let (database, calls) = connected().await;
    database.drain("a", Drain::Leaders).await.unwrap();
    database.drain("a", Drain::Replicas).await.unwrap();
    database.undrain("a").await.unwrap();
    database.set_zone("a", "z").await.unwrap();
    database.remove("a", 7, false).await.unwrap();
    // The answer to an earlier try was lost: it is gone, as was wanted.
    database.remove("gone", 7, false).await.unwrap();
    let refused = database.remove("full", 7, false).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(why) if why.contains("holds replicas")));
    assert_eq!(
        *calls.lock().unwrap(),
        [
            "drain a DrainLeaders",
            "drain a DrainReplicas",
            "undrain a",
            "zone a z",
            "remove a 7",
        ]
    );
}

#[tokio::test]
async fn nobody_there_is_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let answer = Connection::new(plain(address)).status().await;
    assert!(matches!(answer, Err(Error::Silent(_))), "{answer:?}");
}
