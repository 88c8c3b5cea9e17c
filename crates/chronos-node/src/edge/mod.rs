//! The gRPC edge: from the wire to the engine and back. Protobuf types stop here.
//!
//! | file | holds |
//! |---|---|
//! | `event_service.rs` | EventService; the calls are in `publish.rs`, `subscribe.rs`, `ack.rs`, `replay/` |
//! | `group_service.rs` | ConsumerGroupService |
//! | `partition_service.rs` | PartitionService |
//! | `pause_service.rs` | PauseService |
//! | `dead_letters/` | DeadLetterService |
//! | `schedule/` | ScheduleService |
//! | `admission.rs` | what the settings of topics allow a publish |
//! | `topics.rs` | TopicService |
//! | `cluster_service/` | ClusterService and LeadershipService |
//! | `admin/` | AdminService |
//! | `raft_service.rs` | RaftService |
//! | `not_built.rs` | services that are not built |
//! | `validate.rs` | what an event must satisfy |
//! | `status.rs` | the table from errors to statuses |
//! | `delivery_id.rs` | the id of a delivery |
//! | `leaving.rs` | whether a delivery may still leave this node |
//! | `view.rs` | the partitions that a call is served by |
//! | `forward/` | calls about partitions that other nodes lead |

mod ack;
mod admin;
mod admission;
mod batch_id;
mod cluster_service;
mod dead_letters;
mod delivery_id;
mod event_service;
mod forward;
mod group_service;
mod leaving;
mod not_built;
mod outgoing;
mod partition_service;
mod past;
mod pause_service;
mod publish;
mod raft_service;
mod replay;
mod schedule;
pub mod status;
mod subscribe;
mod topics;
pub mod validate;
mod view;

use crate::cluster::placer::Placer;
use crate::cluster::routes::Routes as Leaders;
use crate::config::Config;
use crate::engine::Engine;
use crate::metrics::Metrics;
use chronos_proto::server::admin_service_server::AdminServiceServer;
use chronos_proto::server::cluster_service_server::ClusterServiceServer;
use chronos_proto::server::consumer_group_service_server::ConsumerGroupServiceServer;
use chronos_proto::server::cross_region_service_server::CrossRegionServiceServer;
use chronos_proto::server::dead_letter_service_server::DeadLetterServiceServer;
use chronos_proto::server::event_service_server::EventServiceServer;
use chronos_proto::server::leadership_service_server::LeadershipServiceServer;
use chronos_proto::server::partition_service_server::PartitionServiceServer;
use chronos_proto::server::pause_service_server::PauseServiceServer;
use chronos_proto::server::raft_service_server::RaftServiceServer;
use chronos_proto::server::replay_service_server::ReplayServiceServer;
use chronos_proto::server::replication_service_server::ReplicationServiceServer;
use chronos_proto::server::schedule_service_server::ScheduleServiceServer;
use chronos_proto::server::topic_service_server::TopicServiceServer;
use chronos_proto::server::transaction_service_server::TransactionServiceServer;
use chronos_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use chronos_tls::incoming;
use forward::{Forwarded, Forwarder};
use not_built::NotBuilt;
use replay::Republisher;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;
use view::View;

/// Bytes a client may send on one stream before the server has read them: a few batches.
const STREAM_WINDOW: u32 = 16 << 20;
/// Bytes a client may send on one connection before the server has read them.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Calls under way on one connection.
const MOST_STREAMS: u32 = 10_000;
/// An idle client is asked whether it is there this often, and has this long to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));

/// A server for a listener, with windows and limits that suit the services.
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

/// What the services of a node work with.
pub struct Edge {
    /// The partitions.
    pub engine: Arc<Engine>,
    /// Who leads them.
    pub routes: Arc<Leaders>,
    /// Counts the calls.
    pub metrics: Arc<Metrics>,
    /// The node's settings.
    pub config: Config,
    /// The node's name.
    pub node_id: String,
    /// What places partitions, once this node takes part in a cluster.
    pub placer: OnceLock<Arc<Placer>>,
}

impl Edge {
    /// Serves clients on `listener`, only after a handshake if there is TLS, until `stop` resolves; then
    /// no new calls are taken, clients are told to go away, and calls under way end as the engine ends
    /// them.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<&Arc<chronos_tls::Server>>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let tcp = TcpIncoming::from(listener).with_nodelay(Some(true));
        server()
            .add_routes(self.services(Listener::Public).await?)
            .serve_with_incoming_shutdown(incoming(tcp, tls), stop)
            .await?;
        Ok(())
    }

    /// The services for a listener. On the internal one, other nodes forward to them; what nodes say to
    /// each other otherwise is not among them.
    pub async fn services(&self, listener: Listener) -> anyhow::Result<tonic::service::Routes> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let forwarder = Forwarder::new(&self.engine, &self.routes, listener == Listener::Internal);
        let view = View::whole(Arc::clone(&self.engine));
        let publisher =
            publish::Publisher::new(view.clone(), Arc::clone(&self.metrics), &self.config);

        let events = event_service::Events::new(&view, &self.metrics, &self.config);
        let events = Arc::new(Forwarded::new(events, &forwarder));
        let replays = Republisher::new(&view, Arc::clone(&events));
        let replays = ReplayServiceServer::new(Forwarded::new(replays, &forwarder));
        let events = EventServiceServer::from_arc(events)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let groups = Forwarded::new(group_service::Groups(view.clone()), &forwarder);
        let groups = Arc::new(groups);
        let admin_groups = Arc::clone(&groups);
        let groups = ConsumerGroupServiceServer::from_arc(groups);
        let partitions = partition_service::Partitions {
            engine: view.clone(),
            node_id: self.node_id.clone(),
        };
        let partitions = Arc::new(Forwarded::new(partitions, &forwarder));
        let admin_partitions = Arc::clone(&partitions);
        let partitions = PartitionServiceServer::from_arc(partitions);
        let schedules = schedule::Schedules::new(&view, publisher);
        // An event comes along with CancelAndPublish, and with pages of pending ones.
        let schedules = ScheduleServiceServer::new(Forwarded::new(schedules, &forwarder))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let letters = dead_letters::DeadLetters(view.clone());
        let letters = DeadLetterServiceServer::new(Forwarded::new(letters, &forwarder))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let pauses = pause_service::PauseCalls(Arc::clone(&self.engine));
        let pauses = PauseServiceServer::new(Forwarded::new(pauses, &forwarder));
        let topics = TopicServiceServer::new(Forwarded::new(topics::Topics(view), &forwarder));
        let placer = self.placer.get().cloned();
        let admin = AdminServiceServer::new(admin::Admin {
            engine: Arc::clone(&self.engine),
            node_id: self.node_id.clone(),
            placer: placer.clone(),
            partitions: admin_partitions,
            groups: admin_groups,
        });
        let cluster = cluster_service::ClusterCalls::new(&self.engine, &self.routes, placer);
        let cluster = Arc::new(cluster);
        let leadership = LeadershipServiceServer::from_arc(Arc::clone(&cluster));
        let cluster = ClusterServiceServer::from_arc(cluster);
        let raft = raft_service::RaftCalls {
            engine: Arc::clone(&self.engine),
            node_id: self.node_id.clone(),
        };
        serving(&health, &events).await;
        serving(&health, &groups).await;
        serving(&health, &partitions).await;
        serving(&health, &schedules).await;
        serving(&health, &letters).await;
        serving(&health, &replays).await;
        serving(&health, &pauses).await;
        serving(&health, &topics).await;
        serving(&health, &cluster).await;
        serving(&health, &leadership).await;
        serving(&health, &admin).await;

        let mut services = tonic::service::Routes::builder();
        services
            .add_service(events)
            .add_service(groups)
            .add_service(partitions)
            .add_service(schedules)
            .add_service(letters)
            .add_service(replays)
            .add_service(pauses)
            .add_service(topics)
            .add_service(cluster)
            .add_service(leadership)
            .add_service(ReplicationServiceServer::new(NotBuilt))
            .add_service(RaftServiceServer::new(raft))
            .add_service(CrossRegionServiceServer::new(NotBuilt))
            .add_service(TransactionServiceServer::new(NotBuilt))
            .add_service(admin)
            .add_service(health_service);
        if self.config.listen.reflection {
            let reflection = || {
                tonic_reflection::server::Builder::configure()
                    .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            };
            // Older clients, grpcurl before 1.9 among them, ask for v1alpha.
            services
                .add_service(reflection().build_v1()?)
                .add_service(reflection().build_v1alpha()?);
        }
        Ok(services.routes())
    }
}

/// Who may call a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Clients.
    Public,
    /// The other nodes, which may forward calls.
    Internal,
}

async fn serving<S: NamedService>(health: &HealthReporter, _service: &S) {
    health.set_serving::<S>().await;
}
