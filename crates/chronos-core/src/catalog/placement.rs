//! Which nodes hold a partition, and how that is changing.
//!
//! The catalog says what is meant; the partition's own Raft group says what is. A change is noted
//! here before the group is touched and closed after it, so whoever leads next can go on with it.
//! Every accepted command raises the epoch, and a command names the epoch that it was made for: two
//! leaders that follow each other do not undo each other's work.

use super::Outcome;
use super::nodes::Nodes;
use crate::types::{NodeId, PartitionNumber};
use crate::varint::{Malformed, put_optional, put_u64, take_optional, take_u32, take_u64};

/// A replica comes, another goes, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The node that gets a replica.
    pub add: Option<NodeId>,
    /// The node that loses its replica, once the new one is a voter.
    pub remove: Option<NodeId>,
}

/// Where a partition lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The nodes that hold it. The first is the one that leads best for an even load.
    pub replicas: Vec<NodeId>,
    /// Counts the changes, from 1.
    pub epoch: u64,
    /// What is under way.
    pub change: Option<Change>,
}

impl Placement {
    /// The placement of a new partition.
    #[must_use]
    pub fn new(replicas: Vec<NodeId>) -> Self {
        Self {
            replicas,
            epoch: 1,
            change: None,
        }
    }

    /// Whether the node has a replica, or is to get one.
    #[must_use]
    pub fn involves(&self, node: NodeId) -> bool {
        self.replicas.contains(&node) || self.change.is_some_and(|change| change.add == Some(node))
    }

    /// The replicas as they are after the change under way: the new one takes the place of the one
    /// that goes, or comes last.
    #[must_use]
    pub fn after_change(&self) -> Vec<NodeId> {
        let mut replicas = self.replicas.clone();
        let Some(change) = self.change else {
            return replicas;
        };
        let leaves = |node: &NodeId| Some(*node) == change.remove;
        match (replicas.iter().position(leaves), change.add) {
            (Some(at), Some(add)) => replicas[at] = add,
            (Some(at), None) => drop(replicas.remove(at)),
            (None, Some(add)) => replicas.push(add),
            (None, None) => {}
        }
        replicas
    }
}

/// A replica is to come or to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeginChange {
    /// The partition.
    pub partition: PartitionNumber,
    /// The epoch of its placement.
    pub epoch: u64,
    /// What is to change.
    pub change: Change,
}

/// Whether a node has a replica of any partition, or is to get one.
#[must_use]
pub fn is_used(placements: &[Placement], node: NodeId) -> bool {
    placements.iter().any(|placement| placement.involves(node))
}

fn is_valid(placement: &Placement, change: Change, nodes: &Nodes) -> bool {
    let may_come = |id: NodeId| {
        let node = nodes.get(&id);
        node.is_some_and(|node| node.state.holds_replicas()) && !placement.replicas.contains(&id)
    };
    let may_go = |id: NodeId| placement.replicas.contains(&id);
    match (change.add, change.remove) {
        (None, None) => false,
        (Some(add), None) => may_come(add),
        (None, Some(remove)) => may_go(remove) && placement.replicas.len() > 1,
        (Some(add), Some(remove)) => may_come(add) && may_go(remove),
    }
}

pub(super) fn begin(placements: &mut [Placement], nodes: &Nodes, begin: BeginChange) -> Outcome {
    let Some(placement) = placements.get_mut(begin.partition as usize) else {
        return Outcome::NotFound;
    };
    if placement.epoch != begin.epoch {
        return Outcome::VersionMismatch;
    }
    if placement.change.is_some() {
        return Outcome::Busy;
    }
    if !is_valid(placement, begin.change, nodes) {
        return Outcome::Invalid;
    }
    placement.change = Some(begin.change);
    placement.epoch += 1;
    Outcome::Done
}

/// The change under way is done, or given up.
pub(super) fn end(
    placements: &mut [Placement],
    partition: PartitionNumber,
    epoch: u64,
    took_effect: bool,
) -> Outcome {
    let Some(placement) = placements.get_mut(partition as usize) else {
        return Outcome::NotFound;
    };
    if placement.epoch != epoch {
        return Outcome::VersionMismatch;
    }
    if placement.change.is_none() {
        return Outcome::Invalid;
    }
    if took_effect {
        placement.replicas = placement.after_change();
    }
    placement.change = None;
    placement.epoch += 1;
    Outcome::Done
}

/// The node becomes the first of a partition's replicas.
pub(super) fn prefer(
    placements: &mut [Placement],
    partition: PartitionNumber,
    node: NodeId,
) -> Outcome {
    let Some(placement) = placements.get_mut(partition as usize) else {
        return Outcome::NotFound;
    };
    if placement.change.is_some() {
        return Outcome::Busy;
    }
    let Some(at) = placement.replicas.iter().position(|it| *it == node) else {
        return Outcome::Invalid;
    };
    if at > 0 {
        placement.replicas[..=at].rotate_right(1);
        placement.epoch += 1;
    }
    Outcome::Done
}

impl Change {
    fn put(self, out: &mut Vec<u8>) {
        put_optional(out, self.add);
        put_optional(out, self.remove);
    }

    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            add: take_optional(input)?,
            remove: take_optional(input)?,
        })
    }
}

impl BeginChange {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(self.partition));
        put_u64(out, self.epoch);
        self.change.put(out);
    }

    pub(super) fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            partition: take_u32(input)?,
            epoch: take_u64(input)?,
            change: Change::take(input)?,
        })
    }
}

pub(super) fn put_replicas(out: &mut Vec<u8>, replicas: &[NodeId]) {
    put_u64(out, replicas.len() as u64);
    for node in replicas {
        put_u64(out, *node);
    }
}

pub(super) fn take_replicas(input: &mut &[u8]) -> Result<Vec<NodeId>, Malformed> {
    let mut replicas = Vec::new();
    for _ in 0..take_u64(input)? {
        replicas.push(take_u64(input)?);
    }
    Ok(replicas)
}

pub(super) fn put_all(out: &mut Vec<u8>, placements: &[Placement]) {
    put_u64(out, placements.len() as u64);
    for placement in placements {
        put_replicas(out, &placement.replicas);
        put_u64(out, placement.epoch);
        match placement.change {
            None => put_u64(out, 0),
            Some(change) => {
                put_u64(out, 1);
                change.put(out);
            }
        }
    }
}

pub(super) fn take_all(input: &mut &[u8]) -> Result<Vec<Placement>, Malformed> {
    let mut placements = Vec::new();
    for _ in 0..take_u64(input)? {
        placements.push(Placement {
            replicas: take_replicas(input)?,
            epoch: take_u64(input)?,
            change: match take_u64(input)? {
                0 => None,
                1 => Some(Change::take(input)?),
                _ => return Err(Malformed),
            },
        });
    }
    Ok(placements)
}

#[cfg(test)]
mod tests {
    use super::super::nodes::{Node, NodeInfo, NodeState};
    use super::*;

    const ADD: Change = Change {
        add: Some(4),
        remove: None,
    };

    fn nodes() -> Nodes {
        let node = |id| (id, Node::new(id, NodeInfo::default(), 0));
        let mut nodes: Nodes = (1..=6).map(node).collect();
        for (id, state) in [(5, NodeState::Draining), (6, NodeState::Gone)] {
            if let Some(node) = nodes.get_mut(&id) {
                node.state = state;
            }
        }
        nodes
    }

    fn try_begin(placements: &mut [Placement], epoch: u64, change: Change) -> Outcome {
        let command = BeginChange {
            partition: 0,
            epoch,
            change,
        };
        begin(placements, &nodes(), command)
    }

    fn try_end(placements: &mut [Placement], epoch: u64, took_effect: bool) -> Outcome {
        end(placements, 0, epoch, took_effect)
    }

    #[test]
    fn a_new_replica_takes_the_place_of_the_one_that_goes() {
        let mut placements = [Placement::new(vec![1, 2, 3])];
        let swap = Change {
            add: Some(4),
            remove: Some(1),
        };
        assert_eq!(try_begin(&mut placements, 1, swap), Outcome::Done);
        assert!(placements[0].involves(4) && placements[0].involves(1));
        assert_eq!(try_end(&mut placements, 2, true), Outcome::Done);
        assert_eq!(placements[0].replicas, [4, 2, 3]);
        assert_eq!((placements[0].epoch, placements[0].change), (3, None));
    }

    #[test]
    fn a_replica_comes_last_and_another_leaves_the_order_of_the_rest() {
        let mut placements = [Placement::new(vec![1, 2])];
        try_begin(&mut placements, 1, ADD);
        try_end(&mut placements, 2, true);
        assert_eq!(placements[0].replicas, [1, 2, 4]);
        let remove = Change {
            add: None,
            remove: Some(1),
        };
        try_begin(&mut placements, 3, remove);
        try_end(&mut placements, 4, true);
        assert_eq!(placements[0].replicas, [2, 4]);
    }

    #[test]
    fn a_change_given_up_changes_nothing_but_the_epoch() {
        let mut placements = [Placement::new(vec![1, 2])];
        try_begin(&mut placements, 1, ADD);
        assert_eq!(try_end(&mut placements, 2, false), Outcome::Done);
        assert_eq!(placements[0].replicas, [1, 2]);
        assert_eq!(placements[0].epoch, 3);
    }

    #[test]
    fn one_change_at_a_time_and_for_the_epoch_it_was_made_for() {
        let mut placements = [Placement::new(vec![1, 2])];
        assert_eq!(try_begin(&mut placements, 2, ADD), Outcome::VersionMismatch);
        assert_eq!(try_end(&mut placements, 1, true), Outcome::Invalid);
        assert_eq!(try_begin(&mut placements, 1, ADD), Outcome::Done);
        assert_eq!(try_begin(&mut placements, 2, ADD), Outcome::Busy);
        assert_eq!(try_end(&mut placements, 1, true), Outcome::VersionMismatch);
        assert_eq!(try_begin(&mut [], 1, ADD), Outcome::NotFound);
        assert_eq!(try_end(&mut [], 1, true), Outcome::NotFound);
    }

    #[test]
    fn only_active_nodes_come_and_only_replicas_go_and_one_stays() {
        let change = |add, remove| Change { add, remove };
        for invalid in [
            change(None, None),
            change(Some(2), None),
            change(Some(5), None),
            change(Some(6), None),
            change(Some(7), None),
            change(None, Some(4)),
            change(Some(4), Some(4)),
            change(Some(1), Some(1)),
        ] {
            let mut placements = [Placement::new(vec![1, 2])];
            let outcome = try_begin(&mut placements, 1, invalid);
            assert_eq!(outcome, Outcome::Invalid, "{invalid:?}");
        }
        let mut alone = [Placement::new(vec![1])];
        let outcome = try_begin(&mut alone, 1, change(None, Some(1)));
        assert_eq!(outcome, Outcome::Invalid);
    }
}
