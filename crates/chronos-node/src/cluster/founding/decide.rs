//! What a node does after it asked everybody it knows. Pure: it sees no clock and no socket.

use super::{Founding, Stance, Standing};
use chronos_core::catalog::NodeInfo;
use std::collections::{BTreeMap, BTreeSet};

/// The node that decides.
#[derive(Debug, Clone, Copy)]
pub struct Me<'a> {
    /// Its disk.
    pub disk: u128,
    /// How far it is.
    pub standing: &'a Standing,
    /// Whether it joins what is there and never founds.
    pub joins_only: bool,
}

/// What one node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who it is.
    pub node: NodeInfo,
    /// How far it is.
    pub stance: Stance,
    /// The disks that it found behind its own seeds.
    pub seen: BTreeSet<u128>,
    /// Whether it joins what is there and never founds.
    pub joins_only: bool,
}

/// The answers to one round of questions, all asked after the node was as far as it is.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// The nodes behind the seeds. One that is behind several is here several times.
    pub seeds: Vec<Heard>,
    /// Whether every seed answered.
    pub is_complete: bool,
    /// Nodes that are known from elsewhere, such as those of a founding.
    pub others: Vec<Heard>,
}

impl Round {
    /// The disks behind the seeds.
    pub fn disks(&self) -> BTreeSet<u128> {
        self.seeds.iter().map(|heard| heard.node.disk).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Heard> {
        self.seeds.iter().chain(&self.others)
    }

    /// What the node with this disk answered.
    pub fn of(&self, disk: u128) -> Option<&Heard> {
        self.all().find(|heard| heard.node.disk == disk)
    }

    fn clusters(&self) -> BTreeSet<u128> {
        let clusters = self.all().filter_map(|heard| heard.stance.cluster());
        clusters.collect()
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask again later.
    Wait(Waiting),
    /// Propose to found a cluster of these nodes.
    Found(Vec<NodeInfo>),
    /// Ask the nodes of the founding that was proposed to accept it.
    Ask,
    /// The founding that was accepted holds: be a member.
    Enter,
    /// The founding that is held never will: let go of it.
    Forget,
    /// Ask the members of this cluster for a number.
    Join(u128),
    /// Stop: an operator has to look.
    Refuse(Trouble),
    /// Nothing, the node is a member.
    Done,
}

/// What a node waits for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    /// Not every seed answered.
    #[error("every node of -cluster-seeds has to answer before a cluster is founded")]
    Seeds,
    /// It only joins, and nobody is a member.
    #[error("no node of -raft-join is a member of a cluster yet")]
    Members,
    /// A node that only joins is among the seeds.
    #[error(
        "node {0} was started with -raft-join, so it founds nothing, and is among -cluster-seeds"
    )]
    JoinsOnly(String),
    /// Two nodes of one name.
    #[error("two nodes are called {0}; give each its own -node-id")]
    SameName(String),
    /// Others found a cluster.
    #[error("a cluster is being founded; this node joins it when that is done")]
    OthersFound,
    /// It is not behind any of its seeds.
    #[error(
        "this node is not among its own -cluster-seeds, so it waits for those to found a cluster"
    )]
    NotASeed,
    /// Another node has other seeds, or has not heard from all.
    #[error("node {0} has not found the same nodes behind its -cluster-seeds yet")]
    SameView(String),
    /// The node that is to found.
    #[error("node {0} is to found the cluster")]
    Founder(String),
    /// Who proposed what was accepted has another disk now.
    #[error(
        "node {0} proposed the cluster that this node accepted, and its data directory is not found any more. If it \
         is lost and no node got further, stop the nodes, remove cluster.toml from their data directories and start \
         them again"
    )]
    LostFounder(String),
}

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The seeds belong to two clusters.
    #[error(
        "the seeds belong to different clusters ({}); name nodes of one cluster",
        names(.0)
    )]
    TwoClusters(Vec<(String, u128)>),
}

fn names(members: &[(String, u128)]) -> String {
    let members = members.iter();
    let members: Vec<_> = members
        .map(|(name, id)| format!("{name}: {id:032x}"))
        .collect();
    members.join(", ")
}

/// What the node is to do.
pub fn decide(me: Me<'_>, round: &Round) -> Action {
    match me.standing {
        Standing::Member(_) => Action::Done,
        Standing::Fresh => begin(me, round),
        Standing::Proposed(founding) => lead(me.disk, founding, round),
        Standing::Accepted(founding) => follow(founding, round),
    }
}

fn begin(me: Me<'_>, round: &Round) -> Action {
    let clusters = round.clusters();
    if clusters.len() > 1 {
        let of = |heard: &Heard| Some((heard.node.name.clone(), heard.stance.cluster()?));
        return Action::Refuse(Trouble::TwoClusters(round.all().filter_map(of).collect()));
    }
    if let Some(cluster) = clusters.first() {
        return Action::Join(*cluster);
    }
    if me.joins_only {
        return Action::Wait(Waiting::Members);
    }
    if let Err(waiting) = agree(me.disk, round) {
        return Action::Wait(waiting);
    }
    let nodes: BTreeMap<(&str, u128), &NodeInfo> = (round.seeds.iter())
        .map(|heard| ((heard.node.name.as_str(), heard.node.disk), &heard.node))
        .collect();
    match nodes.first_key_value() {
        Some(((_, disk), _)) if *disk == me.disk => {
            Action::Found(nodes.into_values().cloned().collect())
        }
        Some(((name, _), _)) => Action::Wait(Waiting::Founder((*name).to_owned())),
        None => Action::Wait(Waiting::Seeds),
    }
}

/// Whether every seed is there, is fresh, and found the same nodes as this one.
fn agree(disk: u128, round: &Round) -> Result<(), Waiting> {
    if !round.is_complete {
        return Err(Waiting::Seeds);
    }
    if (round.all()).any(|heard| heard.stance != Stance::Fresh) {
        return Err(Waiting::OthersFound);
    }
    let disks = round.disks();
    if !disks.contains(&disk) {
        return Err(Waiting::NotASeed);
    }
    let mut names = BTreeMap::new();
    for Heard {
        node,
        seen,
        joins_only,
        ..
    } in &round.seeds
    {
        if *joins_only {
            return Err(Waiting::JoinsOnly(node.name.clone()));
        }
        if *names.entry(&node.name).or_insert(node.disk) != node.disk {
            return Err(Waiting::SameName(node.name.clone()));
        }
        if *seen != disks {
            return Err(Waiting::SameView(node.name.clone()));
        }
    }
    Ok(())
}

/// The founder alone decides whether its founding holds, so it may always let go of it: who accepted
/// does the same when it hears of that.
fn lead(disk: u128, founding: &Founding, round: &Round) -> Action {
    let id = founding.cluster_id;
    let is_elsewhere = |heard: &Heard| heard.stance.held().is_some_and(|held| held != id);
    let is_lost = |node: &NodeInfo| match round.of(node.disk) {
        Some(heard) => is_elsewhere(heard),
        // All seeds answered, and another disk is where this one was.
        None => round.is_complete,
    };
    let mut others = (founding.nodes.iter()).filter(|(_, node)| node.disk != disk);
    let has_cluster = round.clusters().iter().any(|cluster| *cluster != id);
    match has_cluster || others.any(|(_, node)| is_lost(node)) {
        true => Action::Forget,
        false => Action::Ask,
    }
}

fn follow(founding: &Founding, round: &Round) -> Action {
    let id = founding.cluster_id;
    if round.clusters().contains(&id) {
        return Action::Enter;
    }
    let name = || founding.founder_name().to_owned();
    match round.of(founding.founder) {
        Some(founder) if founder.stance.held() != Some(id) => Action::Forget,
        Some(_) => Action::Wait(Waiting::Founder(name())),
        None if round.is_complete => Action::Wait(Waiting::LostFounder(name())),
        None => Action::Wait(Waiting::Founder(name())),
    }
}
