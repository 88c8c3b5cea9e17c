//! The nodes of a cluster, as the catalog knows them.
//!
//! A node is its disk: the identity that its data directory got when it was made. The name is what
//! people call it. A known name with another disk is another node, because it has lost what the old
//! one had promised to remember: it gets a number of its own, and the old one is gone for good. A
//! record never leaves, so that neither a number nor a disk that is gone comes back.

use super::Outcome;
use crate::types::NodeId;
use crate::varint::{
    Malformed, put_bytes, put_i64, put_u64, put_u128, take_i64, take_string, take_u64, take_u128,
};
use std::collections::BTreeMap;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// Its name, as its operator chose it.
    pub name: String,
    /// Random identity of its data directory.
    pub disk: u128,
    /// Where other nodes reach it.
    pub cluster_addr: String,
    /// Where clients reach it by gRPC.
    pub grpc_addr: String,
    /// Where people and probes reach it by HTTP.
    pub http_addr: String,
    /// The rack it stands in; empty when unknown. A rack belongs to its zone.
    pub rack: String,
    /// The zone it stands in; empty when unknown. A zone belongs to its region.
    pub zone: String,
    /// The region it stands in; empty when unknown.
    pub region: String,
    /// The version of its program.
    pub version: String,
}

/// What a node is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// It leads, holds replicas and takes more.
    Active,
    /// It holds replicas and takes more, and others are to lead: it is about to be restarted.
    Following,
    /// It holds replicas and is to lose them.
    Draining,
    /// It will never come back: its disk was wiped, or it was removed. Replicas that it had are to
    /// be made elsewhere.
    Gone,
}

impl NodeState {
    /// Whether replicas belong on the node.
    #[must_use]
    pub const fn holds_replicas(self) -> bool {
        matches!(self, NodeState::Active | NodeState::Following)
    }
}

/// What is moved off a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drain {
    /// Nothing.
    Nothing,
    /// What it leads.
    Leaders,
    /// What it leads, what it holds, and its vote in the catalog.
    Replicas,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// What it said of itself last.
    pub info: NodeInfo,
    /// What it is good for.
    pub state: NodeState,
    /// Since when it is in this state, Unix milliseconds.
    pub since_ms: i64,
    /// Whether somebody else said in which zone it stands. That holds until it names one itself.
    pub is_zone_given: bool,
}

impl Node {
    /// A node that begins to exist.
    #[must_use]
    pub fn new(id: NodeId, info: NodeInfo, now_ms: i64) -> Self {
        Self {
            id,
            info,
            state: NodeState::Active,
            since_ms: now_ms,
            is_zone_given: false,
        }
    }

    /// Takes note of what it says of itself.
    fn introduce(&mut self, info: NodeInfo) {
        let before = std::mem::replace(&mut self.info, info);
        self.is_zone_given &= self.info.zone.is_empty();
        if self.is_zone_given {
            self.info.zone = before.zone;
        }
    }

    fn enter(&mut self, state: NodeState, now_ms: i64) {
        if self.state != state {
            self.state = state;
            self.since_ms = now_ms;
        }
    }
}

/// The nodes by number.
pub type Nodes = BTreeMap<NodeId, Node>;

/// A node joins, or comes back, perhaps with other addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutNode {
    /// What it says of itself.
    pub info: NodeInfo,
    /// The leader's clock, Unix milliseconds.
    pub now_ms: i64,
}

/// The node of a name that is not gone; there is at most one.
#[must_use]
pub fn by_name<'a>(nodes: &'a Nodes, name: &str) -> Option<&'a Node> {
    let mut named = nodes.values().filter(|node| node.info.name == name);
    named.find(|node| node.state != NodeState::Gone)
}

/// The node of a disk, whether or not it is gone.
#[must_use]
pub fn by_disk(nodes: &Nodes, disk: u128) -> Option<&Node> {
    nodes.values().find(|node| node.info.disk == disk)
}

pub(super) fn put(nodes: &mut Nodes, put: PutNode) -> Outcome {
    let PutNode { info, now_ms } = put;
    if let Some(known) = by_disk(nodes, info.disk) {
        let id = known.id;
        return match nodes.get_mut(&id) {
            Some(known) if known.state == NodeState::Gone => Outcome::Gone,
            // A copied data directory: two nodes must never speak as one.
            Some(known) if known.info.name != info.name => Outcome::Taken,
            Some(known) => {
                known.introduce(info);
                Outcome::Node(id)
            }
            None => Outcome::NotFound,
        };
    }
    if let Some(wiped) = by_name(nodes, &info.name).map(|wiped| wiped.id)
        && let Some(wiped) = nodes.get_mut(&wiped)
    {
        wiped.enter(NodeState::Gone, now_ms);
    }
    let last = nodes.last_key_value().map_or(0, |(id, _)| *id);
    let Some(id) = last.checked_add(1) else {
        return Outcome::Invalid;
    };
    nodes.insert(id, Node::new(id, info, now_ms));
    Outcome::Node(id)
}

/// Whether somebody else could take what a node holds.
fn has_another(nodes: &Nodes, id: NodeId) -> bool {
    let is_another = |node: &Node| node.id != id && node.state.holds_replicas();
    nodes.values().any(is_another)
}

pub(super) fn set_draining(nodes: &mut Nodes, id: NodeId, drain: Drain, now_ms: i64) -> Outcome {
    let is_last = !has_another(nodes, id);
    match nodes.get_mut(&id) {
        None => Outcome::NotFound,
        Some(node) if node.state == NodeState::Gone => Outcome::Gone,
        Some(_) if drain == Drain::Replicas && is_last => Outcome::Invalid,
        Some(node) => {
            let state = match drain {
                Drain::Nothing => NodeState::Active,
                Drain::Leaders => NodeState::Following,
                Drain::Replicas => NodeState::Draining,
            };
            node.enter(state, now_ms);
            Outcome::Done
        }
    }
}

pub(super) fn set_zone(nodes: &mut Nodes, id: NodeId, zone: String) -> Outcome {
    match nodes.get_mut(&id) {
        None => Outcome::NotFound,
        Some(node) if node.state == NodeState::Gone => Outcome::Gone,
        Some(node) => {
            node.is_zone_given = !zone.is_empty();
            node.info.zone = zone;
            Outcome::Done
        }
    }
}

pub(super) fn remove(nodes: &mut Nodes, id: NodeId, now_ms: i64) -> Outcome {
    let is_last = !has_another(nodes, id);
    match nodes.get_mut(&id) {
        None => Outcome::NotFound,
        Some(node) if node.state == NodeState::Gone => Outcome::Gone,
        Some(_) if is_last => Outcome::Invalid,
        Some(node) => {
            node.enter(NodeState::Gone, now_ms);
            Outcome::Done
        }
    }
}

impl NodeState {
    const fn number(self) -> u64 {
        match self {
            NodeState::Active => 0,
            NodeState::Draining => 1,
            NodeState::Gone => 2,
            NodeState::Following => 3,
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        match take_u64(input)? {
            0 => Ok(NodeState::Active),
            1 => Ok(NodeState::Draining),
            2 => Ok(NodeState::Gone),
            3 => Ok(NodeState::Following),
            _ => Err(Malformed),
        }
    }
}

impl Drain {
    pub(super) const fn number(self) -> u64 {
        match self {
            Drain::Nothing => 0,
            Drain::Replicas => 1,
            Drain::Leaders => 2,
        }
    }

    pub(super) fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        match take_u64(input)? {
            0 => Ok(Drain::Nothing),
            1 => Ok(Drain::Replicas),
            2 => Ok(Drain::Leaders),
            _ => Err(Malformed),
        }
    }
}

pub(super) fn put_info(out: &mut Vec<u8>, info: &NodeInfo) {
    put_u128(out, info.disk);
    for text in [
        &info.name,
        &info.cluster_addr,
        &info.grpc_addr,
        &info.http_addr,
        &info.rack,
        &info.zone,
        &info.region,
        &info.version,
    ] {
        put_bytes(out, text.as_bytes());
    }
}

pub(super) fn take_info(input: &mut &[u8]) -> Result<NodeInfo, Malformed> {
    Ok(NodeInfo {
        disk: take_u128(input)?,
        name: take_string(input)?,
        cluster_addr: take_string(input)?,
        grpc_addr: take_string(input)?,
        http_addr: take_string(input)?,
        rack: take_string(input)?,
        zone: take_string(input)?,
        region: take_string(input)?,
        version: take_string(input)?,
    })
}

pub(super) fn put_all(out: &mut Vec<u8>, nodes: &Nodes) {
    put_u64(out, nodes.len() as u64);
    for node in nodes.values() {
        put_u64(out, node.id);
        put_u64(out, node.state.number());
        put_i64(out, node.since_ms);
        put_info(out, &node.info);
    }
}

pub(super) fn take_all(input: &mut &[u8]) -> Result<Nodes, Malformed> {
    let mut nodes = Nodes::new();
    for _ in 0..take_u64(input)? {
        let node = Node {
            id: take_u64(input)?,
            state: NodeState::take(input)?,
            since_ms: take_i64(input)?,
            info: take_info(input)?,
            is_zone_given: false,
        };
        nodes.insert(node.id, node);
    }
    Ok(nodes)
}

/// Notes whose zones were given by others, if any were.
pub(super) fn put_given_zones(out: &mut Vec<u8>, nodes: &Nodes) {
    let given: Vec<&Node> = nodes.values().filter(|node| node.is_zone_given).collect();
    if !given.is_empty() {
        put_u64(out, given.len() as u64);
        given.iter().for_each(|node| put_u64(out, node.id));
    }
}

/// Reads what [`put_given_zones`] wrote.
pub(super) fn take_given_zones(input: &mut &[u8], nodes: &mut Nodes) -> Result<(), Malformed> {
    if input.is_empty() {
        return Ok(());
    }
    for _ in 0..take_u64(input)? {
        let node = nodes.get_mut(&take_u64(input)?).ok_or(Malformed)?;
        node.is_zone_given = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, disk: u128) -> NodeInfo {
        NodeInfo {
            name: name.into(),
            disk,
            ..NodeInfo::default()
        }
    }

    fn join(nodes: &mut Nodes, name: &str, disk: u128, now_ms: i64) -> Outcome {
        let info = info(name, disk);
        put(nodes, PutNode { info, now_ms })
    }

    fn state(nodes: &Nodes, id: NodeId) -> (NodeState, i64) {
        (nodes[&id].state, nodes[&id].since_ms)
    }

    #[test]
    fn a_node_that_comes_back_keeps_its_number_and_state_and_brings_its_addresses() {
        let mut nodes = Nodes::new();
        assert_eq!(join(&mut nodes, "a", 10, 1), Outcome::Node(1));
        assert_eq!(join(&mut nodes, "b", 20, 2), Outcome::Node(2));
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 3),
            Outcome::Done
        );
        let moved = NodeInfo {
            cluster_addr: "elsewhere:7947".into(),
            ..info("a", 10)
        };
        let again = PutNode {
            info: moved.clone(),
            now_ms: 4,
        };
        assert_eq!(put(&mut nodes, again), Outcome::Node(1));
        assert_eq!(nodes[&1].info, moved);
        assert_eq!(state(&nodes, 1), (NodeState::Draining, 3));
    }

    #[test]
    fn a_wiped_disk_is_another_node_and_the_old_one_never_returns() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        join(&mut nodes, "b", 20, 1);
        assert_eq!(join(&mut nodes, "a", 11, 5), Outcome::Node(3));
        assert_eq!(state(&nodes, 1), (NodeState::Gone, 5));
        assert_eq!(state(&nodes, 3), (NodeState::Active, 5));
        assert_eq!(join(&mut nodes, "a", 10, 6), Outcome::Gone);
        assert_eq!(join(&mut nodes, "c", 10, 6), Outcome::Gone);
        assert_eq!(by_name(&nodes, "a").map(|node| node.id), Some(3));
    }

    #[test]
    fn a_copied_disk_is_refused() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        assert_eq!(join(&mut nodes, "b", 10, 1), Outcome::Taken);
        assert_eq!(nodes.len(), 1);
    }

    #[test]
    fn numbers_are_never_given_again() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        join(&mut nodes, "b", 20, 1);
        assert_eq!(remove(&mut nodes, 2, 3), Outcome::Done);
        assert_eq!(remove(&mut nodes, 2, 4), Outcome::Gone);
        assert_eq!(state(&nodes, 2), (NodeState::Gone, 3));
        assert_eq!(join(&mut nodes, "b", 21, 5), Outcome::Node(3));
        assert_eq!(remove(&mut nodes, 9, 5), Outcome::NotFound);
        nodes.insert(NodeId::MAX, Node::new(NodeId::MAX, info("z", 99), 1));
        assert_eq!(join(&mut nodes, "y", 98, 5), Outcome::Invalid);
    }

    #[test]
    fn somebody_stays() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 2),
            Outcome::Invalid
        );
        assert_eq!(remove(&mut nodes, 1, 2), Outcome::Invalid);
        join(&mut nodes, "b", 20, 3);
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 4),
            Outcome::Done
        );
        assert_eq!(
            set_draining(&mut nodes, 2, Drain::Replicas, 5),
            Outcome::Invalid
        );
        assert_eq!(remove(&mut nodes, 2, 5), Outcome::Invalid);
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 6),
            Outcome::Done
        );
        assert_eq!(state(&nodes, 1), (NodeState::Draining, 4));
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Nothing, 7),
            Outcome::Done
        );
        assert_eq!(state(&nodes, 1), (NodeState::Active, 7));
        assert_eq!(remove(&mut nodes, 1, 8), Outcome::Done);
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Nothing, 9),
            Outcome::Gone
        );
        assert_eq!(
            set_draining(&mut nodes, 7, Drain::Nothing, 9),
            Outcome::NotFound
        );
    }

    #[test]
    fn leaders_leave_before_replicas_and_the_time_counts_for_each() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        // Also the last one: who else should lead is not for the catalog to say.
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Leaders, 2),
            Outcome::Done
        );
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 3),
            Outcome::Invalid
        );
        join(&mut nodes, "b", 20, 3);
        assert_eq!(
            set_draining(&mut nodes, 2, Drain::Replicas, 4),
            Outcome::Done
        );
        assert_eq!(
            set_draining(&mut nodes, 2, Drain::Leaders, 5),
            Outcome::Done
        );
        assert_eq!(
            set_draining(&mut nodes, 2, Drain::Leaders, 6),
            Outcome::Done
        );
        assert_eq!(state(&nodes, 2), (NodeState::Following, 5));
        assert_eq!(
            set_draining(&mut nodes, 1, Drain::Replicas, 7),
            Outcome::Done
        );
        assert_eq!(state(&nodes, 1), (NodeState::Draining, 7));
    }

    #[test]
    fn a_zone_that_was_given_holds_until_the_node_names_one() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        assert_eq!(set_zone(&mut nodes, 1, "z1".into()), Outcome::Done);
        join(&mut nodes, "a", 10, 2);
        assert_eq!(
            (nodes[&1].info.zone.as_str(), nodes[&1].is_zone_given),
            ("z1", true)
        );
        let named = NodeInfo {
            zone: "z2".into(),
            ..info("a", 10)
        };
        let put_named = PutNode {
            info: named,
            now_ms: 3,
        };
        put(&mut nodes, put_named);
        assert_eq!(
            (nodes[&1].info.zone.as_str(), nodes[&1].is_zone_given),
            ("z2", false)
        );
        // What it named itself it may take back.
        join(&mut nodes, "a", 10, 4);
        assert_eq!(nodes[&1].info.zone, "");
        assert_eq!(set_zone(&mut nodes, 9, "z".into()), Outcome::NotFound);
    }

    #[test]
    fn given_zones_are_kept_and_a_record_without_any_is_as_before() {
        let mut nodes = Nodes::new();
        join(&mut nodes, "a", 10, 1);
        join(&mut nodes, "b", 20, 1);
        let mut out = Vec::new();
        put_given_zones(&mut out, &nodes);
        assert!(out.is_empty());
        set_zone(&mut nodes, 2, "z".into());
        put_given_zones(&mut out, &nodes);
        let (mut input, mut read) = (&out[..], nodes.clone());
        read.values_mut()
            .for_each(|node| node.is_zone_given = false);
        take_given_zones(&mut input, &mut read).unwrap();
        assert_eq!(read, nodes);
        assert!(input.is_empty());
    }
}
