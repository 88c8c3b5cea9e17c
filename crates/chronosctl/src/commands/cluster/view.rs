//! What is printed of a cluster.

use chronos_client::cluster_service::{ClusterNode, ClusterStatusResponse, DrainScope};
use comfy_table::{Cell, Table};
use serde::Serialize;

use crate::printer::{table, verdict};

/// A cluster in JSON and YAML, by the names of the wire.
#[derive(Debug, Serialize)]
pub(super) struct ClusterView {
    cluster_id: String,
    partitions: u32,
    replication_factor: u32,
    under_replicated: u32,
    leaderless: u32,
    moves: u32,
    overdue_ms: u64,
    catalog_leader: String,
    nodes: Vec<NodeView>,
}

/// A node in JSON and YAML, by the names of the wire.
#[derive(Debug, Serialize)]
pub(super) struct NodeView {
    name: String,
    number: u64,
    /// `active` or `draining`.
    state: &'static str,
    /// `none`, `leaders` or `replicas`.
    drain: &'static str,
    alive: bool,
    leaders: u32,
    replicas: u32,
    catalog_voter: bool,
    catalog_leader: bool,
    lag_entries: u64,
    caught_up: bool,
    can_stop: bool,
    why_not: String,
    grpc_address: String,
    zone: String,
    version: String,
    draining_ms: u64,
}

impl From<ClusterStatusResponse> for ClusterView {
    fn from(status: ClusterStatusResponse) -> Self {
        Self {
            cluster_id: status.cluster_id,
            partitions: status.partitions,
            replication_factor: status.replication_factor,
            under_replicated: status.under_replicated,
            leaderless: status.leaderless,
            moves: status.moves,
            overdue_ms: status.overdue_ms,
            catalog_leader: status.catalog_leader,
            nodes: status.nodes.into_iter().map(NodeView::from).collect(),
        }
    }
}

impl From<ClusterNode> for NodeView {
    fn from(node: ClusterNode) -> Self {
        let drain = match node.drain() {
            DrainScope::DrainNone => "none",
            DrainScope::DrainLeaders => "leaders",
            DrainScope::DrainReplicas => "replicas",
        };
        let state = match node.drain() {
            DrainScope::DrainNone => "active",
            DrainScope::DrainLeaders | DrainScope::DrainReplicas => "draining",
        };
        Self {
            state,
            drain,
            name: node.name,
            number: node.number,
            alive: node.alive,
            leaders: node.leaders,
            replicas: node.replicas,
            catalog_voter: node.catalog_voter,
            catalog_leader: node.catalog_leader,
            lag_entries: node.lag_entries,
            caught_up: node.caught_up,
            can_stop: node.can_stop,
            why_not: node.why_not,
            grpc_address: node.grpc_address,
            zone: node.zone,
            version: node.version,
            draining_ms: node.draining_ms,
        }
    }
}

impl ClusterView {
    pub(super) fn table(&self) -> Table {
        let alive = self.nodes.iter().filter(|node| node.alive).count();
        let all = self.nodes.len();
        let mut table = table(["FIELD", "VALUE"]);
        let mut row = |name: &str, value: Cell| {
            table.add_row([Cell::new(name), value]);
        };
        row("cluster", Cell::new(&self.cluster_id));
        row(
            "nodes alive",
            verdict(alive == all, &format!("{alive} of {all}")),
        );
        row("catalog led by", Cell::new(&self.catalog_leader));
        row("partitions", Cell::new(self.partitions));
        row("copies of each", Cell::new(self.replication_factor));
        row("without a leader", none_is_well(self.leaderless));
        row("with too few copies", none_is_well(self.under_replicated));
        row("moves", Cell::new(self.moves));
        let overdue = match self.overdue_ms {
            0 => "none".to_owned(),
            late => format!("{late} ms"),
        };
        row("longest overdue", Cell::new(overdue));
        table
    }
}

fn none_is_well(count: u32) -> Cell {
    match count {
        0 => verdict(true, "none"),
        count => verdict(false, &count.to_string()),
    }
}

pub(super) fn nodes_table(nodes: &[NodeView]) -> Table {
    let mut table = table([
        "NODE", "NUMBER", "ALIVE", "STATE", "LEADS", "REPLICAS", "CATALOG", "LAG", "CAN STOP",
        "ZONE", "ADDRESS", "VERSION",
    ]);
    for node in nodes {
        let state = match node.drain {
            "none" => node.state.to_owned(),
            scope => format!("{} {scope}", node.state),
        };
        let catalog = match (node.catalog_leader, node.catalog_voter) {
            (true, _) => "leads",
            (false, true) => "votes",
            (false, false) => "",
        };
        let can_stop = match node.can_stop {
            true => verdict(true, "yes"),
            false => verdict(false, &format!("no: {}", node.why_not)),
        };
        table.add_row([
            Cell::new(&node.name),
            Cell::new(node.number),
            verdict(node.alive, if node.alive { "yes" } else { "no" }),
            Cell::new(state),
            Cell::new(node.leaders),
            Cell::new(node.replicas),
            Cell::new(catalog),
            Cell::new(node.lag_entries),
            can_stop,
            Cell::new(&node.zone),
            Cell::new(&node.grpc_address),
            Cell::new(&node.version),
        ]);
    }
    table
}

/// What is moving, in JSON and YAML.
#[derive(Debug, Serialize)]
pub(super) struct Moving {
    moves: u32,
    nodes: Vec<Share>,
}

/// What a node has.
#[derive(Debug, Serialize)]
struct Share {
    node: String,
    leaders: u32,
    replicas: u32,
}

impl From<&ClusterStatusResponse> for Moving {
    fn from(status: &ClusterStatusResponse) -> Self {
        let share = |node: &ClusterNode| Share {
            node: node.name.clone(),
            leaders: node.leaders,
            replicas: node.replicas,
        };
        Self {
            moves: status.moves,
            nodes: status.nodes.iter().map(share).collect(),
        }
    }
}

impl Moving {
    pub(super) fn table(&self) -> Table {
        let mut table = table(["NODE", "LEADS", "REPLICAS"]);
        for share in &self.nodes {
            let counts = [share.leaders.to_string(), share.replicas.to_string()];
            let [leads, replicas] = counts;
            table.add_row([share.node.clone(), leads, replicas]);
        }
        table.add_row([
            "replicas to move".to_owned(),
            String::new(),
            self.moves.to_string(),
        ]);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ClusterStatusResponse {
        ClusterStatusResponse {
            cluster_id: "00ff".into(),
            partitions: 8,
            replication_factor: 3,
            under_replicated: 2,
            catalog_leader: "n1".into(),
            nodes: vec![
                ClusterNode {
                    name: "n1".into(),
                    alive: true,
                    catalog_leader: true,
                    can_stop: true,
                    zone: "west".into(),
                    ..ClusterNode::default()
                },
                ClusterNode {
                    name: "n2".into(),
                    drain: DrainScope::DrainLeaders.into(),
                    why_not: "partition 3 has no leader at the moment".into(),
                    ..ClusterNode::default()
                },
            ],
            ..ClusterStatusResponse::default()
        }
    }

    #[test]
    fn tables_say_what_is_wrong() {
        let view = ClusterView::from(status());
        let text = view.table().to_string();
        for part in ["1 of 2", "00ff", "longest overdue"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = nodes_table(&view.nodes).to_string();
        for part in ["leads", "draining leaders", "no: partition 3", "west"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn json_keeps_the_names_of_the_wire() {
        let json = serde_json::to_value(ClusterView::from(status())).unwrap();
        assert_eq!(json["under_replicated"], 2);
        assert_eq!(json["nodes"][1]["drain"], "leaders");
        assert_eq!(json["nodes"][1]["state"], "draining");
    }
}
