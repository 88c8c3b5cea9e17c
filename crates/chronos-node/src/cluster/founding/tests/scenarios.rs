//! What happens in one named case each.

use super::*;

#[test]
fn a_seed_that_is_the_node_itself_founds_a_cluster_of_one() {
    let mut world = World::of(1);
    world.heal();
    assert!(world.is_one());
    assert_eq!(world.held[0].voters, BTreeSet::from([1]));
}

#[test]
fn numbers_follow_names_and_the_first_name_founds() {
    let mut world = World::of(4);
    world.heal();
    let founding = &world.held[0];
    let names: Vec<_> = (founding.nodes.iter())
        .map(|(id, info)| (*id, info.name.as_str()))
        .collect();
    assert_eq!(names, [(1, "n0"), (2, "n1"), (3, "n2"), (4, "n3")]);
    assert_eq!(founding.founder_name(), "n0");
    assert_eq!(founding.voters, BTreeSet::from([1, 2, 3]));
}

#[test]
fn nobody_founds_while_a_seed_is_silent() {
    let mut world = World::of(3);
    for _ in 0..5 {
        for at in [0, 1] {
            world.begin(at);
            world.hear(at, 0);
            world.hear(at, 1);
            world.end(at);
        }
    }
    assert!(world.held.is_empty() && world.letters.is_empty());
    let standings = world.slots.iter().map(|slot| &slot.standing);
    assert!(standings.into_iter().all(|it| *it == Standing::Fresh));
}

#[test]
fn only_the_first_name_proposes() {
    let mut world = World::of(3);
    for at in [0, 1, 2, 1, 2, 1, 2] {
        world.take(Step::Round(at));
    }
    let is_fresh = |world: &World, at: usize| world.slots[at].standing == Standing::Fresh;
    assert!((0..3).all(|at| is_fresh(&world, at)));
    world.take(Step::Round(0));
    assert!(!is_fresh(&world, 0));
}

#[test]
fn nodes_that_find_different_nodes_wait() {
    for seeds in [
        vec![vec![0, 1], vec![0, 1, 2], vec![0, 1, 2]],
        vec![vec![0, 1, 2], vec![0, 1], vec![0, 1]],
        vec![vec![0], vec![0, 1]],
        vec![vec![0, 1], vec![1, 2], vec![2, 0]],
    ] {
        let mut world = World::new(seeds.clone());
        world.heal();
        let founds_alone = seeds[0] == [0];
        assert_eq!(world.is_one(), founds_alone, "{seeds:?}");
        assert_eq!(world.held.len(), usize::from(founds_alone), "{seeds:?}");
    }
}

#[test]
fn answers_from_before_an_acceptance_do_not_undo_it() {
    let mut world = World::of(2);
    for at in [0, 1] {
        world.take(Step::Round(at));
    }
    world.begin(1);
    world.hear(1, 0);
    world.hear(1, 1);
    world.take(Step::Round(0));
    world.take(Step::Round(0));
    let accept = world.letters.remove(0);
    world.deliver(accept);
    assert!(matches!(world.slots[1].standing, Standing::Accepted(_)));
    world.take(Step::End(1));
    assert!(matches!(world.slots[1].standing, Standing::Accepted(_)));
}

#[test]
fn a_founder_that_was_restarted_goes_on_with_the_same_founding() {
    let mut world = World::of(3);
    for at in [0, 1, 2, 0] {
        world.take(Step::Round(at));
    }
    let Standing::Proposed(founding) = world.slots[0].standing.clone() else {
        panic!("{:?}", world.slots[0]);
    };
    world.take(Step::Restart(0));
    world.heal();
    assert!(world.is_one());
    assert_eq!(world.held, [founding]);
}

/// All have accepted, and nobody has heard that it holds.
fn accepted_by_all() -> World {
    let mut world = World::of(3);
    for at in [0, 1, 2, 0, 0] {
        world.take(Step::Round(at));
    }
    let accepts = std::mem::take(&mut world.letters);
    accepts.into_iter().for_each(|letter| world.deliver(letter));
    world.letters.clear();
    world
}

#[test]
fn a_lost_founder_leaves_the_others_waiting_and_saying_so() {
    let mut world = accepted_by_all();
    world.take(Step::Wipe(0));
    world.heal();
    assert!(world.clusters().is_empty() && world.is_in_doubt());
    let round = Round {
        seeds: (0..3).map(|at| world.heard(at)).collect(),
        is_complete: true,
        others: Vec::new(),
    };
    let action = |at: usize| {
        let slot: &Slot = &world.slots[at];
        let me = Me {
            disk: slot.disk,
            standing: &slot.standing,
            joins_only: false,
        };
        decide(me, &round)
    };
    assert_eq!(action(0), Action::Wait(Waiting::OthersFound));
    let lost = Action::Wait(Waiting::LostFounder("n0".into()));
    assert_eq!((action(1), action(2)), (lost.clone(), lost));
}

#[test]
fn a_node_wiped_in_the_middle_lets_the_others_begin_again() {
    let mut world = accepted_by_all();
    let first = world.slots[0].standing.stance();
    world.take(Step::Wipe(2));
    world.heal();
    assert!(world.is_one());
    assert_ne!(Some(world.held[0].cluster_id), first.held());
    assert_eq!(world.held[0].nodes.len(), 3);
}

#[test]
fn who_only_joins_founds_nothing_and_joins_what_is_there() {
    let mut world = World::of(3);
    world.slots[2].joins_only = true;
    world.heal();
    assert!(world.clusters().is_empty() && world.held.is_empty());
    // The first two found without it.
    world.slots[0].seeds = vec![0, 1];
    world.slots[1].seeds = vec![1, 0];
    world.heal();
    assert!(world.is_one());
    assert_eq!(world.held[0].nodes.len(), 2);
}

#[test]
fn who_hears_two_clusters_stops() {
    let mut world = World::of(3);
    for (at, cluster_id) in [(1, 7), (2, 8)] {
        world.deliver(Letter::Joined {
            disk: world.slots[at].disk,
            cluster_id,
        });
    }
    let round = Round {
        seeds: (0..3).map(|at| world.heard(at)).collect(),
        is_complete: true,
        others: Vec::new(),
    };
    let me = Me {
        disk: world.slots[0].disk,
        standing: &Standing::Fresh,
        joins_only: false,
    };
    let two = vec![("n1".to_owned(), 7), ("n2".to_owned(), 8)];
    assert_eq!(
        decide(me, &round),
        Action::Refuse(Trouble::TwoClusters(two))
    );
}
