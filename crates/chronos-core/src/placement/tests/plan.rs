//! What a plan asks for, situation by situation.

use super::world::World;
use crate::catalog::placement::Change;
use crate::catalog::{Drain, NUMBER, NodeState, Outcome};
use crate::placement::{Limits, Report, Step, Waiting, plan, progress};
use crate::types::NodeId;
use std::collections::BTreeSet;

fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}

fn settled(zones: &[&str], partitions: u32, rf: u32) -> World {
    let mut world = World::new(zones, partitions, rf);
    world.settle(200);
    world
}

/// Follows plans until one has a step that `is_it`.
fn until(world: &mut World, is_it: impl Fn(&Step) -> bool) -> Step {
    for _ in 0..200 {
        let steps = plan(&world.view());
        if let Some(found) = steps.iter().find(|step| is_it(step)) {
            return found.clone();
        }
        steps.iter().for_each(|step| world.execute(step));
        world.elapse();
    }
    panic!("no such step: {:?}", progress(&world.view()));
}

fn is_begin(step: &Step) -> bool {
    matches!(step, Step::BeginChange(_))
}

fn is_abort(step: &Step) -> bool {
    matches!(step, Step::AbortChange { .. })
}

#[test]
fn a_settled_cluster_asks_for_nothing() {
    let world = settled(&["a", "b", "c"], 8, 3);
    assert_eq!(plan(&world.view()), []);
    let progress = progress(&world.view());
    assert_eq!(progress.nodes.len(), 3);
    assert!(
        progress
            .nodes
            .values()
            .all(|node| node.replicas == 8 && node.votes)
    );
    assert_eq!(world.groups[&NUMBER].voters, set(&[1, 2, 3]));
}

#[test]
fn a_replica_moves_as_learner_then_voter_and_the_old_one_leaves_last() {
    let mut world = settled(&["", "", ""], 1, 3);
    let leaving = world.group(0).leader.unwrap();
    world.join("");
    assert_eq!(world.drain(leaving, Drain::Replicas), Outcome::Done);
    let mut seen = Vec::new();
    for _ in 0..30 {
        for step in plan(&world.view())
            .into_iter()
            .filter(|it| it.partition() == Some(0))
        {
            seen.push(step.clone());
            world.execute(&step);
        }
        world.elapse();
    }
    let kinds: Vec<&str> = (seen.iter())
        .map(|step| match step {
            Step::TransferLead { from, .. } if *from == leaving => "transfer",
            Step::BeginChange(_) => "begin",
            Step::AddLearner { node: 4, .. } => "learner",
            Step::SetVoters { to, .. } if to.len() == 4 => "voter",
            Step::SetVoters { to, .. } if to.len() == 3 && !to.contains(&leaving) => "old leaves",
            Step::FinishChange { .. } => "finish",
            // It takes the place of the one that left, which was the first.
            Step::TransferLead { to: 4, .. } => "leads",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "transfer",
        "begin",
        "learner",
        "voter",
        "old leaves",
        "finish",
        "leads",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_single_replica_moves_with_its_lead() {
    let mut world = settled(&["", ""], 4, 1);
    world.drain(1, Drain::Replicas);
    world.settle(200);
    assert!(world.groups.values().all(|group| group.voters == set(&[2])));
}

#[test]
fn a_drain_takes_leaders_at_once_and_ends_with_nothing_on_the_node() {
    let mut world = settled(&["", "", "", ""], 12, 3);
    world.drain(2, Drain::Replicas);
    let steps = plan(&world.view());
    let transfers = steps
        .iter()
        .filter(|step| matches!(step, Step::TransferLead { from: 2, .. }));
    assert!(transfers.count() >= 2, "{steps:?}");
    let before = progress(&world.view());
    assert!(before.nodes[&2].leaving > 0 && !before.is_empty(2));
    assert_eq!(world.remove(2, false), Outcome::InUse);
    world.settle(400);
    let after = progress(&world.view());
    assert!(after.is_empty(2));
    assert_eq!(world.remove(2, false), Outcome::Done);
}

#[test]
fn a_drain_of_one_of_three_leaves_two_replicas_and_says_so() {
    let mut world = settled(&["", "", ""], 6, 3);
    world.drain(3, Drain::Replicas);
    world.settle(400);
    let progress = progress(&world.view());
    assert!(progress.is_empty(3));
    assert_eq!(progress.wanting, 6);
    world.drain(3, Drain::Nothing);
    world.settle(400);
    assert_eq!(super::super::progress(&world.view()).wanting, 0);
}

#[test]
fn two_nodes_hold_two_replicas_and_a_third_makes_them_three() {
    let mut world = settled(&["", ""], 6, 3);
    assert!((world.cluster().placements.iter()).all(|it| it.replicas.len() == 2));
    world.join("");
    world.settle(400);
    assert!((world.cluster().placements.iter()).all(|it| it.replicas.len() == 3));
}

#[test]
fn no_more_is_on_its_way_than_the_limit_and_once_to_each_node() {
    let mut world = settled(&["", "", "", ""], 24, 2);
    world.limits.moves = 3;
    for _ in 0..4 {
        world.join("");
    }
    let steps = plan(&world.view());
    let begun: Vec<Change> = (steps.iter())
        .filter_map(|step| match step {
            Step::BeginChange(begin) => Some(begin.change),
            _ => None,
        })
        .collect();
    assert_eq!(begun.len(), 3);
    let to: BTreeSet<_> = begun.iter().map(|change| change.add).collect();
    let from: BTreeSet<_> = begun.iter().map(|change| change.remove).collect();
    assert_eq!((to.len(), from.len()), (3, 3));
}

#[test]
fn a_group_without_a_live_quorum_is_left_alone() {
    let mut world = settled(&["", "", "", ""], 4, 3);
    world.join("");
    let replicas = world.cluster().placements[0].replicas.clone();
    world.kill(replicas[0]);
    world.kill(replicas[1]);
    world.now_ms += 10 * Limits::default().lost_ms;
    world.elapse();
    let steps = plan(&world.view());
    assert!(
        steps.iter().all(|step| step.partition() != Some(0)),
        "{steps:?}"
    );
    assert_eq!(progress(&world.view()).waiting[&0], Waiting::NoLeader);
    // Nor one whose leader has not noticed yet.
    let mut view = world.view();
    let group = &world.groups[&0];
    let report = Report {
        leader: replicas[2],
        voters: group.voters.clone(),
        ..Report::default()
    };
    view.groups.insert(0, report);
    assert!(plan(&view).iter().all(|step| step.partition() != Some(0)));
    assert_eq!(progress(&view).waiting[&0], Waiting::NoQuorum);
}

#[test]
fn a_change_is_given_up_when_its_new_node_dies_before_it_votes() {
    let mut world = settled(&["", "", ""], 1, 3);
    let new = world.join("");
    world.drain(1, Drain::Replicas);
    until(&mut world, |step| matches!(step, Step::SetVoters { .. }));
    world.kill(new);
    assert!(!plan(&world.view()).iter().any(is_abort), "patience first");
    world.now_ms += Limits::default().give_up_ms;
    until(&mut world, is_abort);
    assert!(world.group(0).learners.is_empty());
}

#[test]
fn a_change_is_taken_back_when_its_new_node_dies_as_a_voter() {
    let mut world = settled(&["", "", ""], 1, 3);
    let new = world.join("");
    world.drain(1, Drain::Replicas);
    let is_promotion = |step: &Step| matches!(step, Step::SetVoters { to, .. } if to.len() == 4);
    let promotion = until(&mut world, is_promotion);
    world.execute(&promotion);
    world.kill(new);
    world.now_ms += 2 * Limits::default().give_up_ms;
    world.elapse();
    until(&mut world, is_abort);
    assert_eq!(world.group(0).voters, set(&[1, 2, 3]));
}

#[test]
fn a_change_comes_to_an_end_when_its_new_node_drains_and_others_are_gone() {
    let mut world = settled(&["", "", "", ""], 1, 4);
    let new = world.join("");
    world.drain(1, Drain::Replicas);
    let is_promotion = |step: &Step| matches!(step, Step::SetVoters { to, .. } if to.len() == 5);
    let promotion = until(&mut world, is_promotion);
    world.execute(&promotion);
    world.drain(new, Drain::Replicas);
    // The catalog is not what this is about.
    world.group(NUMBER).voters = set(&[2]);
    world.group(NUMBER).leader = Some(2);
    for gone in [3, 4] {
        world.remove(gone, true);
        world.join("");
    }
    world.elapse();
    // Three of the five answer, and two of the four of before.
    world.settle(200);
    assert_eq!(world.group(0).voters.len(), 3);
    assert!(!world.group(0).voters.contains(&new));
}

#[test]
fn a_change_whose_group_is_done_is_finished_even_if_the_new_node_died() {
    let mut world = settled(&["", "", ""], 1, 3);
    let new = world.join("");
    world.drain(1, Drain::Replicas);
    until(&mut world, |step| matches!(step, Step::FinishChange { .. }));
    world.kill(new);
    world.now_ms += 2 * Limits::default().give_up_ms;
    world.elapse();
    until(&mut world, |step| matches!(step, Step::FinishChange { .. }));
}

#[test]
fn a_node_that_was_wiped_is_replaced_by_its_new_self() {
    let mut world = settled(&["", "", ""], 6, 3);
    let new = world.wipe(2);
    assert_eq!(world.cluster().nodes[&2].state, NodeState::Gone);
    world.elapse();
    world.settle(400);
    for placement in &world.cluster().placements {
        assert!(placement.replicas.contains(&new) && !placement.replicas.contains(&2));
    }
    assert_eq!(world.groups[&NUMBER].voters, set(&[1, 3, new]));
    assert!(!world.groups[&NUMBER].learners.contains(&2));
}

#[test]
fn a_node_that_is_gone_loses_its_vote_at_once() {
    let mut world = settled(&[""; 5], 1, 5);
    world.remove(4, true);
    world.remove(5, true);
    let step = until(&mut world, |step| matches!(step, Step::SetVoters { .. }));
    assert!(matches!(step, Step::SetVoters { to, .. } if to == set(&[1, 2, 3])));
}

#[test]
fn a_dead_node_is_replaced_after_a_while_and_only_if_there_is_another() {
    let mut world = settled(&["", "", ""], 4, 3);
    world.kill(2);
    world.now_ms += 2 * Limits::default().lost_ms;
    world.elapse();
    world.settle(200);
    assert!((world.cluster().placements.iter()).all(|it| it.replicas.contains(&2)));
    world.join("");
    world.settle(400);
    assert!((world.cluster().placements.iter()).all(|it| !it.replicas.contains(&2)));
    assert_eq!(world.groups[&NUMBER].voters, set(&[1, 3, 4]));
    // It comes back, and takes its share again.
    world.dead.clear();
    world.settle(400);
    let loads = |id| {
        let placements = &world.cluster().placements;
        placements
            .iter()
            .filter(|it| it.replicas.contains(&id))
            .count()
    };
    assert_eq!((1..=4).map(loads).collect::<Vec<_>>(), [3, 3, 3, 3]);
}

#[test]
fn a_node_that_is_dead_for_a_moment_keeps_its_replicas() {
    let mut world = settled(&["", "", "", ""], 8, 3);
    world.kill(1);
    for _ in 0..50 {
        world.elapse();
        assert!(!plan(&world.view()).iter().any(is_begin));
    }
}

#[test]
fn a_replica_whose_loss_would_stop_the_group_stays() {
    let mut world = settled(&["", "", ""], 1, 3);
    world.kill(1);
    world.elapse();
    world.drain(2, Drain::Replicas);
    for _ in 0..30 {
        for step in plan(&world.view()) {
            world.execute(&step);
        }
        world.elapse();
    }
    assert_eq!(world.group(0).voters, set(&[1, 2, 3]));
    assert_eq!(progress(&world.view()).waiting[&0], Waiting::Turn);
}

#[test]
fn whose_clock_is_off_does_not_lead() {
    let mut world = settled(&["", "", ""], 6, 3);
    world.unfit.insert(2);
    world.settle(200);
    assert!(world.groups.values().all(|group| group.leader != Some(2)));
    world.unfit.clear();
    world.settle(200);
    let led = |id| {
        world
            .groups
            .values()
            .filter(|group| group.leader == Some(id))
            .count()
    };
    assert!(led(2) >= 2);
}

#[test]
fn leaders_return_to_a_node_that_was_away() {
    let mut world = settled(&["", "", ""], 9, 3);
    world.kill(3);
    world.elapse();
    assert!(world.groups.values().all(|group| group.leader != Some(3)));
    world.settle(100);
    world.dead.clear();
    world.elapse();
    world.settle(100);
    for id in 1..=3 {
        let led =
            (world.groups.iter()).filter(|(at, group)| **at != NUMBER && group.leader == Some(id));
        assert_eq!(led.count(), 3);
    }
}

#[test]
fn a_configuration_left_half_changed_is_brought_to_its_end() {
    let world = settled(&["", "", ""], 1, 3);
    let mut view = world.view();
    view.groups.get_mut(&0).unwrap().incoming = Some(set(&[1, 2]));
    let asked = Step::SetVoters {
        partition: 0,
        from: set(&[1, 2, 3]),
        to: set(&[1, 2]),
    };
    assert_eq!(plan(&view), [asked]);
}

#[test]
fn a_group_that_lost_replicas_by_force_gets_them_back() {
    let mut world = settled(&["", "", ""], 1, 3);
    world.group(0).voters = set(&[1]);
    world.group(0).leader = Some(1);
    world.settle(200);
    assert_eq!(world.group(0).voters, set(&[1, 2, 3]));
    // Also when one of them will not come back, and another takes its place.
    world.group(0).voters = set(&[1, 2]);
    world.group(0).leader = Some(1);
    world.remove(3, true);
    world.join("");
    world.settle(200);
    assert_eq!(world.group(0).voters, set(&[1, 2, 4]));
}

#[test]
fn a_catalog_leader_hands_over_before_it_drains() {
    let mut world = settled(&["", "", ""], 1, 1);
    let leader = world.group(NUMBER).leader.unwrap();
    world.join("");
    world.drain(leader, Drain::Replicas);
    world.settle(200);
    let catalog = &world.groups[&NUMBER];
    assert!(!catalog.voters.contains(&leader) && catalog.leader != Some(leader));
    assert_eq!(catalog.voters.len(), 3);
    assert!(
        catalog.learners.contains(&leader),
        "it still follows the catalog"
    );
}
