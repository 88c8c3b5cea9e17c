//! What is still to be done, for people.

use super::drive::{self, Next, Waiting};
use super::view::View;
use super::{begin, transfer};
use crate::catalog::NodeState;
use crate::types::{NodeId, PartitionNumber};
use std::collections::BTreeMap;

/// What a node has, and what is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeProgress {
    /// Replicas that it has.
    pub replicas: usize,
    /// Partitions that it leads.
    pub leads: usize,
    /// Replicas that are on their way to it.
    pub coming: usize,
    /// Replicas that are to leave it, those on their way included.
    pub leaving: usize,
    /// Whether it votes in the catalog.
    pub votes: bool,
}

/// What is still to be done in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Changes under way.
    pub under_way: usize,
    /// Replicas that are to be made, those under way included.
    pub to_make: usize,
    /// Replicas that fail the replication factor for want of nodes.
    pub wanting: usize,
    /// Partitions whose leader is to change.
    pub to_transfer: usize,
    /// The nodes that are not gone, and others that have something.
    pub nodes: BTreeMap<NodeId, NodeProgress>,
    /// Partitions that are to change and cannot at the moment, and why.
    pub waiting: BTreeMap<PartitionNumber, Waiting>,
}

impl Progress {
    /// Whether a node holds nothing and decides nothing any more: it may be stopped for good.
    #[must_use]
    pub fn is_empty(&self, node: NodeId) -> bool {
        self.nodes
            .get(&node)
            .is_none_or(|of| of.replicas == 0 && of.leads == 0 && of.coming == 0 && !of.votes)
    }
}

/// What is still to be done.
#[must_use]
pub fn progress(view: &View<'_>) -> Progress {
    let cluster = view.cluster;
    let mut progress = Progress::default();
    for node in cluster.nodes.values() {
        if node.state != NodeState::Gone {
            progress.nodes.entry(node.id).or_default();
        }
    }
    let factor = cluster.info.replication_factor as usize;
    let targets = begin::targets(view);
    for ((partition, placement), target) in (0..).zip(&cluster.placements).zip(&targets) {
        let replicas = &placement.replicas;
        for node in replicas {
            progress.node(*node).replicas += 1;
            progress.node(*node).leaving += usize::from(!target.contains(node));
        }
        if let Some(change) = placement.change {
            progress.under_way += 1;
            if let Some(add) = change.add {
                progress.node(add).coming += 1;
            }
        }
        let to_make = target.iter().filter(|node| !replicas.contains(node));
        progress.to_make += to_make.count();
        progress.wanting += factor.saturating_sub(target.len());
        let is_there = placement.change.is_none()
            && replicas.iter().all(|it| target.contains(it))
            && replicas.len() == target.len();
        let report = view.groups.get(&partition);
        match drive::next(view, partition, placement, report) {
            Next::Wait(waiting) => drop(progress.waiting.insert(partition, waiting)),
            Next::Settled if !is_there => drop(progress.waiting.insert(partition, Waiting::Turn)),
            Next::Settled | Next::Do(_) => {}
        }
    }
    for (partition, wanted) in (0..).zip(transfer::leaders(view)) {
        if let Some(report) = view.groups.get(&partition) {
            progress.node(report.leader).leads += 1;
            progress.to_transfer += usize::from(wanted.is_some_and(|it| it != report.leader));
        }
    }
    for voter in view.catalog.iter().flat_map(|report| &report.voters) {
        progress.node(*voter).votes = true;
    }
    progress
}

impl Progress {
    fn node(&mut self, node: NodeId) -> &mut NodeProgress {
        self.nodes.entry(node).or_default()
    }
}
