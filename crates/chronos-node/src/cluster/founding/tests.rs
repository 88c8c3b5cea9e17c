//! A world of nodes that ask, propose and accept, with messages that come late, twice or never, nodes
//! that restart and disks that are wiped.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A place that a node runs at: its name and its seeds stay, its disk may be wiped.
#[derive(Debug)]
struct Slot {
    name: String,
    disk: u128,
    /// On the disk.
    standing: Standing,
    /// The slots behind its seeds. One may be there twice.
    seeds: Vec<usize>,
    joins_only: bool,
    seen: BTreeSet<u128>,
    asking: Option<Asking>,
    /// The nodes whose answers a founder waits for.
    missing: Option<BTreeSet<u128>>,
}

/// A round that is under way.
#[derive(Debug)]
struct Asking {
    standing: Standing,
    heard: BTreeMap<usize, Heard>,
}

/// A message under way.
#[derive(Debug, Clone)]
enum Letter {
    Accept {
        to: usize,
        founding: Founding,
    },
    Accepted {
        founder: u128,
        cluster_id: u128,
        by: u128,
    },
    Joined {
        disk: u128,
        cluster_id: u128,
    },
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(usize),
    Hear(usize, usize),
    End(usize),
    Round(usize),
    Deliver(usize),
    Repeat(usize),
    Lose(usize),
    Restart(usize),
    Wipe(usize),
}

#[derive(Debug)]
struct World {
    slots: Vec<Slot>,
    letters: Vec<Letter>,
    /// Every founding that ever held.
    held: Vec<Founding>,
    next_id: u128,
}

impl World {
    fn new(seeds: Vec<Vec<usize>>) -> Self {
        let slot = |(at, seeds): (usize, Vec<usize>)| Slot {
            name: format!("n{at}"),
            // Such that the order of disks is not that of names.
            disk: 1_000 - at as u128,
            standing: Standing::Fresh,
            seeds,
            joins_only: false,
            seen: BTreeSet::new(),
            asking: None,
            missing: None,
        };
        Self {
            slots: seeds.into_iter().enumerate().map(slot).collect(),
            letters: Vec::new(),
            held: Vec::new(),
            next_id: 10_000,
        }
    }

    fn of(count: usize) -> Self {
        Self::new(vec![(0..count).collect(); count])
    }

    fn heard(&self, at: usize) -> Heard {
        let slot = &self.slots[at];
        let node = NodeInfo {
            name: slot.name.clone(),
            disk: slot.disk,
            ..NodeInfo::default()
        };
        Heard {
            node,
            stance: slot.standing.stance(),
            seen: slot.seen.clone(),
            joins_only: slot.joins_only,
        }
    }

    fn fresh_id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    fn take(&mut self, step: Step) {
        let count = self.slots.len();
        let letter =
            |at: usize, letters: &[Letter]| (!letters.is_empty()).then(|| at % letters.len());
        match step {
            Step::Begin(at) => self.begin(at % count),
            Step::Hear(at, seed) => self.hear(at % count, seed),
            Step::End(at) => self.end(at % count),
            Step::Round(at) => self.round(at % count),
            Step::Deliver(at) => {
                if let Some(at) = letter(at, &self.letters) {
                    let letter = self.letters.swap_remove(at);
                    self.deliver(letter);
                }
            }
            Step::Repeat(at) => {
                if let Some(at) = letter(at, &self.letters) {
                    self.deliver(self.letters[at].clone());
                }
            }
            Step::Lose(at) => {
                if let Some(at) = letter(at, &self.letters) {
                    self.letters.swap_remove(at);
                }
            }
            Step::Restart(at) => self.restart(at % count),
            Step::Wipe(at) => {
                let at = at % count;
                self.restart(at);
                self.slots[at].disk = self.fresh_id();
                self.slots[at].standing = Standing::Fresh;
            }
        }
        self.check();
    }

    fn restart(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.asking = None;
        slot.missing = None;
        slot.seen.clear();
    }

    fn round(&mut self, at: usize) {
        self.begin(at);
        for seed in 0..self.slots[at].seeds.len() {
            self.hear(at, seed);
        }
        self.end(at);
    }

    fn begin(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.missing = None;
        slot.asking = Some(Asking {
            standing: slot.standing.clone(),
            heard: BTreeMap::new(),
        });
    }

    fn hear(&mut self, at: usize, seed: usize) {
        let seed = seed % self.slots[at].seeds.len();
        let heard = self.heard(self.slots[at].seeds[seed]);
        if let Some(asking) = &mut self.slots[at].asking {
            asking.heard.insert(seed, heard);
        }
    }

    fn end(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let Some(asking) = slot.asking.take() else {
            return;
        };
        let round = Round {
            is_complete: asking.heard.len() == slot.seeds.len(),
            seeds: asking.heard.into_values().collect(),
            others: Vec::new(),
        };
        slot.seen = round.disks();
        if slot.standing != asking.standing {
            return;
        }
        let (disk, standing) = (slot.disk, slot.standing.clone());
        let me = Me {
            disk,
            standing: &standing,
            joins_only: slot.joins_only,
        };
        match decide(me, &round) {
            Action::Wait(_) | Action::Done => {}
            Action::Refuse(trouble) => panic!("{trouble}"),
            Action::Forget => slot.standing = Standing::Fresh,
            Action::Found(nodes) => {
                let id = self.fresh_id();
                let founding = Founding::new(id, disk, 16, 3, nodes);
                assert_eq!(founding.flaw(), None);
                self.slots[at].standing = Standing::Proposed(founding);
            }
            Action::Ask => self.ask(at, standing),
            Action::Enter => {
                let Standing::Accepted(founding) = standing else {
                    panic!("entered from {standing:?}");
                };
                slot.standing = Standing::Member(founding.member(disk).unwrap());
            }
            Action::Join(cluster_id) => {
                assert_eq!(standing, Standing::Fresh);
                self.letters.push(Letter::Joined { disk, cluster_id });
            }
        }
    }

    fn ask(&mut self, at: usize, standing: Standing) {
        let Standing::Proposed(founding) = standing else {
            panic!("asked from {standing:?}");
        };
        let disk = self.slots[at].disk;
        let disks = founding.nodes.iter().map(|(_, info)| info.disk);
        self.slots[at].missing = Some(disks.filter(|other| *other != disk).collect());
        for (_, info) in &founding.nodes {
            // To wherever the name leads: another disk may be there by now.
            let to = self.slots.iter().position(|slot| slot.name == info.name);
            let founding = founding.clone();
            if info.disk != disk {
                self.letters.push(Letter::Accept {
                    to: to.unwrap(),
                    founding,
                });
            }
        }
        self.settle(at);
    }

    /// The founding holds when nobody is missing.
    fn settle(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if let (Some(missing), Standing::Proposed(founding)) = (&slot.missing, &slot.standing)
            && missing.is_empty()
        {
            let member = founding.member(slot.disk).unwrap();
            self.held.push(founding.clone());
            slot.standing = Standing::Member(member);
        }
    }

    fn deliver(&mut self, letter: Letter) {
        match letter {
            Letter::Accept { to, founding } => {
                let slot = &mut self.slots[to];
                if slot.joins_only {
                    return;
                }
                let Ok(next) = slot.standing.accept(slot.disk, &founding) else {
                    return;
                };
                if let Some(next) = next {
                    slot.standing = next;
                }
                self.letters.push(Letter::Accepted {
                    founder: founding.founder,
                    cluster_id: founding.cluster_id,
                    by: slot.disk,
                });
            }
            Letter::Accepted {
                founder,
                cluster_id,
                by,
            } => {
                let Some(at) = self.slots.iter().position(|slot| slot.disk == founder) else {
                    return;
                };
                let slot = &mut self.slots[at];
                if slot.standing.stance() == Stance::Holds(cluster_id)
                    && let Some(missing) = &mut slot.missing
                {
                    missing.remove(&by);
                    self.settle(at);
                }
            }
            Letter::Joined { disk, cluster_id } => {
                let slot = self.slots.iter_mut().find(|slot| slot.disk == disk);
                if let Some(slot) = slot.filter(|slot| slot.standing == Standing::Fresh) {
                    slot.standing = Standing::Member(Membership {
                        cluster_id,
                        me: 99,
                        partitions: 16,
                        replication_factor: 3,
                        founding: None,
                        voters: BTreeSet::new(),
                    });
                }
            }
        }
    }

    /// Two foundings that hold never share a node.
    fn check(&self) {
        let mut holder = BTreeMap::new();
        for founding in &self.held {
            for (_, info) in &founding.nodes {
                let other = holder.insert(info.disk, founding.cluster_id);
                assert_eq!(other, None, "a node founded two clusters");
            }
        }
    }

    fn clusters(&self) -> BTreeSet<u128> {
        let stances = self.slots.iter().map(|slot| slot.standing.stance());
        stances.filter_map(Stance::cluster).collect()
    }

    /// Everybody is up, everything arrives.
    fn heal(&mut self) {
        for _ in 0..12 {
            for at in 0..self.slots.len() {
                self.take(Step::Round(at));
                while !self.letters.is_empty() {
                    self.take(Step::Deliver(0));
                }
            }
        }
    }

    /// Somebody accepted a founding whose founder's disk is lost.
    fn is_in_doubt(&self) -> bool {
        self.slots.iter().any(|slot| match &slot.standing {
            Standing::Accepted(founding) => {
                self.slots.iter().all(|slot| slot.disk != founding.founder)
            }
            _ => false,
        })
    }

    fn is_one(&self) -> bool {
        let mut stances = self.slots.iter().map(|slot| slot.standing.stance());
        stances.all(|stance| stance.cluster().is_some()) && self.clusters().len() == 1
    }
}

fn any_step(wipes: bool) -> impl Strategy<Value = Step> {
    let at = 0..5_usize;
    let wipe = if wipes { 1 } else { 0 };
    prop_oneof![
        2 => at.clone().prop_map(Step::Begin),
        6 => (at.clone(), at.clone()).prop_map(|(at, seed)| Step::Hear(at, seed)),
        3 => at.clone().prop_map(Step::End),
        8 => at.clone().prop_map(Step::Round),
        6 => (0..20_usize).prop_map(Step::Deliver),
        1 => (0..20_usize).prop_map(Step::Repeat),
        1 => (0..20_usize).prop_map(Step::Lose),
        1 => at.clone().prop_map(Step::Restart),
        wipe => at.prop_map(Step::Wipe),
    ]
}

/// Every node has all nodes behind its seeds, in any order and some of them twice.
fn any_seeds() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1..=5_usize).prop_flat_map(|count| {
        let seeds = prop::collection::vec(0..count, 0..3).prop_map(move |twice| {
            let all = 0..count;
            all.chain(twice).collect::<Vec<_>>()
        });
        prop::collection::vec(seeds.prop_shuffle(), count)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_late_lost_or_restarted_there_is_one_cluster_in_the_end(
        seeds in any_seeds(),
        steps in prop::collection::vec(any_step(false), 0..150),
    ) {
        let mut world = World::new(seeds);
        for step in steps {
            world.take(step);
            prop_assert!(world.clusters().len() <= 1, "{world:#?}");
        }
        world.heal();
        prop_assert!(world.is_one(), "{world:#?}");
    }

    #[test]
    fn wiped_disks_make_no_second_cluster(
        seeds in any_seeds(),
        steps in prop::collection::vec(any_step(true), 0..200),
    ) {
        let mut world = World::new(seeds);
        for step in steps {
            world.take(step);
            prop_assert!(world.clusters().len() <= 1, "{world:#?}");
        }
        world.heal();
        prop_assert!(world.clusters().len() <= 1, "{world:#?}");
        prop_assert!(world.is_one() || world.is_in_doubt(), "{world:#?}");
    }

    #[test]
    fn seeds_that_differ_make_no_node_a_founder_of_two_clusters(
        seeds in (2..=5_usize).prop_flat_map(|count| {
            prop::collection::vec(prop::collection::vec(0..count, 1..=count), count)
        }),
        steps in prop::collection::vec(any_step(true), 0..200),
    ) {
        let mut world = World::new(seeds);
        for step in steps {
            // Here a node may hear two clusters, which stops it.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.take(step)));
            if let Err(why) = outcome {
                let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                prop_assert!(why.starts_with("the seeds belong to different clusters"), "{why}");
                return Ok(());
            }
        }
    }
}

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
