//! Placement from outside.
//!
//! | file | holds |
//! |---|---|
//! | `assign.rs` | where partitions should be |
//! | `plan.rs` | what a plan asks for, situation by situation |
//! | `converge.rs` | random lives of clusters |
//! | `standing.rs` | what is said of nodes |
//! | `world.rs` | a cluster in plain sets |

use crate::catalog::nodes::Nodes;
use crate::catalog::{Node, NodeInfo};
use crate::types::NodeId;

mod assign;
mod converge;
mod plan;
mod standing;
mod world;

/// What a node in a zone and a rack says of itself.
fn info(id: NodeId, zone: &str, rack: &str) -> NodeInfo {
    NodeInfo {
        name: format!("node-{id}"),
        disk: u128::from(id) << 64,
        zone: zone.into(),
        rack: rack.into(),
        ..NodeInfo::default()
    }
}

/// An active node in a zone and a rack.
fn node(id: NodeId, zone: &str, rack: &str) -> Node {
    Node::new(id, info(id, zone, rack), 0)
}

/// Active nodes with these zones, numbered from 1.
fn in_zones(zones: &[&str]) -> Nodes {
    let node = |(id, zone): (NodeId, &&str)| (id, node(id, zone, ""));
    (1..).zip(zones).map(node).collect()
}
