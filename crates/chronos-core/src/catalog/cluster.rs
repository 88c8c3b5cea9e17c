//! The cluster: what was decided when it was founded, its nodes, and where its partitions live.

use super::Catalog;
use super::nodes::{self, Node, NodeInfo, Nodes};
use super::placement::{self, Placement};
use crate::placement::assign;
use crate::types::NodeId;
use crate::varint::{
    Malformed, put_i64, put_u64, put_u128, take_i64, take_u32, take_u64, take_u128,
};
use std::collections::BTreeSet;

/// Partitions that a cluster can have: each is a Raft group.
pub const MOST_PARTITIONS: u32 = 1 << 16;

/// What was decided when the cluster was founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Random identity: nodes of two clusters do not talk to each other.
    pub id: u128,
    /// How many partitions there are.
    pub partitions: u32,
    /// On how many nodes a partition is to be, as far as there are so many.
    pub replication_factor: u32,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What was decided when it was founded.
    pub info: ClusterInfo,
    /// Its nodes, those that are gone included.
    pub nodes: Nodes,
    /// Where its partitions live, by number.
    pub placements: Vec<Placement>,
}

/// A cluster begins to exist.
///
/// The command says where the partitions go, and does not leave it to whoever applies it: so the
/// algorithm may become another without two versions disagreeing about an old log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What was decided.
    pub info: ClusterInfo,
    /// The first nodes with their numbers, from 1.
    pub nodes: Vec<(NodeId, NodeInfo)>,
    /// The replicas of each partition.
    pub replicas: Vec<Vec<NodeId>>,
    /// The founder's clock, Unix milliseconds.
    pub now_ms: i64,
}

impl Found {
    /// Founds a cluster of these nodes, and spreads the partitions over them.
    #[must_use]
    pub fn new(info: ClusterInfo, nodes: Vec<(NodeId, NodeInfo)>, now_ms: i64) -> Self {
        let placed: Nodes = (nodes.iter())
            .map(|(id, info)| (*id, Node::new(*id, info.clone(), now_ms)))
            .collect();
        let partitions = info.partitions.min(MOST_PARTITIONS);
        Self {
            info,
            replicas: assign(&placed, partitions, info.replication_factor),
            nodes,
            now_ms,
        }
    }

    /// The cluster as it begins; `None` when the command contradicts itself.
    pub(super) fn begin(self) -> Option<Cluster> {
        if !self.is_valid() {
            return None;
        }
        let now_ms = self.now_ms;
        let node = |(id, info)| (id, Node::new(id, info, now_ms));
        Some(Cluster {
            info: self.info,
            nodes: self.nodes.into_iter().map(node).collect(),
            placements: self.replicas.into_iter().map(Placement::new).collect(),
        })
    }

    fn is_valid(&self) -> bool {
        let different = |count: usize| count == self.nodes.len();
        let ids: BTreeSet<_> = self.nodes.iter().map(|(id, _)| *id).collect();
        let names: BTreeSet<_> = self.nodes.iter().map(|(_, info)| &info.name).collect();
        let disks: BTreeSet<_> = self.nodes.iter().map(|(_, info)| info.disk).collect();
        let is_placed = |replicas: &Vec<NodeId>| {
            let nodes: BTreeSet<_> = replicas.iter().collect();
            !nodes.is_empty()
                && nodes.len() == replicas.len()
                && nodes.iter().all(|node| ids.contains(node))
        };
        !self.nodes.is_empty()
            && !ids.contains(&0)
            && different(ids.len())
            && different(names.len())
            && different(disks.len())
            && (1..=MOST_PARTITIONS).contains(&self.info.partitions)
            && self.info.replication_factor > 0
            && self.replicas.len() == self.info.partitions as usize
            && self.replicas.iter().all(is_placed)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_cluster(out, &self.info);
        put_i64(out, self.now_ms);
        put_u64(out, self.nodes.len() as u64);
        for (id, info) in &self.nodes {
            put_u64(out, *id);
            nodes::put_info(out, info);
        }
        put_u64(out, self.replicas.len() as u64);
        for replicas in &self.replicas {
            placement::put_replicas(out, replicas);
        }
    }

    pub(super) fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        let info = take_cluster(input)?;
        let now_ms = take_i64(input)?;
        let mut nodes = Vec::new();
        for _ in 0..take_u64(input)? {
            nodes.push((take_u64(input)?, nodes::take_info(input)?));
        }
        let mut replicas = Vec::new();
        for _ in 0..take_u64(input)? {
            replicas.push(placement::take_replicas(input)?);
        }
        Ok(Self {
            info,
            nodes,
            replicas,
            now_ms,
        })
    }
}

impl Cluster {
    /// What the catalog's record says of the cluster.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_cluster(&mut out, &self.info);
        nodes::put_all(&mut out, &self.nodes);
        placement::put_all(&mut out, &self.placements);
        nodes::put_given_zones(&mut out, &self.nodes);
        out
    }

    /// Reads what [`Cluster::encode`] wrote.
    pub(super) fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        let mut cluster = Self {
            info: take_cluster(input)?,
            nodes: nodes::take_all(input)?,
            placements: placement::take_all(input)?,
        };
        nodes::take_given_zones(input, &mut cluster.nodes)?;
        match input.is_empty() && cluster.placements.len() == cluster.info.partitions as usize {
            true => Ok(cluster),
            false => Err(Malformed),
        }
    }
}

fn put_cluster(out: &mut Vec<u8>, info: &ClusterInfo) {
    put_u128(out, info.id);
    put_u64(out, u64::from(info.partitions));
    put_u64(out, u64::from(info.replication_factor));
}

fn take_cluster(input: &mut &[u8]) -> Result<ClusterInfo, Malformed> {
    Ok(ClusterInfo {
        id: take_u128(input)?,
        partitions: take_u32(input)?,
        replication_factor: take_u32(input)?,
    })
}

impl<S> Catalog<S> {
    /// The cluster; `None` on a node that stands alone, and before the first command of a cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }
}

#[cfg(test)]
mod tests;
