//! What is said of clusters and nodes.

use super::world::World;
use crate::catalog::{ClusterCommand, Drain, NUMBER, Outcome};
use crate::placement::{Needed, needed_of_lost, standing};
use crate::types::NodeId;

fn settled(nodes: usize, partitions: u32, rf: u32) -> World {
    let mut world = World::new(&vec![""; nodes], partitions, rf);
    world.settle(200);
    world
}

fn leader(world: &World, partition: u32) -> NodeId {
    world.groups[&partition].leader.unwrap()
}

#[test]
fn a_settled_cluster_can_lose_any_node() {
    let world = settled(3, 8, 3);
    let standing = standing(&world.view());
    assert_eq!((standing.under_replicated, standing.leaderless), (0, 0));
    assert_eq!((standing.moves, standing.overdue_ms), (0, 0));
    for node in standing.nodes.values() {
        assert_eq!((node.replicas, node.needed), (8, None));
        assert!(node.is_alive && node.is_caught_up && node.votes);
    }
    let leads: usize = standing.nodes.values().map(|node| node.leads).sum();
    assert_eq!(leads, 8);
    let of_catalog = standing.nodes.values().filter(|node| node.leads_catalog);
    assert_eq!(of_catalog.count(), 1);
}

#[test]
fn while_one_is_away_the_others_are_needed() {
    let mut world = settled(3, 4, 3);
    world.kill(3);
    world.elapse();
    let standing = standing(&world.view());
    assert_eq!(standing.under_replicated, 4);
    assert!(!standing.nodes[&3].is_alive);
    assert_eq!(standing.nodes[&1].needed, Some(Needed::Majority(0)));
    assert_eq!(standing.nodes[&3].needed, None);
    assert_eq!(needed_of_lost(&world.view(), 3), None);
}

#[test]
fn one_that_is_behind_does_not_count() {
    let world = settled(3, 1, 3);
    let behind = (1..=3).find(|node| *node != leader(&world, 0)).unwrap();
    let mut view = world.view();
    let report = view.groups.get_mut(&0).unwrap();
    report.committed = 5_000;
    report.matched.insert(behind, 4_000);
    let others = (1..=3).filter(|node| *node != behind);
    for node in others.clone().filter(|node| *node != report.leader) {
        report.matched.insert(node, 4_950);
    }
    let standing = standing(&view);
    assert_eq!(standing.under_replicated, 1);
    let of = &standing.nodes[&behind];
    assert_eq!((of.lag_entries, of.is_caught_up), (1_000, false));
    assert_eq!(of.needed, None);
    for node in others {
        assert_eq!(standing.nodes[&node].needed, Some(Needed::Majority(0)));
    }
}

#[test]
fn of_a_group_without_a_sure_leader_nothing_is_known() {
    let world = settled(3, 2, 3);
    let mut view = world.view();
    view.groups.get_mut(&1).unwrap().is_sure = false;
    let standing = standing(&view);
    assert_eq!((standing.leaderless, standing.under_replicated), (1, 1));
    for node in standing.nodes.values() {
        assert_eq!(node.needed, Some(Needed::NoLeader(1)));
        assert!(!node.is_caught_up);
    }
    assert_eq!(needed_of_lost(&view, 1), Some(Needed::NoLeader(1)));
}

#[test]
fn the_only_replica_is_needed() {
    let world = settled(3, 3, 1);
    let view = world.view();
    let at = leader(&world, 0);
    let needed = standing(&view).nodes[&at].needed;
    assert_eq!(needed, Some(Needed::Only(0)));
    assert_eq!(
        Needed::Only(0).to_string(),
        "partition 0 has no other replica"
    );
    assert!(
        Needed::NoLeader(NUMBER)
            .to_string()
            .starts_with("the catalog has")
    );
    assert!(needed_of_lost(&view, at).is_some());
}

#[test]
fn what_is_overdue_is_told() {
    let world = settled(3, 2, 3);
    let mut view = world.view();
    view.groups.get_mut(&0).unwrap().next_due_ms = Some(view.now_ms + 5);
    assert_eq!(standing(&view).overdue_ms, 0);
    view.groups.get_mut(&1).unwrap().next_due_ms = Some(view.now_ms - 70);
    assert_eq!(standing(&view).overdue_ms, 70);
}

#[test]
fn leaders_leave_a_node_that_is_to_follow_and_its_replicas_stay() {
    let mut world = settled(3, 9, 3);
    world.drain(1, Drain::Leaders);
    world.settle(200);
    let standing = standing(&world.view());
    let of = &standing.nodes[&1];
    assert_eq!((of.leads, of.replicas, of.votes), (0, 9, true));
    assert!(!of.leads_catalog);
    assert_eq!((of.needed, standing.moves), (None, 0));
    world.drain(1, Drain::Nothing);
    world.settle(200);
    let standing = crate::placement::standing(&world.view());
    assert_eq!(standing.nodes[&1].leads, 3);
}

#[test]
fn moves_are_counted_until_they_are_made() {
    let mut world = settled(4, 8, 3);
    world.drain(1, Drain::Replicas);
    let before = standing(&world.view());
    assert_eq!(before.moves, before.nodes[&1].replicas);
    assert!(before.moves > 0);
    world.settle(400);
    let after = standing(&world.view());
    let of = &after.nodes[&1];
    assert_eq!(
        (after.moves, of.replicas, of.leads, of.votes),
        (0, 0, 0, false)
    );
    assert_eq!(of.needed, None);
}

#[test]
fn a_preferred_replica_leads_when_the_leads_stay_even() {
    let mut world = settled(3, 1, 3);
    let other = (1..=3).find(|node| *node != leader(&world, 0)).unwrap();
    let prefer = ClusterCommand::PreferLeader {
        partition: 0,
        id: other,
    };
    assert_eq!(world.apply(prefer), Outcome::Done);
    world.settle(200);
    assert_eq!(leader(&world, 0), other);
    let nobody = ClusterCommand::PreferLeader {
        partition: 0,
        id: 9,
    };
    assert_eq!(world.apply(nobody), Outcome::Invalid);
}
