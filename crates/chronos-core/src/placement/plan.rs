//! What to do next.

use super::drive::{self, Next};
use super::step::Step;
use super::view::{Report, View};
use super::{begin, catalog_group, transfer};
use crate::types::PartitionNumber;
use std::collections::BTreeSet;

/// A few steps that bring the cluster closer to what it should be; none when it is there, or nothing
/// can be done. To be made again, from a new view, once they are done or have failed.
///
/// - Leaders leave draining nodes and nodes whose clock is off.
/// - Changes under way go on, and those whose new node died are given up.
/// - Leaders go where they were meant to be.
/// - New changes begin, repairs first, as far as the limits allow.
/// - The catalog's own group follows the nodes.
///
/// A group is asked for one thing at a time, and for nothing while most of its voters do not answer.
#[must_use]
pub fn plan(view: &View<'_>) -> Vec<Step> {
    let mut steps = catalog_group::steps(view);
    let mut asked = BTreeSet::new();
    let transfers = transfer::transfers(view);
    let (must_go, should_go): (Vec<_>, Vec<_>) = transfers
        .into_iter()
        .partition(|step| matches!(step, Step::TransferLead { from, .. } if !view.may_lead(*from)));
    let mut ask = |partition: Option<PartitionNumber>, step: Step, steps: &mut Vec<Step>| {
        if partition.is_none_or(|partition| asked.insert(partition)) {
            steps.push(step);
        }
    };
    for step in must_go {
        ask(step.partition(), step, &mut steps);
    }
    for (partition, placement) in (0..).zip(&view.cluster.placements) {
        let report: Option<&Report> = view.groups.get(&partition);
        if let Next::Do(step) = drive::next(view, partition, placement, report) {
            ask(Some(partition), step, &mut steps);
        }
    }
    for step in should_go.into_iter().chain(begin::begin(view)) {
        ask(step.partition(), step, &mut steps);
    }
    steps
}
