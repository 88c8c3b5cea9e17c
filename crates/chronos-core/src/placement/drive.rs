//! Bringing one group to what the catalog says of it.
//!
//! ```text
//! BeginChange ──► learner ──► caught up ──► voter ──► the old one leaves ──► FinishChange
//!                    └── the new node died: it leaves ──────────────────────► AbortChange
//! ```
//!
//! The new replica votes before the old one leaves, so a group never has fewer voters on the way than
//! it had before. Only a node that is gone loses its vote at once: it will not use it, and without it
//! fewer of the others are needed. Nothing depends on who began the change, or on how far it was believed to be.

use super::step::Step;
use super::view::{Report, View};
use crate::catalog::placement::Placement;
use crate::types::{NodeId, PartitionNumber};
use std::collections::BTreeSet;

/// What is next for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// It is as the catalog says.
    Settled,
    /// This is to be done.
    Do(Step),
    /// Nothing can be done now.
    Wait(Waiting),
}

/// Why a partition waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// No leader is known.
    NoLeader,
    /// Most of its voters do not answer.
    NoQuorum,
    /// The new replica on this node is not caught up.
    Learner(NodeId),
    /// The node that is to get a replica does not answer.
    Dead(NodeId),
    /// Too few of its voters are caught up.
    Behind,
    /// Without the replica on this node, too few that are caught up would be left.
    Needed(NodeId),
    /// Others come first.
    Turn,
}

/// What brings a group closer to its placement.
pub(super) fn next(
    view: &View<'_>,
    partition: PartitionNumber,
    placement: &Placement,
    report: Option<&Report>,
) -> Next {
    let Some(report) = report else {
        return Next::Wait(Waiting::NoLeader);
    };
    if !view.can_decide(report) {
        return Next::Wait(Waiting::NoQuorum);
    }
    let present = |replicas: Vec<NodeId>| -> BTreeSet<NodeId> {
        let nodes = replicas.into_iter();
        nodes.filter(|node| !view.is_gone(*node)).collect()
    };
    let goal = present(placement.after_change());
    let epoch = placement.epoch;
    let (goal, end) = match placement.change {
        None => (goal, None),
        Some(change) if report.voters != goal && is_hopeless(view, report, change.add) => (
            present(placement.replicas.clone()),
            Some(Step::AbortChange { partition, epoch }),
        ),
        Some(_) => (goal, Some(Step::FinishChange { partition, epoch })),
    };
    let group = Driven {
        view,
        partition,
        report,
        goal: &goal,
    };
    match (group.next(), end) {
        (Next::Settled, Some(end)) => Next::Do(end),
        (next, _) => next,
    }
}

/// Whether the new replica of a change will not be made, or should not. Once it votes only its death
/// is a reason to turn back: the group may need its vote.
fn is_hopeless(view: &View<'_>, report: &Report, add: Option<NodeId>) -> bool {
    add.is_some_and(|node| {
        let is_wanted = view.is_active(node) || report.voters.contains(&node);
        !is_wanted || view.is_given_up(node)
    })
}

struct Driven<'a> {
    view: &'a View<'a>,
    partition: PartitionNumber,
    report: &'a Report,
    goal: &'a BTreeSet<NodeId>,
}

impl Driven<'_> {
    fn next(&self) -> Next {
        let report = self.report;
        if let Some(incoming) = &report.incoming {
            // Whoever began this is gone, or at it: asking again does no harm.
            return self.set_voters(incoming.clone());
        }
        if let Some(without) = self.without_gone() {
            return self.set_voters(without);
        }
        if let Some(missing) = self.goal.difference(&report.voters).next() {
            return self.promote(*missing);
        }
        if report.voters != *self.goal {
            return self.demote();
        }
        let partition = self.partition;
        match report.learners.difference(self.goal).next() {
            Some(node) => Next::Do(Step::RemoveReplica {
                partition,
                node: *node,
            }),
            None => Next::Settled,
        }
    }

    /// The voters that are not gone, if others are and those can go on.
    fn without_gone(&self) -> Option<BTreeSet<NodeId>> {
        let mut voters = self.report.voters.clone();
        voters.retain(|node| !self.view.is_gone(*node));
        let is_less = voters != self.report.voters;
        (is_less && self.view.has_ready_quorum(self.report, &voters)).then_some(voters)
    }

    /// Brings a node closer to a vote.
    fn promote(&self, node: NodeId) -> Next {
        let report = self.report;
        if !self.view.is_alive(node) {
            return Next::Wait(Waiting::Dead(node));
        }
        if !report.learners.contains(&node) {
            let partition = self.partition;
            return Next::Do(Step::AddLearner { partition, node });
        }
        if !self.view.is_caught_up(report, node) {
            return Next::Wait(Waiting::Learner(node));
        }
        let mut to = report.voters.clone();
        to.insert(node);
        match self.view.has_ready_quorum(report, &to) {
            true => self.set_voters(to),
            false => Next::Wait(Waiting::Behind),
        }
    }

    /// Takes the vote of a node that does not belong to the group: of one that is dead first.
    fn demote(&self) -> Next {
        let (view, report) = (self.view, self.report);
        let extra = report.voters.difference(self.goal).copied();
        let Some(node) = extra.min_by_key(|node| (view.is_alive(*node), *node)) else {
            return Next::Settled;
        };
        let mut to = report.voters.clone();
        to.remove(&node);
        if !view.has_ready_quorum(report, &to) {
            return Next::Wait(Waiting::Needed(node));
        }
        if node != report.leader {
            return self.set_voters(to);
        }
        // A node that drains leads when nobody else does.
        let is_fit = |heir: &NodeId| view.is_alive(*heir) && !view.unfit.contains(heir);
        let heirs = to.into_iter().filter(is_fit);
        let ready = heirs.filter(|heir| view.is_caught_up(report, *heir));
        match ready.max_by_key(|heir| view.may_lead(*heir)) {
            Some(to) => Next::Do(Step::TransferLead {
                partition: self.partition,
                from: node,
                to,
            }),
            None => Next::Wait(Waiting::Needed(node)),
        }
    }

    fn set_voters(&self, to: BTreeSet<NodeId>) -> Next {
        Next::Do(Step::SetVoters {
            partition: self.partition,
            from: self.report.voters.clone(),
            to,
        })
    }
}
