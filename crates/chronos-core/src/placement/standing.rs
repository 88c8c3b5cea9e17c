//! How a cluster and each of its nodes stands, for people and for whoever restarts nodes.
//!
//! Only what a leader says that can rely on its lead counts: of a group without one nothing is known.

use super::begin;
use super::view::{Report, View};
use crate::catalog::NUMBER;
use crate::catalog::placement::Placement;
use crate::types::{NodeId, PartitionNumber};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Partitions with fewer copies that are alive and caught up than they are to have.
    pub under_replicated: usize,
    /// Partitions without a leader.
    pub leaderless: usize,
    /// Changes of replicas that are under way or planned.
    pub moves: usize,
    /// How long ago the longest overdue event should have fired, milliseconds; 0 when none is overdue.
    pub overdue_ms: u64,
    /// The nodes that are not gone.
    pub nodes: BTreeMap<NodeId, NodeStanding>,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStanding {
    /// Whether it answers.
    pub is_alive: bool,
    /// Partitions that it leads.
    pub leads: usize,
    /// Replicas that it holds, voting or not, with those on their way to it or from it.
    pub replicas: usize,
    /// Whether it votes in the catalog.
    pub votes: bool,
    /// Whether it leads the catalog.
    pub leads_catalog: bool,
    /// Log entries that its replicas lack of what is committed.
    pub lag_entries: u64,
    /// Whether each of its replicas has what is committed, up to what is on its way.
    pub is_caught_up: bool,
    /// Why it must not stop, if that is so.
    pub needed: Option<Needed>,
}

/// Why a group would stand still without a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Nobody leads it, so nobody knows who has its data.
    NoLeader(PartitionNumber),
    /// Nobody else has its data.
    Only(PartitionNumber),
    /// Too few others are alive and caught up.
    Majority(PartitionNumber),
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, why) = match self {
            Needed::NoLeader(group) => (*group, "has no leader at the moment"),
            Needed::Only(group) => (*group, "has no other replica"),
            Needed::Majority(group) => (
                *group,
                "would have no majority of replicas that are alive and caught up",
            ),
        };
        match group {
            NUMBER => write!(f, "the catalog {why}"),
            group => write!(f, "partition {group} {why}"),
        }
    }
}

/// How everything stands.
#[must_use]
pub fn standing(view: &View<'_>) -> Standing {
    let factor = view.cluster.info.replication_factor as usize;
    let alive = view.cluster.nodes.keys().filter(|id| !view.is_gone(**id));
    let mut standing = Standing {
        moves: moves(view),
        nodes: alive.map(|id| (*id, of_node(view, *id))).collect(),
        ..Standing::default()
    };
    for (partition, _) in partitions(view) {
        let Some(report) = sure(view, partition) else {
            standing.leaderless += 1;
            standing.under_replicated += 1;
            continue;
        };
        let copies = report
            .voters
            .iter()
            .filter(|it| is_ready(view, report, **it));
        standing.under_replicated += usize::from(copies.count() < factor);
        let late_ms = report.next_due_ms.map_or(0, |due| view.now_ms - due);
        let late_ms = u64::try_from(late_ms).unwrap_or(0);
        standing.overdue_ms = standing.overdue_ms.max(late_ms);
    }
    standing
}

/// Why the groups of a node that is lost with its disk would not go on without it, if that is so.
#[must_use]
pub fn needed_of_lost(view: &View<'_>, node: NodeId) -> Option<Needed> {
    let involved = partitions(view).filter(|(partition, placement)| {
        placement.involves(node) || sure(view, *partition).is_some_and(|it| is_member(it, node))
    });
    let mut groups = involved.map(|(partition, _)| partition).chain([NUMBER]);
    groups.find_map(|group| {
        let Some(report) = sure(view, group) else {
            return Some(Needed::NoLeader(group));
        };
        let mut others = report.voters.clone();
        others.remove(&node);
        let ready = others.iter().filter(|it| is_ready(view, report, **it));
        let goes_on = ready.count() > others.len() / 2;
        (!goes_on).then_some(Needed::Majority(group))
    })
}

fn of_node(view: &View<'_>, node: NodeId) -> NodeStanding {
    let mut of = NodeStanding {
        is_alive: view.is_alive(node),
        is_caught_up: true,
        ..NodeStanding::default()
    };
    for (partition, placement) in partitions(view) {
        let Some(report) = sure(view, partition) else {
            if placement.involves(node) {
                of.replicas += 1;
                of.is_caught_up = false;
                of.needed = of.needed.or(Some(Needed::NoLeader(partition)));
            }
            continue;
        };
        of.leads += usize::from(report.leader == node);
        if placement.involves(node) || is_member(report, node) {
            of.replicas += 1;
            of.lag_entries += lag(report, node);
            of.is_caught_up &= has_data(view, report, node);
        }
        of.needed = of.needed.or_else(|| needed(view, partition, report, node));
    }
    match sure(view, NUMBER) {
        None => of.needed = of.needed.or(Some(Needed::NoLeader(NUMBER))),
        Some(report) => {
            of.votes = votes(report, node);
            of.leads_catalog = report.leader == node;
            of.needed = of.needed.or_else(|| needed(view, NUMBER, report, node));
        }
    }
    of
}

/// Whether a group stands still when a node stops.
fn needed(
    view: &View<'_>,
    group: PartitionNumber,
    report: &Report,
    node: NodeId,
) -> Option<Needed> {
    let goes_on = |voters: &BTreeSet<NodeId>| {
        let others = voters.iter().filter(|other| **other != node);
        let ready = others.filter(|other| is_ready(view, report, **other));
        ready.count() > voters.len() / 2
    };
    if !votes(report, node) {
        return None;
    }
    let incoming = report.incoming.as_ref();
    if goes_on(&report.voters) && incoming.is_none_or(goes_on) {
        return None;
    }
    let is_only = report.voters.len() == 1 && incoming.is_none();
    Some(match is_only {
        true => Needed::Only(group),
        false => Needed::Majority(group),
    })
}

fn partitions<'a>(view: &View<'a>) -> impl Iterator<Item = (PartitionNumber, &'a Placement)> {
    (0..).zip(&view.cluster.placements)
}

/// What the leader of a group says, if it can rely on its lead.
fn sure<'a>(view: &'a View<'_>, group: PartitionNumber) -> Option<&'a Report> {
    let report = match group {
        NUMBER => view.catalog.as_ref(),
        partition => view.groups.get(&partition),
    };
    report.filter(|report| report.is_sure && view.is_alive(report.leader))
}

fn votes(report: &Report, node: NodeId) -> bool {
    let is_coming = |incoming: &BTreeSet<NodeId>| incoming.contains(&node);
    report.voters.contains(&node) || report.incoming.as_ref().is_some_and(is_coming)
}

fn is_member(report: &Report, node: NodeId) -> bool {
    votes(report, node) || report.learners.contains(&node)
}

fn lag(report: &Report, node: NodeId) -> u64 {
    let matched = report.matched.get(&node).copied().unwrap_or(0);
    match node == report.leader {
        true => 0,
        false => report.committed.saturating_sub(matched),
    }
}

fn has_data(view: &View<'_>, report: &Report, node: NodeId) -> bool {
    lag(report, node) <= view.limits.caught_up_entries
}

fn is_ready(view: &View<'_>, report: &Report, node: NodeId) -> bool {
    view.is_alive(node) && has_data(view, report, node)
}

/// Replicas that come or go until each partition is where it should be; one that takes another's place
/// is one change.
fn moves(view: &View<'_>) -> usize {
    let targets = begin::targets(view);
    let of = |((_, placement), target): ((PartitionNumber, &Placement), &Vec<NodeId>)| {
        let replicas = &placement.replicas;
        let coming = target.iter().filter(|node| !replicas.contains(node));
        let going = replicas.iter().filter(|node| !target.contains(node));
        let differing = coming.count().max(going.count());
        differing.max(usize::from(placement.change.is_some()))
    };
    partitions(view).zip(&targets).map(of).sum()
}
