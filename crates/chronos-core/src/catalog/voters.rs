//! Which nodes decide about the catalog. All others follow it.

use super::nodes::{Node, Nodes};
use crate::types::NodeId;
use std::cmp::Reverse;

/// Voters of a catalog at most: more make it slower, and it survives the loss of two as it is.
const MOST_VOTERS: usize = 5;

/// The nodes that are to vote: five, three or one of those that hold replicas, in different zones as far as
/// there are so many, ascending.
///
/// `present` voters stay as long as they hold replicas. One that is dead (`is_dead`) gives way only to
/// a node that is not.
#[must_use]
pub fn catalog_voters(
    nodes: &Nodes,
    present: &[NodeId],
    is_dead: impl Fn(NodeId) -> bool,
) -> Vec<NodeId> {
    let mut candidates: Vec<&Node> = (nodes.values())
        .filter(|node| node.state.holds_replicas())
        .collect();
    let count = match candidates.len() {
        MOST_VOTERS.. => MOST_VOTERS,
        3.. => 3,
        _ => 1,
    };
    let zone = |node: &Node| (node.info.region.clone(), node.info.zone.clone());
    let mut voters: Vec<&Node> = Vec::new();
    while voters.len() < count {
        let best = candidates.iter().enumerate().min_by_key(|(_, node)| {
            let crowd = voters.iter().filter(|voter| zone(voter) == zone(node));
            (
                is_dead(node.id),
                crowd.count(),
                Reverse(present.contains(&node.id)),
                node.id,
            )
        });
        let Some((at, _)) = best else {
            break;
        };
        voters.push(candidates.remove(at));
    }
    let mut voters: Vec<NodeId> = voters.into_iter().map(|node| node.id).collect();
    voters.sort_unstable();
    voters
}

#[cfg(test)]
mod tests {
    use super::super::nodes::{NodeInfo, NodeState};
    use super::*;
    use proptest::prelude::*;

    fn nodes(zones: &[&str]) -> Nodes {
        let node = |(id, zone): (NodeId, &&str)| {
            let info = NodeInfo {
                zone: (*zone).into(),
                ..NodeInfo::default()
            };
            (id, Node::new(id, info, 0))
        };
        (1..).zip(zones).map(node).collect()
    }

    fn alive(_: NodeId) -> bool {
        false
    }

    #[test]
    fn one_three_or_five() {
        let of = |count| catalog_voters(&nodes(&vec![""; count]), &[], alive).len();
        let counts: Vec<_> = (0..8).map(of).collect();
        assert_eq!(counts, [0, 1, 1, 3, 3, 5, 5, 5]);
    }

    #[test]
    fn zones_are_spread_over() {
        let nodes = nodes(&["a", "a", "b", "b"]);
        assert_eq!(catalog_voters(&nodes, &[], alive), [1, 2, 3]);
        let nodes = self::nodes(&["a", "a", "b", "c"]);
        assert_eq!(catalog_voters(&nodes, &[], alive), [1, 3, 4]);
    }

    #[test]
    fn voters_stay_while_they_are_fine() {
        let mut nodes = nodes(&["", "", "", ""]);
        assert_eq!(catalog_voters(&nodes, &[2, 3, 4], alive), [2, 3, 4]);
        assert_eq!(catalog_voters(&nodes, &[2, 3, 4], |id| id == 3), [1, 2, 4]);
        // Nobody else is there to take the place of a dead one.
        let dead = |id| id == 1 || id == 3;
        assert_eq!(catalog_voters(&nodes, &[2, 3, 4], dead), [2, 3, 4]);
        for state in [NodeState::Draining, NodeState::Gone] {
            nodes.get_mut(&4).unwrap().state = state;
            assert_eq!(catalog_voters(&nodes, &[2, 3, 4], alive), [1, 2, 3]);
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_kept(
            zones in prop::collection::vec(0..4_usize, 0..9), dead in 0_u64..512,
            present in prop::collection::vec(1..10_u64, 0..6),
        ) {
            let zones: Vec<_> = zones.iter().map(|zone| ["", "a", "b", "c"][*zone]).collect();
            let nodes = nodes(&zones);
            let is_dead = |id: NodeId| dead >> id & 1 == 1;
            let voters = catalog_voters(&nodes, &present, is_dead);
            prop_assert_eq!(catalog_voters(&nodes, &voters, is_dead), voters);
        }
    }
}
