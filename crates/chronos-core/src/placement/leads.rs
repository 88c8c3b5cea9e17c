//! Which replica of each partition leads, so that all nodes lead about as many.

use super::even::{Spread, even_out};
use super::weight::weight;
use crate::types::NodeId;
use std::collections::BTreeSet;

/// Leaders, given the replicas of each partition that may lead it. The first replica leads where
/// that is even; `None` where nobody may.
#[must_use]
pub fn leads(candidates: &[Vec<NodeId>]) -> Vec<Option<NodeId>> {
    let nodes: BTreeSet<NodeId> = candidates.iter().flatten().copied().collect();
    let mut leads = Leads {
        candidates,
        loads: vec![0; nodes.len()],
        nodes: nodes.into_iter().collect(),
        leads: candidates.iter().map(|of| of.first().copied()).collect(),
    };
    for lead in leads.leads.iter().flatten() {
        if let Some(at) = leads.at(*lead) {
            leads.loads[at] += 1;
        }
    }
    even_out(&mut leads);
    leads.leads
}

struct Leads<'a> {
    candidates: &'a [Vec<NodeId>],
    nodes: Vec<NodeId>,
    loads: Vec<usize>,
    leads: Vec<Option<NodeId>>,
}

impl Leads<'_> {
    fn at(&self, node: NodeId) -> Option<usize> {
        self.nodes.binary_search(&node).ok()
    }
}

impl Spread for Leads<'_> {
    fn loads(&self) -> &[usize] {
        &self.loads
    }

    fn offers(&self, from: usize) -> Vec<Option<usize>> {
        let mut best = vec![None; self.nodes.len()];
        let led = |lead: &Option<NodeId>| *lead == Some(self.nodes[from]);
        for (partition, _) in (self.leads.iter().enumerate()).filter(|(_, lead)| led(lead)) {
            for node in &self.candidates[partition] {
                if let Some(to) = self.at(*node).filter(|to| *to != from) {
                    best[to] = best[to].max(Some((weight(partition, *node), partition)));
                }
            }
        }
        let item = |best: Option<(u64, usize)>| best.map(|(_, partition)| partition);
        best.into_iter().map(item).collect()
    }

    fn shift(&mut self, partition: usize, from: usize, to: usize) {
        self.leads[partition] = Some(self.nodes[to]);
        self.loads[from] -= 1;
        self.loads[to] += 1;
    }
}
