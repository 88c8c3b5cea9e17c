//! A node of a cluster without its process: engine, internal listener, gRPC for clients.

use super::{LIMIT, soon, until};
use crate::cluster::calls::Calls;
use crate::cluster::exchange::{self, Served};
use crate::cluster::late::Late;
use crate::cluster::nodes::{self, Door};
use crate::cluster::peers::Peers;
use crate::cluster::routes::Routes;
use crate::cluster::{Running, running};
use crate::config::Config;
use crate::edge::{Edge, Listener};
use crate::engine::{self, Engine, Network};
use crate::metrics::Metrics;
use chronos_core::catalog::{ClusterCommand, ClusterInfo, Found, NodeInfo};
use chronos_proto::cronos_db::cluster_service_client::ClusterServiceClient;
use chronos_proto::cronos_db::event_service_client::EventServiceClient;
use chronos_proto::cronos_db::{Event, PublishRequest};
use chronos_raft::First;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub const CLUSTER: u128 = 0x00c1_0e7e;

/// Where nodes are and what they hold, across their restarts.
pub struct Cluster {
    pub partitions: u32,
    pub replication_factor: u32,
    pub founders: u64,
    pub segment_bytes: u64,
    dirs: BTreeMap<u64, TempDir>,
    addresses: BTreeMap<u64, SocketAddr>,
}

/// A node that runs.
pub struct Node {
    pub id: u64,
    pub engine: Arc<Engine>,
    pub running: Running,
    door: Door,
    client: EventServiceClient<tonic::transport::Channel>,
    pub cluster: ClusterServiceClient<tonic::transport::Channel>,
    servers: Vec<AbortHandle>,
    late: Late,
}

impl Cluster {
    pub async fn new(founders: u64, partitions: u32, replication_factor: u32) -> Self {
        Self {
            partitions,
            replication_factor,
            founders,
            segment_bytes: 64 << 10,
            dirs: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// What a node says of itself.
    pub fn info(&self, id: u64) -> NodeInfo {
        NodeInfo {
            name: format!("n{id}"),
            disk: id.into(),
            cluster_addr: self.addresses[&id].to_string(),
            grpc_addr: format!("n{id}:9000"),
            ..NodeInfo::default()
        }
    }

    /// Starts all founders.
    pub async fn start(&mut self) -> Vec<Node> {
        let mut listeners = Vec::new();
        for id in 1..=self.founders {
            listeners.push((id, self.listen(id).await));
        }
        let mut nodes = Vec::new();
        for (id, listener) in listeners {
            nodes.push(self.run(id, listener).await);
        }
        nodes
    }

    /// Starts one node, anew or again, at a new address.
    pub async fn start_one(&mut self, id: u64) -> Node {
        let listener = self.listen(id).await;
        self.run(id, listener).await
    }

    /// What a node asks of the catalog when it joins or comes back.
    pub fn put(&self, id: u64) -> chronos_core::catalog::Command {
        ClusterCommand::PutNode(chronos_core::catalog::PutNode {
            info: self.info(id),
            now_ms: 1,
        })
        .into()
    }

    async fn listen(&mut self, id: u64) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.addresses.insert(id, listener.local_addr().unwrap());
        listener
    }

    async fn run(&mut self, id: u64, listener: TcpListener) -> Node {
        let dir = self
            .dirs
            .entry(id)
            .or_insert_with(|| TempDir::new().unwrap());
        let dir = dir.path().to_owned();
        self.open(id, &dir, listener).await
    }

    async fn open(&self, id: u64, dir: &Path, listener: TcpListener) -> Node {
        let (served, door, peers) = (
            Arc::new(Served::default()),
            Door::default(),
            Arc::new(Peers::new()),
        );
        let routes = Arc::new(Routes::new(id));
        for (other, address) in &self.addresses {
            if *other != id {
                peers.locate(*other, &address.to_string());
            }
            routes.locate(*other, &self.info(*other)).unwrap();
        }
        let late = Late::default();
        let mut services = tonic::service::Routes::builder();
        services
            .add_service(exchange::service(Arc::clone(&served)))
            .add_service(nodes::service(door.clone()));
        let services = services.routes().into_axum_router();
        let services = services.fallback_service(late.clone());
        let internal = Server::builder()
            .add_routes(tonic::service::Routes::from(services))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let internal = tokio::spawn(internal).abort_handle();

        let mut config = Config::default();
        config.wal.segment_bytes = self.segment_bytes;
        let founders = || 1..=self.founders;
        let catalog = match founders().contains(&id) {
            true => First::Voters(founders().collect()),
            false => First::Wait,
        };
        let calls = Calls(Arc::clone(&routes));
        let network = Network {
            me: id,
            partitions: self.partitions,
            catalog,
            peers: Some(engine::Peers {
                transport: Arc::clone(&peers) as _,
                served,
                source: Arc::new(calls.clone()),
                catalog: Arc::new(calls),
            }),
        };
        let metrics = Arc::new(Metrics::new());
        let engine = Engine::open(&config, dir, &metrics, network).await.unwrap();
        let found = founders().contains(&id).then(|| {
            let nodes = founders().map(|id| (id, self.info(id))).collect();
            let info = ClusterInfo {
                id: CLUSTER,
                partitions: self.partitions,
                replication_factor: self.replication_factor,
            };
            ClusterCommand::Found(Found::new(info, nodes, 1))
        });
        let threshold = Duration::from_secs(5);
        let running = running::start(&engine, &peers, &routes, &door, CLUSTER, found, threshold);

        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = grpc.local_addr().unwrap();
        let edge = Edge {
            engine: Arc::clone(&engine),
            routes: Arc::clone(&routes),
            metrics,
            config,
            node_id: format!("n{id}"),
            placer: OnceLock::from(Arc::clone(&running.placer)),
        };
        late.arrive(edge.services(Listener::Internal).await.unwrap());
        let serving = async move { edge.serve(grpc, None, std::future::pending()).await };
        let public = tokio::spawn(serving).abort_handle();
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = channel.unwrap().connect().await.unwrap();
        Node {
            id,
            engine,
            running,
            door,
            client: EventServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel),
            servers: vec![internal, public],
            late,
        }
    }
}

impl Node {
    /// Publishes an event, if this node leads its partition.
    async fn publish(
        &self,
        message_id: &str,
        payload: usize,
        due_in_ms: i64,
    ) -> Result<(u32, i64), String> {
        let event = Event {
            message_id: message_id.into(),
            topic: "t".into(),
            schedule_ts: engine::clock::now_ms() + due_in_ms,
            payload: vec![7; payload].into(),
            ..Event::default()
        };
        let request = PublishRequest {
            event: Some(event),
            ..PublishRequest::default()
        };
        let mut client = self.client.clone();
        let answer = soon("an answer", client.publish(request)).await;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        match answer.get_ref().success {
            true => Ok((
                answer.get_ref().partition_id as u32,
                answer.get_ref().offset,
            )),
            false => Err(answer.into_inner().error),
        }
    }

    /// Stops at once, as far as a task can.
    pub async fn stop(self) {
        self.servers.iter().for_each(AbortHandle::abort);
        self.door.close();
        self.late.leave();
        self.engine.stop(Duration::from_secs(5)).await.unwrap();
        let engine = Arc::downgrade(&self.engine);
        drop(self.engine);
        drop(self.running);
        drop(self.client);
        drop(self.cluster);
        // The directory can be opened again when everything is gone.
        until("the end of a node", || engine.strong_count() == 0).await;
    }
}

/// Who leads a partition, by the nodes themselves.
pub fn leader(nodes: &[Node], partition: u32) -> Option<&Node> {
    let leads = |node: &&Node| node.engine.partition(partition).is_some();
    nodes.iter().find(leads)
}

/// Waits until every partition has a leader.
pub async fn all_led(nodes: &[Node], partitions: u32) {
    until("leaders of all partitions", || {
        (0..partitions).all(|partition| leader(nodes, partition).is_some())
    })
    .await;
}

/// Waits for whoever leads a partition. A lead may move at any time, by the placer or because a busy
/// machine kept its leader from being heard.
pub async fn led(nodes: &[Node], partition: u32) -> &Node {
    let mut found = None;
    until("a leader", || {
        found = leader(nodes, partition);
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Publishes an event that is due in an hour.
pub async fn publish(nodes: &[Node], message_id: &str, payload: usize) -> (u32, i64) {
    publish_due(nodes, message_id, payload, 3_600_000).await
}

/// Publishes through whichever node leads, trying again while nobody does. The offset is -1 for an id
/// that is known.
pub async fn publish_due(
    nodes: &[Node],
    message_id: &str,
    payload: usize,
    due_in_ms: i64,
) -> (u32, i64) {
    let partitions = nodes[0].engine.partition_count();
    let partition = chronos_core::types::route(message_id.as_bytes(), partitions);
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(node) = leader(nodes, partition) {
            match node.publish(message_id, payload, due_in_ms).await {
                Ok(published) => return published,
                Err(error) if error == "duplicate message_id" => return (partition, -1),
                Err(_) => {}
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "{message_id}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many events a node's replica of a partition has; `None` without a replica.
pub fn events_of(node: &Node, partition: u32) -> Option<u64> {
    let replica = node.engine.replicas().get(partition)?;
    let state = replica.handle.state.lock();
    Some(state.next_offset())
}
