//! What runs beside the engine of a node that belongs to a cluster.

use super::calls::Calls;
use super::late::Late;
use super::nodes::{Door, Inside};
use super::peers::Peers;
use super::placer::Placer;
use super::pulse::{self, Pulses};
use super::routes::Routes;
use crate::engine::{Engine, Refused};
use bytes::Bytes;
use chronos_core::catalog::{ClusterCommand, Command, NodeInfo, NodeState};
use chronos_core::types::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Parts of a node that belongs to a cluster.
pub struct Running {
    /// Signs of life of the others, and who leads what.
    pub pulses: Arc<Pulses>,
    /// What places the partitions while this node leads the catalog.
    pub placer: Arc<Placer>,
    door: Door,
    late: Late,
}

impl Running {
    /// Requests of other nodes are refused from now on, those of clients that they forward among them.
    pub fn close(&self) {
        self.door.close();
        self.late.leave();
    }

    /// The services for clients on the internal listener go with the rest.
    pub(super) fn with(self, late: Late) -> Self {
        Self { late, ..self }
    }
}

/// Begins to take part in a cluster. `found` is how the cluster begins to exist, on a node that founds
/// it.
pub fn start(
    engine: &Arc<Engine>,
    peers: &Arc<Peers>,
    routes: &Arc<Routes>,
    door: &Door,
    cluster_id: u128,
    found: Option<ClusterCommand>,
    clock_threshold: Duration,
) -> Running {
    let routes_told = Arc::clone(routes);
    let pulses = Pulses::new(engine.me(), cluster_id, routes_told, clock_threshold);
    let pulses = Arc::new(pulses);
    door.open(Inside {
        engine: Arc::clone(engine),
        pulses: Arc::clone(&pulses),
    });
    let calls = Calls(Arc::clone(routes));
    let placer = Arc::new(Placer {
        engine: Arc::clone(engine),
        pulses: Arc::clone(&pulses),
        calls: calls.clone(),
    });
    engine.spawn(locate(
        Arc::clone(engine),
        Arc::clone(peers),
        Arc::clone(routes),
    ));
    engine.spawn(pulse::run(Arc::clone(&pulses), Arc::clone(engine), calls));
    engine.spawn(Arc::clone(&placer).run());
    if let Some(command) = found {
        engine.spawn(begin(Arc::clone(engine), command));
    }
    Running {
        pulses,
        placer,
        door: door.clone(),
        late: Late::default(),
    }
}

/// Has the cluster begin to exist, once this node or another founder leads the catalog.
async fn begin(engine: Arc<Engine>, command: ClusterCommand) -> anyhow::Result<()> {
    let command: Bytes = Command::Cluster(command).encode().into();
    let mut leadership = engine.catalog_group().leadership();
    while engine.cluster().is_none() {
        let lead = leadership.get();
        if lead.leads {
            match engine.change_catalog_here(command.clone()).await {
                Ok(_) => return Ok(()),
                Err(Refused::Stopping(_)) => return Ok(()),
                // Whoever leads next does it: the command changes nothing the second time.
                Err(_) => {}
            }
        }
        if leadership.changed().await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Keeps the way to the other nodes as the catalog says where they are.
async fn locate(engine: Arc<Engine>, peers: Arc<Peers>, routes: Arc<Routes>) -> anyhow::Result<()> {
    let mut changed = engine.catalog_applied();
    let mut known: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        let nodes = engine.cluster().map(|cluster| cluster.nodes);
        for node in nodes.into_iter().flat_map(BTreeMap::into_values) {
            if node.state == NodeState::Gone {
                peers.forget(node.id);
                routes.forget(node.id);
            } else if known.get(&node.id) != Some(&node.info) {
                // Somebody may know better than a catalog that this node has had since its last start.
                if known.contains_key(&node.id) || routes.node(node.id).is_none() {
                    if node.id != engine.me() {
                        peers.locate(node.id, &node.info.cluster_addr);
                    }
                    locate_call(&routes, node.id, &node.info);
                }
                known.insert(node.id, node.info);
            }
        }
        if changed.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Takes note of the way to a node for calls.
pub(super) fn locate_call(routes: &Routes, node: NodeId, info: &NodeInfo) {
    if let Err(error) = routes.locate(node, info) {
        let address = info.cluster_addr.as_str();
        tracing::warn!(node, address, %error, "the address of a node is none");
    }
}
