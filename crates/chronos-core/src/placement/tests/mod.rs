//! Placement from outside.
//!
//! | file | holds |
//! |---|---|
//! | `assign.rs` | where partitions should be |

use crate::catalog::nodes::Nodes;
use crate::catalog::{Node, NodeInfo};
use crate::types::NodeId;

mod assign;

/// An active node in a zone and a rack.
pub(super) fn node(id: NodeId, zone: &str, rack: &str) -> Node {
    let info = NodeInfo {
        name: format!("node-{id}"),
        disk: u128::from(id) << 64,
        zone: zone.into(),
        rack: rack.into(),
        ..NodeInfo::default()
    };
    Node::new(id, info, 0)
}

/// Active nodes with these zones, numbered from 1.
pub(super) fn in_zones(zones: &[&str]) -> Nodes {
    let node = |(id, zone): (NodeId, &&str)| (id, node(id, zone, ""));
    (1..).zip(zones).map(node).collect()
}
