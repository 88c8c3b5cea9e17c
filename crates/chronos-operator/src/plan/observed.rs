//! What the planner looks at. Nodes are known by the ordinal of their pod.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::UpdateType;

/// Pods that should have been gone for longer do not go: their machine is likely to be lost.
const GONE_MS: u64 = 30_000;
/// A pod that was not ready for longer does not get ready. Attaching its disk, loading its image and
/// reading its log take a while.
const READY_MS: u64 = 15 * 60_000;

/// What is wanted: the part of the spec that the planner needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Nodes.
    pub replicas: u32,
    /// Copies of each partition.
    pub copies: u32,
    /// The hash that an up-to-date pod has.
    pub template: String,
    /// The size that every disk has at least, bytes.
    pub claim_bytes: u64,
    /// Disks that Kubernetes refuses to grow.
    pub fixed_claims: BTreeSet<u32>,
    /// Leave everything alone.
    pub paused: bool,
    /// Stop all nodes, keep the disks.
    pub hibernate: bool,
    /// Who restarts nodes.
    pub update: UpdateType,
    /// Why a pod that is made now would not start.
    pub held_back: Option<String>,
    /// How long leaderships may take to move before a node is stopped all the same, ms.
    pub drain_timeout_ms: u64,
    /// Most lateness of an event with which the next node is restarted, ms.
    pub max_overdue_ms: u64,
    /// Whether the disks of removed nodes are deleted.
    pub delete_retired: bool,
    /// A member to give up, because its disk is lost.
    pub replace: Option<Replace>,
    /// The database's id, once known.
    pub cluster_id: Option<String>,
}

/// A member to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replace {
    /// Its pod.
    pub ordinal: u32,
    /// The member's number, which its successor will not have.
    pub number: u64,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The StatefulSet.
    pub set: Option<Set>,
    /// The pods.
    pub pods: BTreeMap<u32, Pod>,
    /// The disks' claims.
    pub claims: BTreeMap<u32, Claim>,
    /// What the database says of itself, at one moment. `None`: it did not answer.
    pub database: Option<Database>,
}

/// The StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Pods that it is to have.
    pub replicas: u32,
    /// Whether Kubernetes has taken note of its last change. Until then a pod that is deleted might
    /// come back as it was.
    pub noticed: bool,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Tells it from the next pod of its name.
    pub uid: String,
    /// The hash of what it was made of.
    pub template: String,
    /// How it is.
    pub condition: PodCondition,
    /// For how long it should have been ready, or gone, ms.
    pub waiting_ms: u64,
    /// The zone of the Kubernetes node that it runs on.
    pub zone: Option<String>,
    /// Whether that Kubernetes node is being emptied.
    pub leaving: bool,
    /// Whether that Kubernetes node is not heard from: nobody knows how the pod is, and one that is
    /// deleted is not made anew.
    pub unreachable: bool,
}

/// How a pod is, as the kubelet sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodCondition {
    /// It serves.
    Ready,
    /// Its process runs, or is about to.
    Starting,
    /// Its process does not run: why.
    Broken(String),
    /// It is being stopped.
    Terminating,
}

/// The claim of a pod's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Tells it from the next claim of its name.
    pub uid: String,
    /// The size that it asks for, bytes.
    pub requested_bytes: u64,
    /// Whether its member was given up: the disk never serves again.
    pub retired: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What the database says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its id.
    pub cluster_id: String,
    /// Partitions that lack a copy.
    pub under_replicated: u32,
    /// Partitions without a leader.
    pub leaderless: u32,
    /// Replicas under way.
    pub moves: u32,
    /// How late the latest event is, ms.
    pub overdue_ms: u64,
    /// The members, by the ordinal of their pod.
    pub nodes: BTreeMap<u32, Node>,
    /// Members whose name is not that of a pod of this cluster.
    pub strangers: Vec<String>,
}

/// A member of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u64,
    /// What is moved off it.
    pub drain: Drain,
    /// For how long, ms.
    pub draining_ms: u64,
    /// Whether the others hear from it.
    pub alive: bool,
    /// Partitions that it leads.
    pub leaders: u32,
    /// Replicas that it holds.
    pub replicas: u32,
    /// Log entries that they lack.
    pub lag_entries: u64,
    /// Whether it votes in the catalog.
    pub catalog_voter: bool,
    /// Whether it leads the catalog.
    pub catalog_leader: bool,
    /// Whether its replicas have what is committed.
    pub caught_up: bool,
    /// Whether all goes on when it stops.
    pub can_stop: bool,
    /// When not: why.
    pub why_not: String,
    /// The zone that the database knows.
    pub zone: String,
    /// The version that it runs.
    pub version: String,
}

/// What is moved off a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// Nothing.
    #[default]
    None,
    /// Leaderships.
    Leaders,
    /// All that it holds.
    Replicas,
}

impl Pod {
    /// Whether it is on its way out and soon gone.
    pub(super) fn is_stopping(&self) -> bool {
        self.condition == PodCondition::Terminating && self.waiting_ms <= GONE_MS
    }

    /// Whether it runs, and had the time to get ready.
    pub(super) fn is_slow(&self) -> bool {
        self.condition == PodCondition::Starting && self.waiting_ms > READY_MS
    }
}

impl Claim {
    /// Whether somebody is deleting the disk of a member.
    pub(crate) fn is_at_risk(&self) -> bool {
        self.terminating && !self.retired
    }
}

impl Observed {
    /// Pods that the set is to have.
    pub(super) fn size(&self) -> u32 {
        self.set.map_or(0, |set| set.replicas)
    }

    /// The member of an ordinal, if the database answered and knows one.
    pub(super) fn node(&self, ordinal: u32) -> Option<&Node> {
        self.database.as_ref()?.nodes.get(&ordinal)
    }

    /// Whether the database answered and has no member of this ordinal.
    pub(super) fn is_no_member(&self, ordinal: u32) -> bool {
        self.database
            .as_ref()
            .is_some_and(|database| !database.nodes.contains_key(&ordinal))
    }

    /// Whether the database answered and hears from this ordinal's node.
    pub(super) fn is_alive(&self, ordinal: u32) -> bool {
        self.node(ordinal).is_some_and(|node| node.alive)
    }

    /// Whether a pod serves.
    pub fn is_ready(&self, ordinal: u32) -> bool {
        self.pods
            .get(&ordinal)
            .is_some_and(|pod| pod.condition == PodCondition::Ready)
    }

    /// The first pod that should be there and is not ready.
    pub(super) fn not_ready(&self) -> Option<u32> {
        (0..self.size()).find(|ordinal| !self.is_ready(*ordinal))
    }

    /// Nodes that should be there and are not ready, no members, not heard from, or behind.
    pub(super) fn unwell(&self) -> BTreeSet<u32> {
        (0..self.size())
            .filter(|ordinal| {
                let in_step = |node: &Node| node.alive && node.caught_up;
                !self.is_ready(*ordinal) || !self.node(*ordinal).is_some_and(in_step)
            })
            .collect()
    }

    /// A node whose disk somebody is deleting. Kubernetes lets the disk live as long as the pod does.
    pub(super) fn claim_at_risk(&self) -> Option<u32> {
        let mut within = self.claims.range(..self.size());
        let (ordinal, _) = within.find(|(_, claim)| claim.is_at_risk())?;
        Some(*ordinal)
    }

    /// Pods within the set that are not as the spec says now.
    pub fn outdated(&self, desired: &Desired) -> BTreeSet<u32> {
        self.pods
            .iter()
            .filter(|(_, pod)| {
                pod.template != desired.template && pod.condition != PodCondition::Terminating
            })
            .map(|(ordinal, _)| *ordinal)
            .collect()
    }
}
