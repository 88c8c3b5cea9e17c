//! A node's way into its cluster: it listens, becomes a member, opens its data, takes part.

use super::announcing::keep_announced;
use super::calls::Calls;
use super::exchange::{self, Served};
use super::introductions::{CatalogDoor, NotChanged};
use super::late::Late;
use super::membership::Membership;
use super::nodes::{self, Door};
use super::peers::Peers;
use super::routes::Routes;
use super::{Dialer, Introductions, Ports, Running, finder, joining, membership_service, running};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::edge::{self, Edge, Listener};
use crate::engine::{self, Engine, Network, clock};
use anyhow::Context;
use chronos_core::catalog::nodes::Nodes;
use chronos_core::catalog::{Command, NodeInfo, Outcome};
use chronos_core::types::NodeId;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

/// A node that listens to other nodes and is a member of a cluster.
pub struct Entered {
    /// The cluster, and as whom this node belongs to it.
    pub membership: Membership,
    /// Who leads which partition.
    pub routes: Arc<Routes>,
    introductions: Arc<Introductions>,
    peers: Arc<Peers>,
    served: Arc<Served>,
    door: Door,
    late: Late,
}

/// Where a node listens to other nodes, before it is a member.
pub struct Listening {
    introductions: Arc<Introductions>,
    served: Arc<Served>,
    door: Door,
    late: Late,
}

impl Listening {
    /// Listens, and serves other nodes until `stop` resolves. With TLS, nodes have to show a certificate.
    ///
    /// # Errors
    /// When the address is taken, or the data directory is not one of a cluster.
    pub async fn start(
        config: &Config,
        data_dir: &DataDir,
        tls: Option<chronos_tls::Peers>,
        ports: impl FnOnce(u16) -> Ports,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let address = &config.cluster.listen;
        let listener: TcpListener = (address.bind().await)
            .with_context(|| format!("cannot listen to other nodes on {address}"))?;
        let ports = ports(listener.local_addr()?.port());
        let (server, client) = tls.map(|peers| (peers.server, peers.client)).unzip();
        let introductions = Introductions::open(
            config,
            data_dir.identity(),
            data_dir.path(),
            Dialer::new(client),
            ports,
        )?;
        let listening = Self {
            introductions,
            served: Arc::default(),
            door: Door::default(),
            late: Late::default(),
        };
        let mut services = tonic::service::Routes::builder();
        services
            .add_service(exchange::service(Arc::clone(&listening.served)))
            .add_service(nodes::service(listening.door.clone()))
            .add_service(membership_service(Arc::clone(&listening.introductions)));
        let services = services.routes().into_axum_router();
        let services = services.fallback_service(listening.late.clone());
        let tcp = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = chronos_tls::incoming(tcp, server.as_ref());
        let serving = edge::server()
            .add_routes(tonic::service::Routes::from(services))
            .serve_with_incoming_shutdown(incoming, stop);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the listener for other nodes has failed");
            }
        });
        Ok(listening)
    }

    /// Waits until this node is a member of a cluster.
    ///
    /// # Errors
    /// What an operator has to mend, see [`joining::obtain`].
    pub async fn enter(self) -> anyhow::Result<Entered> {
        let dialer = self.introductions.dialer();
        let peers = Arc::new(Peers::over(dialer.clone()));
        let membership = joining::obtain(&peers, &self.introductions).await?;
        let routes = Arc::new(Routes::over(membership.me, dialer.clone()));
        for (node, info) in membership.founding.iter().flatten() {
            running::locate_call(&routes, *node, info);
        }
        running::locate_call(&routes, membership.me, &self.introductions.info());
        Ok(Entered {
            membership,
            routes,
            introductions: self.introductions,
            peers,
            served: self.served,
            door: self.door,
            late: self.late,
        })
    }
}

impl Entered {
    /// What the engine has to know of the other nodes.
    pub fn network(&self) -> Network {
        let calls = Calls(Arc::clone(&self.routes));
        Network {
            me: self.membership.me,
            partitions: self.membership.partitions,
            catalog: self.membership.first(),
            peers: Some(engine::Peers {
                transport: Arc::clone(&self.peers) as _,
                served: Arc::clone(&self.served),
                source: Arc::new(calls.clone()),
                catalog: Arc::new(calls),
            }),
        }
    }

    /// Takes part in the cluster: answers other nodes, tells them where this one is, and follows what
    /// the catalog says.
    ///
    /// # Errors
    /// When the services cannot be built.
    pub async fn take_part(
        self,
        config: &Config,
        engine: &Arc<Engine>,
        edge: &Edge,
    ) -> anyhow::Result<Running> {
        let Self {
            membership,
            routes,
            introductions,
            peers,
            door,
            late,
            ..
        } = self;
        introductions.open_catalog(Arc::new(Catalog(Arc::clone(engine))));
        let running = running::start(
            engine,
            &peers,
            &routes,
            &door,
            membership.cluster_id,
            membership.found_command(clock::now_ms()),
            config.cluster.clock_skew_threshold,
        );
        let _ = edge.placer.set(Arc::clone(&running.placer));
        late.arrive(edge.services(Listener::Internal).await?);
        let announcing = {
            let (me, membership) = (Arc::clone(&introductions), membership.clone());
            async move { Err(keep_announced(&me, &membership).await.into()) }
        };
        engine.spawn(announcing);
        engine.spawn(async move {
            let learned = move |node: NodeId, info: &NodeInfo| {
                peers.locate(node, &info.cluster_addr);
                running::locate_call(&routes, node, info);
            };
            finder::run(introductions, membership, learned).await;
            Ok(())
        });
        Ok(running.with(late))
    }
}

/// The catalog as nodes that join see it.
struct Catalog(Arc<Engine>);

impl CatalogDoor for Catalog {
    fn leader(&self) -> Option<NodeId> {
        self.0.catalog_group().leadership().get().leader
    }

    fn nodes(&self) -> Nodes {
        let cluster = self.0.cluster();
        cluster.map(|cluster| cluster.nodes).unwrap_or_default()
    }

    fn change(&self, command: Command) -> BoxFuture<'static, Result<Outcome, NotChanged>> {
        let engine = Arc::clone(&self.0);
        Box::pin(async move {
            let made = engine.change_catalog_here(command.encode().into()).await;
            let made = made.map_err(|refused| NotChanged(refused.to_string()))?;
            Ok(made.outcome)
        })
    }
}
