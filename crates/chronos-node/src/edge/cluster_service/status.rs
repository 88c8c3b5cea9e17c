//! A status of the cluster as it travels.

use crate::cluster::placer::Seen;
use chronos_core::catalog::{Node, NodeState};
use chronos_core::placement::{NodeStanding, View, standing};
use chronos_proto::cronos_db as pb;

/// How the cluster stands, for whoever asked.
pub fn encode(seen: &Seen) -> pb::ClusterStatusResponse {
    let view = seen.view();
    let mut standing = standing(&view);
    let info = view.cluster.info;
    let mut nodes: Vec<pb::ClusterNode> = (view.cluster.nodes.values())
        .filter_map(|node| {
            let of = standing.nodes.remove(&node.id)?;
            Some(of_node(&view, node, of))
        })
        .collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    let leader = nodes.iter().find(|node| node.catalog_leader);
    pb::ClusterStatusResponse {
        cluster_id: format!("{:032x}", info.id),
        partitions: info.partitions,
        replication_factor: info.replication_factor,
        under_replicated: standing.under_replicated as u32,
        leaderless: standing.leaderless as u32,
        moves: standing.moves as u32,
        overdue_ms: standing.overdue_ms,
        catalog_leader: leader.map(|node| node.name.clone()).unwrap_or_default(),
        nodes,
    }
}

fn of_node(view: &View<'_>, node: &Node, of: NodeStanding) -> pb::ClusterNode {
    let (state, drain) = match node.state {
        NodeState::Following => (pb::NodeState::NodeDraining, pb::DrainScope::DrainLeaders),
        NodeState::Draining => (pb::NodeState::NodeDraining, pb::DrainScope::DrainReplicas),
        NodeState::Active | NodeState::Gone => {
            (pb::NodeState::NodeActive, pb::DrainScope::DrainNone)
        }
    };
    let since_ms = view.now_ms.saturating_sub(node.since_ms);
    let is_draining = state == pb::NodeState::NodeDraining;
    pb::ClusterNode {
        name: node.info.name.clone(),
        number: node.id,
        state: state.into(),
        drain: drain.into(),
        alive: of.is_alive,
        leaders: of.leads as u32,
        replicas: of.replicas as u32,
        catalog_voter: of.votes,
        catalog_leader: of.leads_catalog,
        lag_entries: of.lag_entries,
        caught_up: of.is_caught_up,
        can_stop: of.needed.is_none(),
        why_not: of.needed.map(|why| why.to_string()).unwrap_or_default(),
        grpc_address: node.info.grpc_addr.clone(),
        zone: node.info.zone.clone(),
        version: node.info.version.clone(),
        draining_ms: match is_draining {
            true => u64::try_from(since_ms).unwrap_or(0),
            false => 0,
        },
    }
}
