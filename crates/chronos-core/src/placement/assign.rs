//! Which nodes hold which partition.
//!
//! A partition goes to the nodes that it has the greatest rendezvous weight for
//! ([`weight`](super::weight::weight)), as long as they are in different zones and racks, and as
//! long as a node does not carry more than its share: the bound on load of V. Mirrokni, M. Thorup,
//! M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018, here with the least bound
//! there is, so that shares differ by one. What lies well stays: a node that comes takes its share
//! from the others and nothing else moves, and when one goes only what it had does.

use super::even::{Spread, even_out};
use super::leads::leads;
use super::sites::Sites;
use super::weight::weight;
use crate::catalog::Node;
use crate::catalog::nodes::Nodes;
use crate::types::NodeId;
use std::cmp::Reverse;

/// The replicas of each partition of a new cluster, the one that is to lead first.
#[must_use]
pub fn assign(nodes: &Nodes, partitions: u32, replication_factor: u32) -> Vec<Vec<NodeId>> {
    let nothing = vec![Vec::new(); partitions as usize];
    let mut assigned = reassign(nodes, &nothing, replication_factor, |_| false);
    for (partition, replicas) in assigned.iter_mut().enumerate() {
        replicas.sort_by_key(|node| Reverse(weight(partition, *node)));
    }
    let leads = leads(&assigned);
    for (replicas, lead) in assigned.iter_mut().zip(leads) {
        if let Some(at) = replicas.iter().position(|node| Some(*node) == lead) {
            replicas[..=at].rotate_right(1);
        }
    }
    assigned
}

/// Where the partitions should be, given where they are.
///
/// Draining and gone nodes keep nothing. A node that is dead for long (`is_lost`) gives its replicas
/// to others as far as there are others, and gets none.
pub(super) fn reassign(
    nodes: &Nodes,
    present: &[Vec<NodeId>],
    replication_factor: u32,
    is_lost: impl Fn(NodeId) -> bool,
) -> Vec<Vec<NodeId>> {
    let active = |node: &&Node| node.state.holds_replicas();
    let sites = Sites::of(
        nodes
            .values()
            .filter(active)
            .filter(|node| !is_lost(node.id)),
    );
    let lost: Vec<NodeId> = (nodes.values().filter(active))
        .map(|node| node.id)
        .filter(|id| is_lost(*id))
        .collect();
    let wanted = (replication_factor as usize).min(sites.len() + lost.len());
    let copies = wanted.min(sites.len());
    let mut layout = Layout::new(&sites, present, copies);
    layout.trim();
    layout.fill();
    layout.spread_out();
    even_out(&mut layout);

    let mut assigned = layout.into_ids();
    for (assigned, present) in assigned.iter_mut().zip(present) {
        let kept = present.iter().filter(|node| lost.contains(node));
        let missing = wanted - assigned.len();
        assigned.extend(kept.take(missing));
    }
    assigned
}

struct Layout<'a> {
    sites: &'a Sites,
    /// Replicas that a partition is to have.
    copies: usize,
    sets: Vec<Vec<usize>>,
    /// The sets as they were found: a replica that is not there yet moves for nothing.
    found: Vec<Vec<usize>>,
    loads: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn new(sites: &'a Sites, present: &[Vec<NodeId>], copies: usize) -> Self {
        let known = |of: &Vec<NodeId>| of.iter().filter_map(|id| sites.at(*id)).collect();
        let sets: Vec<Vec<usize>> = present.iter().map(known).collect();
        let mut loads = vec![0; sites.len()];
        sets.iter().flatten().for_each(|at| loads[*at] += 1);
        Self {
            sites,
            copies,
            found: sets.clone(),
            sets,
            loads,
        }
    }

    /// Takes away what is too much, from where it is most crowded.
    fn trim(&mut self) {
        for partition in 0..self.sets.len() {
            while self.sets[partition].len() > self.copies {
                let set = &self.sets[partition];
                let worst = (0..set.len()).max_by_key(|at| {
                    let crowd = self.sites.crowd(set, None, set[*at]);
                    (crowd, self.loads[set[*at]], *at)
                });
                let Some(worst) = worst else {
                    break;
                };
                let node = self.sets[partition].remove(worst);
                self.loads[node] -= 1;
            }
        }
    }

    /// Adds what is missing.
    fn fill(&mut self) {
        for partition in 0..self.sets.len() {
            while self.sets[partition].len() < self.copies {
                let Some(node) = self.best(partition) else {
                    break;
                };
                self.sets[partition].push(node);
                self.loads[node] += 1;
            }
        }
    }

    /// The node that a partition should go to besides those that it is on.
    fn best(&self, partition: usize) -> Option<usize> {
        let set = &self.sets[partition];
        let total = self.sets.len() * self.copies;
        let (share, rest) = (total / self.sites.len(), total % self.sites.len());
        let above = self.loads.iter().filter(|load| **load > share).count();
        let most = share + usize::from(above < rest);
        let is_full = |node: usize| self.loads[node] >= most;
        let others = (0..self.sites.len()).filter(|node| !set.contains(node));
        others.min_by_key(|node| {
            let excess = match is_full(*node) {
                true => self.loads[*node],
                false => 0,
            };
            let weight = weight(partition, self.sites.id(*node));
            (self.sites.crowd(set, None, *node), excess, Reverse(weight))
        })
    }

    /// Moves replicas out of zones and racks that others of their partition are in, as far as there
    /// are others.
    fn spread_out(&mut self) {
        for partition in 0..self.sets.len() {
            while let Some((at, to)) = self.better(partition) {
                let from = std::mem::replace(&mut self.sets[partition][at], to);
                self.loads[from] -= 1;
                self.loads[to] += 1;
            }
        }
    }

    fn better(&self, partition: usize) -> Option<(usize, usize)> {
        let set = &self.sets[partition];
        let moves = (0..set.len()).flat_map(|at| {
            let from = set[at];
            let now = self.sites.crowd(set, None, from);
            let others = (0..self.sites.len()).filter(|to| !set.contains(to));
            others.filter_map(move |to| {
                let then = self.sites.crowd(set, Some(from), to);
                (then < now).then_some((then, at, to))
            })
        });
        let best = moves.min_by_key(|(then, at, to)| {
            let weight = weight(partition, self.sites.id(*to));
            (*then, self.loads[*to], Reverse(weight), *at)
        });
        best.map(|(_, at, to)| (at, to))
    }

    fn into_ids(self) -> Vec<Vec<NodeId>> {
        let ids = |set: Vec<usize>| set.into_iter().map(|at| self.sites.id(at)).collect();
        self.sets.into_iter().map(ids).collect()
    }
}

impl Spread for Layout<'_> {
    fn loads(&self) -> &[usize] {
        &self.loads
    }

    /// A replica may move where its partition has none and is no more crowded than before.
    fn offers(&self, from: usize) -> Vec<Option<usize>> {
        let mut best = vec![None; self.sites.len()];
        for (partition, set) in self.sets.iter().enumerate() {
            if !set.contains(&from) {
                continue;
            }
            let found = &self.found[partition];
            let is_new = !found.contains(&from);
            let now = self.sites.crowd(set, None, from);
            for (to, best) in best.iter_mut().enumerate() {
                if !set.contains(&to) && self.sites.crowd(set, Some(from), to) <= now {
                    let gain = u8::from(is_new) + u8::from(found.contains(&to));
                    let weight = weight(partition, self.sites.id(to));
                    *best = (*best).max(Some((gain, weight, partition)));
                }
            }
        }
        let item = |best: Option<(u8, u64, usize)>| best.map(|(.., partition)| partition);
        best.into_iter().map(item).collect()
    }

    fn shift(&mut self, partition: usize, from: usize, to: usize) {
        if let Some(at) = self.sets[partition].iter().position(|node| *node == from) {
            self.sets[partition][at] = to;
            self.loads[from] -= 1;
            self.loads[to] += 1;
        }
    }
}
