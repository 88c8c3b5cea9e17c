//! Who should lead, and who leads in his place.

use super::leads::leads;
use super::step::Step;
use super::view::{Report, View};
use crate::types::{NodeId, PartitionNumber};

/// Of each partition, the replicas that could lead it, the one that was meant to first.
fn candidates(view: &View<'_>) -> Vec<Vec<NodeId>> {
    let of = |(partition, placement): (PartitionNumber, &crate::catalog::placement::Placement)| {
        let report = view.groups.get(&partition);
        let votes = |node: &NodeId| report.is_none_or(|report| report.voters.contains(node));
        let mut candidates = placement.after_change();
        candidates.retain(|node| votes(node) && view.may_lead(*node));
        candidates
    };
    (0..).zip(&view.cluster.placements).map(of).collect()
}

/// Who should lead each partition now, so that the leaders are spread evenly.
pub(super) fn leaders(view: &View<'_>) -> Vec<Option<NodeId>> {
    leads(&candidates(view))
}

/// The transfers that bring the leaders to where they should be. Those that must not go on leading,
/// because their node drains or its clock is off, come first.
pub(super) fn transfers(view: &View<'_>) -> Vec<Step> {
    let candidates = candidates(view);
    let wanted = leads(&candidates);
    let transfer = |must_go: bool| {
        let (candidates, wanted) = (&candidates, &wanted);
        view.groups.iter().filter_map(move |(partition, report)| {
            let at = *partition as usize;
            let (wanted, candidates) = ((*wanted.get(at)?)?, candidates.get(at)?);
            let to = heir(view, report, wanted, candidates, must_go)?;
            Some(Step::TransferLead {
                partition: *partition,
                from: report.leader,
                to,
            })
        })
    };
    let mut transfers: Vec<Step> = transfer(true).chain(transfer(false)).collect();
    transfers.truncate(view.limits.transfers);
    transfers
}

/// Who takes over from a leader that must go, or else from one that merely should.
fn heir(
    view: &View<'_>,
    report: &Report,
    wanted: NodeId,
    candidates: &[NodeId],
    must_go: bool,
) -> Option<NodeId> {
    let leader = report.leader;
    if must_go == view.may_lead(leader) || leader == wanted || !view.can_decide(report) {
        return None;
    }
    if report.incoming.is_some() {
        return None;
    }
    let is_ready = |node: &NodeId| view.is_caught_up(report, *node);
    let others = candidates.iter().copied().filter(|_| must_go);
    std::iter::once(wanted).chain(others).find(is_ready)
}
