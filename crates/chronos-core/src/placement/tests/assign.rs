//! Where partitions should be.

use super::{in_zones, node};
use crate::catalog::NodeState;
use crate::catalog::nodes::Nodes;
use crate::placement::assign::reassign;
use crate::placement::{assign, leads};
use crate::types::NodeId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// How many of something each active node has.
fn loads<'a>(nodes: &Nodes, of: impl Iterator<Item = &'a NodeId>) -> BTreeMap<NodeId, usize> {
    let active = |id: &&NodeId| nodes[id].state == NodeState::Active;
    let mut loads: BTreeMap<_, _> = nodes.keys().filter(active).map(|id| (*id, 0)).collect();
    of.for_each(|id| *loads.entry(*id).or_default() += 1);
    loads
}

fn difference(loads: &BTreeMap<NodeId, usize>) -> usize {
    let (least, most) = (loads.values().min(), loads.values().max());
    most.unwrap_or(&0) - least.unwrap_or(&0)
}

/// Replicas that are where they were not.
fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> usize {
    let new = |(before, after): (&Vec<NodeId>, &Vec<NodeId>)| {
        after.iter().filter(|node| !before.contains(node)).count()
    };
    before.iter().zip(after).map(new).sum()
}

fn check_sets(assigned: &[Vec<NodeId>], nodes: &Nodes, copies: usize) {
    for replicas in assigned {
        let different: BTreeSet<_> = replicas.iter().collect();
        assert_eq!(different.len(), copies, "{replicas:?}");
        assert!(
            replicas
                .iter()
                .all(|node| nodes[node].state == NodeState::Active)
        );
    }
}

fn check_even(assigned: &[Vec<NodeId>], nodes: &Nodes) {
    let replicas = loads(nodes, assigned.iter().flatten());
    assert!(difference(&replicas) <= 1, "replicas {replicas:?}");
    let leaders = loads(
        nodes,
        assigned.iter().filter_map(|replicas| replicas.first()),
    );
    assert!(difference(&leaders) <= 1, "leaders {leaders:?}");
}

#[test]
fn three_nodes_hold_everything_and_lead_as_many() {
    let nodes = in_zones(&["", "", ""]);
    let assigned = assign(&nodes, 16, 3);
    check_sets(&assigned, &nodes, 3);
    check_even(&assigned, &nodes);
}

#[test]
fn fewer_nodes_than_replicas_hold_one_each() {
    let nodes = in_zones(&["", ""]);
    let assigned = assign(&nodes, 8, 3);
    check_sets(&assigned, &nodes, 2);
    check_even(&assigned, &nodes);
    assert_eq!(assign(&Nodes::new(), 2, 3), [[0; 0], []]);
}

#[test]
fn the_first_placement_is_part_of_what_operators_know() {
    // Not of a format: the founding command says where everything goes. But a cluster that is made
    // anew should look the same.
    let nodes = in_zones(&["a", "b", "c"]);
    let again = assign(&nodes, 6, 2);
    assert_eq!(assign(&nodes, 6, 2), again);
    let firsts: BTreeSet<_> = again.iter().map(|replicas| replicas[0]).collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn replicas_stand_in_different_zones_when_there_are_enough() {
    let nodes = in_zones(&["a", "a", "a", "b", "b", "c"]);
    let assigned = assign(&nodes, 30, 3);
    for replicas in &assigned {
        let zones: BTreeSet<_> = replicas.iter().map(|id| &nodes[id].info.zone).collect();
        assert_eq!(zones.len(), 3, "{replicas:?}");
    }
    let loads = loads(&nodes, assigned.iter().flatten());
    // What a zone has is shared evenly within it.
    assert_eq!(
        loads.values().copied().collect::<Vec<_>>(),
        [10, 10, 10, 15, 15, 30]
    );
}

#[test]
fn two_zones_share_three_replicas_and_never_hold_all() {
    let nodes = in_zones(&["a", "a", "b", "b"]);
    for replicas in assign(&nodes, 20, 3) {
        let zones: BTreeSet<_> = replicas.iter().map(|id| &nodes[id].info.zone).collect();
        assert_eq!(zones.len(), 2, "{replicas:?}");
    }
}

#[test]
fn within_a_zone_replicas_stand_in_different_racks() {
    let nodes: Nodes = (1..=6)
        .map(|id| (id, node(id, "z", ["r", "s", "t"][id as usize % 3])))
        .collect();
    for replicas in assign(&nodes, 24, 3) {
        let racks: BTreeSet<_> = replicas.iter().map(|id| &nodes[id].info.rack).collect();
        assert_eq!(racks.len(), 3, "{replicas:?}");
    }
}

#[test]
fn zones_of_one_name_in_two_regions_are_two() {
    let mut nodes = in_zones(&["a", "a", "a", "a"]);
    for id in [3, 4] {
        nodes.get_mut(&id).unwrap().info.region = "elsewhere".into();
    }
    for replicas in assign(&nodes, 10, 2) {
        assert_eq!(replicas.iter().filter(|id| **id > 2).count(), 1);
    }
}

#[test]
fn a_node_lost_for_long_gives_way_only_to_another() {
    let nodes = in_zones(&["", "", ""]);
    let present = assign(&nodes, 6, 3);
    let kept = reassign(&nodes, &present, 3, |id| id == 2);
    assert_eq!(moved(&present, &kept), 0);
    check_sets(&kept, &nodes, 3);
    let nodes = in_zones(&["", "", "", ""]);
    let replaced = reassign(&nodes, &present, 3, |id| id == 2);
    assert!(replaced.iter().flatten().all(|id| *id != 2));
    check_sets(&replaced, &nodes, 3);
}

#[test]
fn a_new_zone_draws_replicas_apart() {
    let nodes = in_zones(&["a", "a"]);
    let present = assign(&nodes, 12, 2);
    let nodes = in_zones(&["a", "a", "b"]);
    let spread = reassign(&nodes, &present, 2, |_| false);
    assert!(spread.iter().all(|replicas| replicas.contains(&3)));
    assert_eq!(moved(&present, &spread), 12);
}

#[test]
fn leaders_are_even_whoever_is_asked_first() {
    let candidates: Vec<_> = (0..9).map(|_| vec![1, 2, 3]).collect();
    let mut counts = BTreeMap::new();
    for lead in leads(&candidates) {
        *counts.entry(lead.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(1, 3), (2, 3), (3, 3)]));
    // By way of a third: 1 cannot give to 3, but 2 can.
    let chain = [vec![1, 2], vec![1, 2], vec![2, 3], vec![2, 3]];
    let led = leads(&chain);
    assert!(led[2..].contains(&Some(3)));
    assert_eq!(leads(&[vec![], vec![4]]), [None, Some(4)]);
}

proptest! {
    #[test]
    fn without_zones_everything_is_even(nodes in 1..12_usize, partitions in 1..80_u32, rf in 1..6_u32) {
        let nodes = in_zones(&vec![""; nodes]);
        let assigned = assign(&nodes, partitions, rf);
        check_sets(&assigned, &nodes, nodes.len().min(rf as usize));
        check_even(&assigned, &nodes);
    }

    #[test]
    fn a_node_that_joins_takes_its_share_and_nothing_else_moves(
        nodes in 3..12_usize, partitions in 1..80_u32, rf in 1..4_u32,
    ) {
        let before = assign(&in_zones(&vec![""; nodes]), partitions, rf);
        let grown = in_zones(&vec![""; nodes + 1]);
        let after = reassign(&grown, &before, rf, |_| false);
        let new = nodes as NodeId + 1;
        let taken = loads(&grown, after.iter().flatten());
        prop_assert!(difference(&taken) <= 1, "{taken:?}");
        prop_assert_eq!(moved(&before, &after), taken[&new]);
    }

    #[test]
    fn a_node_that_leaves_moves_what_it_had(
        nodes in 4..12_usize, partitions in 1..80_u32, rf in 1..4_u32, who in any::<prop::sample::Index>(),
    ) {
        let mut nodes = in_zones(&vec![""; nodes]);
        let before = assign(&nodes, partitions, rf);
        let leaving = who.index(nodes.len()) as NodeId + 1;
        let had = before.iter().flatten().filter(|id| **id == leaving).count();
        nodes.get_mut(&leaving).unwrap().state = NodeState::Draining;
        let after = reassign(&nodes, &before, rf, |_| false);
        check_sets(&after, &nodes, rf as usize);
        let loads = loads(&nodes, after.iter().flatten().filter(|id| **id != leaving));
        prop_assert!(difference(&loads) <= 1, "{loads:?}");
        // What is left may not fit where there is room: then a few more have to move.
        let moved = moved(&before, &after);
        prop_assert!((had..=had + 2).contains(&moved), "{moved} moved of {had}");
    }

    #[test]
    fn zones_are_kept_apart_and_what_lies_well_stays(
        zones in prop::collection::vec(0..4_usize, 1..12), partitions in 1..60_u32, rf in 1..5_u32,
    ) {
        let names: Vec<&str> = zones.iter().map(|zone| ["a", "b", "c", "d"][*zone]).collect();
        let nodes = in_zones(&names);
        let assigned = assign(&nodes, partitions, rf);
        let copies = nodes.len().min(rf as usize);
        check_sets(&assigned, &nodes, copies);
        for replicas in &assigned {
            // No replica could stand in a zone with fewer of its partition.
            let in_zone = |zone: &str| replicas.iter().filter(|id| nodes[id].info.zone == zone).count();
            for (id, node) in nodes.iter().filter(|(id, _)| !replicas.contains(id)) {
                let most = replicas.iter().map(|id| in_zone(&nodes[id].info.zone)).max().unwrap();
                prop_assert!(in_zone(&node.info.zone) + 1 >= most, "{replicas:?} without {id}");
            }
        }
        let again = reassign(&nodes, &assigned, rf, |_| false);
        prop_assert_eq!(moved(&assigned, &again), 0);
    }
}
