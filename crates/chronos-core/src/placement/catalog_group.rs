//! The group of the catalog itself: every node is a member, a few vote.

use super::step::Step;
use super::view::{Report, View};
use crate::catalog::{NUMBER, NodeState, catalog_voters};
use crate::types::NodeId;
use std::collections::BTreeSet;

/// What brings the catalog's group closer to what it should be.
pub(super) fn steps(view: &View<'_>) -> Vec<Step> {
    let Some(report) = view.catalog.as_ref().filter(|it| view.can_decide(it)) else {
        return Vec::new();
    };
    let from = report.voters.clone();
    if let Some(to) = report.incoming.clone() {
        return vec![Step::SetCatalogVoters { from, to }];
    }
    let is_member = |node: &NodeId| report.voters.contains(node) || report.learners.contains(node);
    let new = (view.cluster.nodes.values())
        .filter(|node| node.state != NodeState::Gone && view.is_alive(node.id))
        .map(|node| node.id)
        .find(|node| !is_member(node));
    if let Some(node) = new {
        return vec![Step::AddLearner {
            partition: NUMBER,
            node,
        }];
    }
    if let Some(step) = voters(view, report) {
        return vec![step];
    }
    let is_gone = |node: &&NodeId| {
        let known = view.cluster.nodes.get(*node);
        known.is_none_or(|node| node.state == NodeState::Gone)
    };
    let gone = report.learners.iter().find(is_gone);
    let remove = |node: &NodeId| Step::RemoveReplica {
        partition: NUMBER,
        node: *node,
    };
    gone.map(remove).into_iter().collect()
}

fn voters(view: &View<'_>, report: &Report) -> Option<Step> {
    let present: Vec<NodeId> = report.voters.iter().copied().collect();
    let nodes = &view.cluster.nodes;
    let wanted: BTreeSet<NodeId> = (catalog_voters(nodes, &present, |node| view.is_lost(node)))
        .into_iter()
        .collect();
    let is_ready = |node: &&NodeId| view.is_alive(**node) && view.is_caught_up(report, **node);
    let from = report.voters.clone();
    let leader = report.leader;
    let heir = || {
        let mut heirs = wanted.intersection(&report.voters).filter(is_ready);
        heirs.find(|node| view.may_lead(**node)).copied()
    };
    if wanted == from && view.may_lead(leader) {
        return None;
    }
    if wanted.is_empty() || !wanted.difference(&from).all(|node| is_ready(&node)) {
        return None;
    }
    if wanted.contains(&leader) && view.may_lead(leader) {
        let to = wanted;
        let is_safe = view.has_ready_quorum(report, &to);
        return is_safe.then_some(Step::SetCatalogVoters { from, to });
    }
    // The leader hands over before it leaves. When nobody who stays votes yet, some vote first.
    if let Some(to) = heir() {
        return Some(Step::TransferLead {
            partition: NUMBER,
            from: leader,
            to,
        });
    }
    let to: BTreeSet<NodeId> = from.union(&wanted).copied().collect();
    let helps = to != from && view.has_ready_quorum(report, &to);
    helps.then_some(Step::SetCatalogVoters { from, to })
}
