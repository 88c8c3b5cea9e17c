//! A cluster as a plan sees it, in plain sets: groups that elect, catch up and change their voters,
//! nodes that die and come back, a catalog that applies real commands.

use super::info;
use crate::catalog::nodes::PutNode;
use crate::catalog::{
    Catalog, Cluster, ClusterCommand, ClusterInfo, Command, Drain, Found, NUMBER, NodeState,
    Outcome,
};
use crate::partition::LogPosition;
use crate::placement::{Limits, Report, Step, View};
use crate::store::MemoryStore;
use crate::types::{NodeId, PartitionNumber};
use std::collections::{BTreeMap, BTreeSet};

/// Time between two plans, milliseconds.
const TICK_MS: i64 = 1_000;
/// Entries that a member can receive between two plans, and that a group gets.
const RECEIVED: u64 = 400;
const WRITTEN: u64 = 30;

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) leader: Option<NodeId>,
    term: u64,
    matched: BTreeMap<NodeId, u64>,
    last_index: u64,
}

impl Group {
    fn new(voters: &[NodeId]) -> Self {
        Self {
            voters: voters.iter().copied().collect(),
            learners: BTreeSet::new(),
            leader: None,
            term: 0,
            matched: BTreeMap::new(),
            last_index: 1_000,
        }
    }

    fn matched(&self, node: NodeId) -> u64 {
        self.matched.get(&node).copied().unwrap_or(0)
    }

    fn has_quorum(&self, is_alive: impl Fn(NodeId) -> bool) -> bool {
        let alive = self.voters.iter().filter(|node| is_alive(**node)).count();
        alive > self.voters.len() / 2
    }
}

pub(super) struct World {
    catalog: Catalog<MemoryStore>,
    index: u64,
    pub(super) groups: BTreeMap<PartitionNumber, Group>,
    pub(super) dead: BTreeMap<NodeId, i64>,
    pub(super) unfit: BTreeSet<NodeId>,
    pub(super) limits: Limits,
    pub(super) now_ms: i64,
    next_disk: u128,
}

impl World {
    /// A cluster of nodes in these zones, numbered from 1.
    pub(super) fn new(zones: &[&str], partitions: u32, replication_factor: u32) -> Self {
        let nodes = (1..).zip(zones).map(|(id, zone)| (id, info(id, zone, "")));
        let of = ClusterInfo {
            id: 1,
            partitions,
            replication_factor,
        };
        let mut world = Self {
            catalog: Catalog::open(MemoryStore::new()).unwrap(),
            index: 0,
            groups: BTreeMap::new(),
            dead: BTreeMap::new(),
            unfit: BTreeSet::new(),
            limits: Limits::default(),
            now_ms: 0,
            next_disk: 1,
        };
        let found = Found::new(of, nodes.collect(), 0);
        assert_eq!(world.apply(ClusterCommand::Found(found)), Outcome::Done);
        for (partition, placement) in (0..).zip(world.cluster().placements.clone()) {
            world
                .groups
                .insert(partition, Group::new(&placement.replicas));
        }
        world.groups.insert(NUMBER, Group::new(&[1]));
        world.elapse();
        world
    }

    pub(super) fn apply(&mut self, command: ClusterCommand) -> Outcome {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        let body = Command::from(command).encode();
        self.catalog.apply(position, &body).unwrap()
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.catalog.cluster().unwrap()
    }

    pub(super) fn group(&mut self, partition: PartitionNumber) -> &mut Group {
        self.groups.get_mut(&partition).unwrap()
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        let state = self.cluster().nodes.get(&node).map(|node| node.state);
        !self.dead.contains_key(&node) && state.is_some_and(|state| state != NodeState::Gone)
    }

    fn is_gone(&self, node: NodeId) -> bool {
        self.cluster().nodes[&node].state == NodeState::Gone
    }

    pub(super) fn join(&mut self, zone: &str) -> NodeId {
        let id = *self.cluster().nodes.last_key_value().unwrap().0 + 1;
        let put = PutNode {
            info: info(id, zone, ""),
            now_ms: self.now_ms,
        };
        assert_eq!(self.apply(ClusterCommand::PutNode(put)), Outcome::Node(id));
        id
    }

    /// The node comes back under its name with an empty disk.
    pub(super) fn wipe(&mut self, id: NodeId) -> NodeId {
        let mut info = self.cluster().nodes[&id].info.clone();
        info.disk = self.next_disk;
        self.next_disk += 1;
        let put = PutNode {
            info,
            now_ms: self.now_ms,
        };
        match self.apply(ClusterCommand::PutNode(put)) {
            Outcome::Node(new) => new,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn drain(&mut self, id: NodeId, drain: Drain) -> Outcome {
        let now_ms = self.now_ms;
        self.apply(ClusterCommand::SetDraining { id, drain, now_ms })
    }

    pub(super) fn remove(&mut self, id: NodeId, force: bool) -> Outcome {
        let now_ms = self.now_ms;
        self.apply(ClusterCommand::RemoveNode { id, force, now_ms })
    }

    pub(super) fn kill(&mut self, id: NodeId) {
        self.dead.entry(id).or_insert(self.now_ms);
    }

    /// Whether every group keeps most of its voters without this node, once the dead come back.
    pub(super) fn can_lose(&self, lost: NodeId) -> bool {
        let stays = |id: NodeId| id != lost && self.cluster().nodes[&id].state != NodeState::Gone;
        self.groups.values().all(|group| group.has_quorum(stays))
    }

    /// Groups elect and catch up, and get something new to write.
    pub(super) fn elapse(&mut self) {
        self.now_ms += TICK_MS;
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.values_mut() {
            let is_alive = |node: NodeId| self.is_alive(node);
            if !group.has_quorum(is_alive) {
                group.leader = None;
                continue;
            }
            let leads = |node: NodeId| is_alive(node) && group.voters.contains(&node);
            if !group.leader.is_some_and(leads) {
                let alive = group.voters.iter().filter(|node| is_alive(**node));
                group.leader = alive.copied().max_by_key(|node| group.matched(*node));
                group.term += 1;
            }
            group.last_index += WRITTEN;
            let members: Vec<_> = group.voters.union(&group.learners).copied().collect();
            for node in members.into_iter().filter(|node| is_alive(*node)) {
                let matched = group.matched(node) + RECEIVED;
                let most = group.last_index;
                let is_leader = Some(node) == group.leader;
                let matched = if is_leader { most } else { matched.min(most) };
                group.matched.insert(node, matched);
            }
        }
        self.groups = groups;
    }

    pub(super) fn view(&self) -> View<'_> {
        let report = |group: &Group| {
            Some(Report {
                leader: group.leader?,
                term: group.term,
                voters: group.voters.clone(),
                incoming: None,
                learners: group.learners.clone(),
                matched: group.matched.clone(),
                last_index: group.last_index,
                committed: group.last_index,
                is_sure: true,
                next_due_ms: None,
            })
        };
        View {
            cluster: self.cluster(),
            now_ms: self.now_ms,
            dead: self.dead.clone(),
            unfit: self.unfit.clone(),
            groups: (self.groups.iter())
                .filter(|(partition, _)| **partition != NUMBER)
                .filter_map(|(partition, group)| Some((*partition, report(group)?)))
                .collect(),
            catalog: report(&self.groups[&NUMBER]),
            limits: self.limits,
        }
    }

    /// Does what a step of a plan just made says; checks that it does no harm.
    pub(super) fn execute(&mut self, step: &Step) {
        self.receive(step, true);
    }

    /// Does what a step of an old plan says, as far as those who get it would.
    pub(super) fn execute_late(&mut self, step: &Step) {
        self.receive(step, false);
    }

    fn receive(&mut self, step: &Step, is_fresh: bool) {
        let catalog_works = self.groups[&NUMBER].has_quorum(|node| self.is_alive(node));
        if let Some(command) = step.command() {
            if catalog_works {
                self.execute_command(step, command, is_fresh);
            }
            return;
        }
        let partition = step.partition().unwrap_or(NUMBER);
        let mut group = self.groups[&partition].clone();
        let is_alive = |node: NodeId| self.is_alive(node);
        if !group.has_quorum(is_alive) || !group.leader.is_some_and(is_alive) {
            return;
        }
        match step {
            Step::AddLearner { node, .. } => {
                if !group.voters.contains(node) && is_alive(*node) {
                    group.learners.insert(*node);
                }
            }
            Step::RemoveReplica { node, .. } => {
                group.learners.remove(node);
                if !group.voters.contains(node) {
                    group.matched.remove(node);
                }
            }
            Step::SetVoters { from, to, .. } | Step::SetCatalogVoters { from, to } => {
                let is_ready = |node: &&NodeId| {
                    is_alive(**node) && group.matched(**node) + 200 >= group.last_index
                };
                let can_go_on = to.iter().filter(is_ready).count() > to.len() / 2;
                assert!(can_go_on || !is_fresh, "{step:?} stops the group");
                if group.voters != *from || !can_go_on {
                    return;
                }
                let members =
                    |node: &NodeId| group.voters.contains(node) || group.learners.contains(node);
                assert!(to.iter().all(members), "{to:?} are not all members");
                assert!(!to.is_empty());
                group.voters = to.clone();
                group.learners.retain(|node| !to.contains(node));
                if partition == NUMBER {
                    group.learners.extend(from.difference(to));
                } else {
                    group
                        .matched
                        .retain(|node, _| to.contains(node) || group.learners.contains(node));
                }
                assert!(group.has_quorum(is_alive), "{step:?} took the quorum");
                let leader = group.leader.filter(|leader| to.contains(leader));
                assert!(leader.is_some(), "{step:?} took the leader");
            }
            Step::TransferLead { from, to, .. } => {
                let can = group.voters.contains(to) && is_alive(*to);
                if group.leader == Some(*from)
                    && can
                    && group.matched(*to) + 100 >= group.last_index
                {
                    group.leader = Some(*to);
                    group.term += 1;
                }
            }
            Step::BeginChange(_) | Step::FinishChange { .. } | Step::AbortChange { .. } => {}
        }
        if partition != NUMBER {
            let placement = &self.cluster().placements[partition as usize];
            let present = |nodes: &[NodeId]| nodes.iter().filter(|id| !self.is_gone(**id)).count();
            let least = present(&placement.replicas).min(present(&placement.after_change()));
            let before = self.groups[&partition].voters.len();
            let fewer = group.voters.len() < before && group.voters.len() < least;
            assert!(!fewer, "{step:?} leaves {} of {least}", group.voters.len());
        }
        self.groups.insert(partition, group);
    }

    fn execute_command(&mut self, step: &Step, command: ClusterCommand, is_fresh: bool) {
        let outcome = self.apply(command);
        if outcome != Outcome::Done {
            return;
        }
        let placements = &self.cluster().placements;
        let under_way = placements.iter().filter(|it| it.change.is_some()).count();
        assert!(
            under_way <= self.limits.moves,
            "{under_way} changes at once"
        );
        let of = |step: &Step| step.partition().unwrap_or(NUMBER);
        let is_end = matches!(step, Step::FinishChange { .. } | Step::AbortChange { .. });
        if is_end && is_fresh {
            let replicas: BTreeSet<_> = (placements[of(step) as usize].replicas.iter().copied())
                .filter(|node| !self.is_gone(*node))
                .collect();
            assert_eq!(self.groups[&of(step)].voters, replicas, "{step:?}");
        }
    }

    /// Makes and follows plans until there is nothing to do; how many that were.
    pub(super) fn settle(&mut self, most: usize) -> usize {
        for round in 0..most {
            let steps = crate::placement::plan(&self.view());
            if steps.is_empty() && self.is_quiet() {
                return round;
            }
            for step in steps {
                self.execute(&step);
            }
            self.elapse();
        }
        let (progress, plan) = (
            crate::placement::progress(&self.view()),
            crate::placement::plan(&self.view()),
        );
        panic!("not settled after {most} plans: {progress:?}; {plan:?}");
    }

    /// Whether nobody is still catching up.
    fn is_quiet(&self) -> bool {
        let is_quiet = |(partition, group): (&PartitionNumber, &Group)| {
            let members = group.voters.iter().chain(&group.learners);
            let behind = members.filter(|node| {
                self.is_alive(**node) && group.matched(**node) + 100 < group.last_index
            });
            let change = self.cluster().placements.get(*partition as usize);
            behind.count() == 0 && change.is_none_or(|it| it.change.is_none())
        };
        self.groups.iter().all(is_quiet)
    }
}
