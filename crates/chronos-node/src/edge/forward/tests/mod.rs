//! Three nodes on loopback, each with an engine that opens every partition: the table says which of
//! them a node leads, and only those it serves.

mod answers;
mod publishing;
mod subscribing;

use super::super::{Edge, Listener, server};
use super::{FORWARD, LEADER};
use crate::cluster::routes::Routes;
use crate::config::Config;
use crate::engine::{Engine, Network};
use crate::metrics::Metrics;
use chronos_core::catalog::NodeInfo;
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_proto::cronos_db::event_service_client::EventServiceClient;
use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::cronos_db::{Event, PublishRequest, PublishResponse};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

/// No test here waits longer for anything.
const LIMIT: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 6;

struct Node {
    routes: Arc<Routes>,
    info: NodeInfo,
    clients: Channel,
    internal: Channel,
    internal_server: AbortHandle,
    servers: Vec<AbortHandle>,
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.servers.iter().for_each(AbortHandle::abort);
        self.internal_server.abort();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

impl Node {
    async fn start(id: NodeId) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.partitions.count = PARTITIONS;
        config.wal.segment_bytes = 1 << 20;
        let metrics = Arc::new(Metrics::new());
        let engine = Engine::open(
            &config,
            dir.path(),
            &metrics,
            Network::alone(config.partitions.count),
        )
        .await
        .unwrap();
        let routes = Arc::new(Routes::new(id));
        let edge = Edge {
            engine: Arc::clone(&engine),
            routes: Arc::clone(&routes),
            metrics,
            config,
            node_id: format!("node{id}"),
            placer: std::sync::OnceLock::new(),
        };
        let ((public, grpc), (internal, cluster)) = (listen().await, listen().await);
        let services = edge.services(Listener::Internal).await.unwrap();
        let internal_server = server()
            .add_routes(services)
            .serve_with_incoming(TcpIncoming::from(internal));
        let internal_server = tokio::spawn(internal_server).abort_handle();
        let public =
            tokio::spawn(async move { edge.serve(public, None, std::future::pending()).await });
        Self {
            routes,
            info: NodeInfo {
                name: format!("node{id}"),
                grpc_addr: grpc.to_string(),
                cluster_addr: cluster.to_string(),
                ..NodeInfo::default()
            },
            clients: channel(grpc),
            internal: channel(cluster),
            internal_server,
            servers: vec![public.abort_handle()],
            engine,
            _dir: dir,
        }
    }

    fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.clients.clone())
    }

    fn partitions(&self) -> PartitionServiceClient<Channel> {
        PartitionServiceClient::new(self.clients.clone())
    }

    async fn publish(&self, event: Event) -> Result<tonic::Response<PublishResponse>, Status> {
        self.events().publish(publish(event)).await
    }
}

struct Cluster(Vec<Node>);

impl Cluster {
    /// Three nodes; node `n` (from 0) leads the partitions that leave `n` when divided by three.
    async fn start() -> Self {
        let cluster = Self::leaderless().await;
        for partition in 0..PARTITIONS {
            cluster.lead(partition, 1, Some(partition as usize % 3));
        }
        cluster
    }

    async fn leaderless() -> Self {
        let nodes = futures::future::join_all((1..=3).map(Node::start)).await;
        for node in &nodes {
            for (id, other) in (1..).zip(&nodes) {
                node.routes.locate(id, &other.info).unwrap();
            }
        }
        Self(nodes)
    }

    /// Closes the engines, which would otherwise keep the test from ending for a while.
    async fn stop(&self) {
        let engines = self.0.iter().map(|node| node.engine.stop(LIMIT));
        for stopped in soon("the end", futures::future::join_all(engines)).await {
            stopped.unwrap();
        }
    }

    /// Tells everybody who leads.
    fn lead(&self, partition: PartitionNumber, term: u64, node: Option<usize>) {
        for told in &self.0 {
            let leader = node.map(|node| node as u64 + 1);
            told.routes.learn(partition, term, leader);
        }
    }
}

/// An event that belongs to a partition.
fn event(partition: PartitionNumber, name: &str) -> Event {
    let id = (0..10_000)
        .map(|n| format!("{name}-{n}"))
        .find(|id| chronos_core::types::route(id.as_bytes(), PARTITIONS) == partition);
    Event {
        message_id: id.unwrap(),
        schedule_ts: 1,
        payload: "payload".into(),
        topic: "t".into(),
        ..Event::default()
    }
}

fn publish(event: Event) -> PublishRequest {
    PublishRequest {
        event: Some(event),
        ..PublishRequest::default()
    }
}

fn never<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(FORWARD, "never".parse().unwrap());
    request
}

fn leaders(metadata: &tonic::metadata::MetadataMap) -> Vec<String> {
    let values = metadata.get_all(LEADER).iter();
    let mut names: Vec<String> = values.map(|it| it.to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}
