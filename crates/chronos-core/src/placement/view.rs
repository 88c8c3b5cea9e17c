//! What a plan is made from: nothing else, so it can be made anew at any moment by anybody.

use crate::catalog::{Cluster, NodeState};
use crate::types::{NodeId, PartitionNumber};
use std::collections::{BTreeMap, BTreeSet};

/// How a Raft group stands, as its leader says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The leader.
    pub leader: NodeId,
    /// Its term. Of two reports about a group the one with the higher term counts.
    pub term: u64,
    /// The voters that the last settled configuration names.
    pub voters: BTreeSet<NodeId>,
    /// The voters that it is changing to, while it is.
    pub incoming: Option<BTreeSet<NodeId>>,
    /// Members that get the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// Up to which index each member's log is known to equal the leader's.
    pub matched: BTreeMap<NodeId, u64>,
    /// The last index of the leader's log.
    pub last_index: u64,
    /// The last index that is committed.
    pub committed: u64,
    /// Whether the leader can rely on nobody else leading.
    pub is_sure: bool,
    /// When its earliest scheduled event falls due, Unix milliseconds; for a partition.
    pub next_due_ms: Option<i64>,
}

/// How much is done at once, and when patience ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Replicas that are on their way in the whole cluster. Default 4.
    pub moves: usize,
    /// Changes of leaders in one plan. Default 8.
    pub transfers: usize,
    /// A member is caught up when it is behind by no more entries than this. Default 100.
    pub caught_up_entries: u64,
    /// A change is given up when its new node is dead for so long, milliseconds. Default a minute.
    pub give_up_ms: i64,
    /// A node that is dead for so long is replaced, milliseconds. Default ten minutes.
    pub lost_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            moves: 4,
            transfers: 8,
            caught_up_entries: 100,
            give_up_ms: 60_000,
            lost_ms: 600_000,
        }
    }
}

/// The cluster as of one moment.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// What the catalog says.
    pub cluster: &'a Cluster,
    /// The clock, Unix milliseconds.
    pub now_ms: i64,
    /// Nodes that do not answer, and since when, Unix milliseconds. All others do.
    pub dead: BTreeMap<NodeId, i64>,
    /// Nodes that must not lead, because their clock is off.
    pub unfit: BTreeSet<NodeId>,
    /// What the leaders of the partitions say. One is absent when no leader is known.
    pub groups: BTreeMap<PartitionNumber, Report>,
    /// What the leader of the catalog says.
    pub catalog: Option<Report>,
    /// How much is done at once.
    pub limits: Limits,
}

impl View<'_> {
    fn state(&self, node: NodeId) -> NodeState {
        let node = self.cluster.nodes.get(&node);
        node.map_or(NodeState::Gone, |node| node.state)
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        !self.dead.contains_key(&node) && !self.is_gone(node)
    }

    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        self.state(node) == NodeState::Gone
    }

    /// Whether replicas belong on a node.
    pub(super) fn is_active(&self, node: NodeId) -> bool {
        self.state(node).holds_replicas()
    }

    fn is_dead_for(&self, node: NodeId, patience_ms: i64) -> bool {
        (self.dead.get(&node)).is_some_and(|since| self.now_ms.saturating_sub(*since) > patience_ms)
    }

    /// Whether a change does not wait for a node any longer.
    pub(super) fn is_given_up(&self, node: NodeId) -> bool {
        self.is_gone(node) || self.is_dead_for(node, self.limits.give_up_ms)
    }

    /// Whether others are to take what a node has.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.is_dead_for(node, self.limits.lost_ms)
    }

    pub(super) fn is_caught_up(&self, report: &Report, node: NodeId) -> bool {
        let matched = report.matched.get(&node).copied().unwrap_or(0);
        node == report.leader
            || matched.saturating_add(self.limits.caught_up_entries) >= report.last_index
    }

    /// Whether a node could lead now.
    pub(super) fn may_lead(&self, node: NodeId) -> bool {
        self.is_alive(node) && self.state(node) == NodeState::Active && !self.unfit.contains(&node)
    }

    /// Whether most of these voters answer.
    pub(super) fn has_quorum(&self, voters: &BTreeSet<NodeId>) -> bool {
        let alive = voters.iter().filter(|node| self.is_alive(**node));
        alive.count() > voters.len() / 2
    }

    /// Whether most of these voters answer and have what the leader has: they can go on at once.
    pub(super) fn has_ready_quorum(&self, report: &Report, voters: &BTreeSet<NodeId>) -> bool {
        let is_ready = |node: &&NodeId| self.is_alive(**node) && self.is_caught_up(report, **node);
        voters.iter().filter(is_ready).count() > voters.len() / 2
    }

    /// Whether a group can decide anything: its leader answers, and so do most of its voters, also
    /// of those that it is changing to.
    pub(super) fn can_decide(&self, report: &Report) -> bool {
        self.is_alive(report.leader)
            && self.has_quorum(&report.voters)
            && (report.incoming.as_ref()).is_none_or(|incoming| self.has_quorum(incoming))
    }
}
