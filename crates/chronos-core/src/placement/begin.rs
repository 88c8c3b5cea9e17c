//! Which changes begin.

use super::assign::reassign;
use super::drive::{self, Next, Waiting};
use super::step::Step;
use super::view::View;
use crate::catalog::placement::{BeginChange, Change, Placement};
use crate::types::{NodeId, PartitionNumber};
use std::collections::BTreeSet;

/// How much a change is needed; the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// A replica is missing, or lost.
    Repair,
    /// A node is to be empty.
    Drain,
    /// The load is to be even, or zones apart.
    Balance,
}

/// Where every partition should be, changes under way taken as done.
pub(super) fn targets(view: &View<'_>) -> Vec<Vec<NodeId>> {
    let cluster = view.cluster;
    let present: Vec<_> = (cluster.placements.iter())
        .map(Placement::after_change)
        .collect();
    let factor = cluster.info.replication_factor;
    reassign(&cluster.nodes, &present, factor, |node| view.is_lost(node))
}

/// The changes to begin, the most urgent first, as far as there is room for them.
pub(super) fn begin(view: &View<'_>) -> Vec<Step> {
    let placements = &view.cluster.placements;
    let under_way: Vec<Change> = placements.iter().filter_map(|it| it.change).collect();
    let mut room = view.limits.moves.saturating_sub(under_way.len());
    if room == 0 {
        return Vec::new();
    }
    let mut coming: BTreeSet<NodeId> = under_way.iter().filter_map(|it| it.add).collect();
    let mut going: BTreeSet<NodeId> = under_way.iter().filter_map(|it| it.remove).collect();
    let mut wanted: Vec<(Urgency, BeginChange)> = (0..)
        .zip(placements)
        .zip(targets(view))
        .filter(|((partition, placement), _)| is_settled(view, *partition, placement))
        .filter_map(|((partition, placement), target)| {
            let (urgency, change) = change_towards(view, placement, &target)?;
            let epoch = placement.epoch;
            let begin = BeginChange {
                partition,
                epoch,
                change,
            };
            is_safe(view, begin).then_some((urgency, begin))
        })
        .collect();
    wanted.sort_by_key(|(urgency, begin)| (*urgency, begin.partition));
    let mut begun = Vec::new();
    for (_, begin) in wanted {
        // A node that does not answer has no work with a replica that leaves it.
        let going_node = begin.change.remove.filter(|node| view.is_alive(*node));
        let is_busy = begin.change.add.is_some_and(|node| coming.contains(&node))
            || going_node.is_some_and(|node| going.contains(&node));
        if is_busy || room == 0 {
            continue;
        }
        room -= 1;
        coming.extend(begin.change.add);
        going.extend(going_node);
        begun.push(Step::BeginChange(begin));
    }
    begun
}

/// Whether a group is as the catalog says, or cannot become so because a node does not come back.
fn is_settled(view: &View<'_>, partition: PartitionNumber, placement: &Placement) -> bool {
    let report = view.groups.get(&partition);
    let next = drive::next(view, partition, placement, report);
    placement.change.is_none() && matches!(next, Next::Settled | Next::Wait(Waiting::Dead(_)))
}

/// The first change on the way from a placement to where it should be.
fn change_towards(
    view: &View<'_>,
    placement: &Placement,
    target: &[NodeId],
) -> Option<(Urgency, Change)> {
    let replicas = &placement.replicas;
    let add =
        (target.iter().copied()).find(|node| !replicas.contains(node) && view.is_alive(*node));
    let urgency_of = |node: NodeId| match view.is_active(node) {
        _ if !view.is_alive(node) => Urgency::Repair,
        false => Urgency::Drain,
        true => Urgency::Balance,
    };
    let leaving = replicas
        .iter()
        .copied()
        .filter(|node| !target.contains(node));
    let remove = leaving.min_by_key(|node| urgency_of(*node));
    if replicas.len() < target.len() {
        let add = Some(add?);
        return Some((Urgency::Repair, Change { add, remove: None }));
    }
    let urgency = urgency_of(remove?);
    // Also when fewer are wanted than there are, the new ones come first: none of the old ones might
    // be fit to stay alone.
    let is_surplus = replicas.len() > target.len();
    (add.is_some() || is_surplus).then_some((urgency, Change { add, remove }))
}

/// Whether a change can be brought to its end as things stand, and is not ahead of its time.
fn is_safe(view: &View<'_>, begin: BeginChange) -> bool {
    let Some(report) = view.groups.get(&begin.partition) else {
        return false;
    };
    let mut after = report.voters.clone();
    if let Some(remove) = begin.change.remove {
        // A node that drains loses its leaders first, and then its replicas, unless nobody else can
        // lead.
        let can_follow = |node: &NodeId| *node != remove && view.may_lead(*node);
        let is_to_transfer = report.leader == remove && !view.is_active(remove);
        if is_to_transfer && report.voters.iter().any(can_follow) {
            return false;
        }
        after.remove(&remove);
    }
    after.extend(begin.change.add);
    view.has_quorum(&after)
}
