//! Random lives of clusters: nodes join, die, are wiped, drained and removed, steps get lost or come
//! late. In the end everything is where it should be, and nothing on the way took a quorum.

use super::world::World;
use crate::catalog::{Drain, NUMBER, NodeState, catalog_voters};
use crate::placement::{Step, leads, plan, progress};
use crate::types::NodeId;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Event {
    Join(usize),
    Kill(Index),
    Revive(Index),
    Wipe(Index),
    Drain(Index, Drain),
    Remove(Index),
    Unfit(Index),
    /// Plans are made and followed; a mask says which steps are lost, and which come late.
    Plans(usize, u64, u64),
    /// Time without plans.
    Silence(u8),
}

fn any_drain() -> impl Strategy<Value = Drain> {
    prop_oneof![
        Just(Drain::Nothing),
        Just(Drain::Leaders),
        Just(Drain::Replicas)
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Event::Join),
        3 => any::<Index>().prop_map(Event::Kill),
        3 => any::<Index>().prop_map(Event::Revive),
        1 => any::<Index>().prop_map(Event::Wipe),
        2 => (any::<Index>(), any_drain()).prop_map(|(at, drain)| Event::Drain(at, drain)),
        1 => any::<Index>().prop_map(Event::Remove),
        1 => any::<Index>().prop_map(Event::Unfit),
        8 => (1..30_usize, any::<u64>(), any::<u64>())
            .prop_map(|(plans, lost, late)| Event::Plans(plans, lost, late & lost.rotate_left(7))),
        1 => any::<u8>().prop_map(Event::Silence),
    ]
}

struct Life {
    world: World,
    zones: &'static [&'static str],
    late: Vec<Step>,
}

impl Life {
    fn pick(&self, index: &Index) -> Option<NodeId> {
        let present =
            (self.world.cluster().nodes.values()).filter(|node| node.state != NodeState::Gone);
        let ids: Vec<_> = present.map(|node| node.id).collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Join(zone) => {
                if self.world.cluster().nodes.len() < 9 {
                    let zone = self.zones[zone % self.zones.len()];
                    self.world.join(zone);
                }
            }
            Event::Plans(plans, lost, late) => self.follow(*plans, *lost, *late),
            Event::Silence(ticks) => (0..*ticks).for_each(|_| self.world.elapse()),
            Event::Kill(at)
            | Event::Revive(at)
            | Event::Wipe(at)
            | Event::Drain(at, _)
            | Event::Remove(at)
            | Event::Unfit(at) => {
                if let Some(node) = self.pick(at) {
                    self.meet(event, node);
                }
            }
        }
    }

    fn meet(&mut self, event: &Event, node: NodeId) {
        let world = &mut self.world;
        match event {
            Event::Kill(_) => world.kill(node),
            Event::Revive(_) => drop(world.dead.remove(&node)),
            Event::Drain(_, drain) => drop(world.drain(node, *drain)),
            Event::Unfit(_) => {
                world.unfit = BTreeSet::from([node]);
            }
            // More than can be lost is another story than the planner's.
            Event::Wipe(_) if world.can_lose(node) => drop(world.wipe(node)),
            Event::Remove(_) if world.can_lose(node) => drop(world.remove(node, true)),
            _ => {}
        }
    }

    fn follow(&mut self, plans: usize, mut lost: u64, mut late: u64) {
        for _ in 0..plans {
            for step in std::mem::take(&mut self.late) {
                self.world.execute_late(&step);
            }
            for step in plan(&self.world.view()) {
                (lost, late) = (lost.rotate_left(1), late.rotate_left(1));
                match (lost & 1 == 1, late & 1 == 1) {
                    (_, true) => self.late.push(step),
                    (true, false) => {}
                    (false, false) => self.world.execute(&step),
                }
            }
            self.world.elapse();
        }
    }
}

fn difference(loads: &BTreeMap<NodeId, usize>) -> usize {
    loads.values().max().unwrap_or(&0) - loads.values().min().unwrap_or(&0)
}

/// Everything is where it should be.
fn check_settled(world: &World, is_even: bool) {
    let cluster = world.cluster();
    let active: Vec<NodeId> = (cluster.nodes.values())
        .filter(|node| node.state == NodeState::Active)
        .map(|node| node.id)
        .collect();
    let copies = active.len().min(cluster.info.replication_factor as usize);
    let mut replicas: BTreeMap<NodeId, usize> = active.iter().map(|id| (*id, 0)).collect();
    let mut leaders = replicas.clone();
    let placed: Vec<Vec<NodeId>> = (cluster.placements.iter())
        .map(|placement| placement.replicas.clone())
        .collect();
    for (partition, of) in (0..).zip(&placed) {
        let different: BTreeSet<NodeId> = of.iter().copied().collect();
        assert_eq!(different.len(), copies, "partition {partition}: {of:?}");
        let group = &world.groups[&partition];
        assert_eq!(group.voters, different, "partition {partition}");
        assert!(group.learners.is_empty(), "partition {partition}");
        for node in of {
            *replicas
                .get_mut(node)
                .expect("replicas on active nodes only") += 1;
        }
        *leaders
            .get_mut(&group.leader.unwrap())
            .expect("leaders on active nodes only") += 1;
    }
    if is_even {
        assert!(difference(&replicas) <= 1, "replicas {replicas:?}");
    }
    let mut even = replicas.clone();
    even.values_mut().for_each(|count| *count = 0);
    for lead in leads(&placed).into_iter().flatten() {
        *even.get_mut(&lead).unwrap() += 1;
    }
    assert_eq!(leaders, even, "leaders");

    let catalog = &world.groups[&NUMBER];
    let voters: Vec<NodeId> = catalog.voters.iter().copied().collect();
    assert_eq!(catalog_voters(&cluster.nodes, &voters, |_| false), voters);
    let progress = progress(&world.view());
    assert_eq!(
        (progress.under_way, progress.to_make, progress.to_transfer),
        (0, 0, 0)
    );
    assert!(progress.waiting.is_empty(), "{:?}", progress.waiting);
    for node in cluster
        .nodes
        .values()
        .filter(|node| node.state != NodeState::Active)
    {
        assert!(progress.is_empty(node.id), "node {} is not empty", node.id);
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_cluster_settles_and_keeps_its_quorums(
        nodes in 1..6_usize, partitions in 1..12_u32, rf in 1..5_u32, zoned in any::<bool>(),
        events in prop::collection::vec(event(), 0..30),
    ) {
        let zones: &[&str] = if zoned { &["a", "b", "c"] } else { &[""] };
        let of_nodes: Vec<&str> = zones.iter().copied().cycle().take(nodes).collect();
        let mut life = Life {
            world: World::new(&of_nodes, partitions, rf),
            zones,
            late: Vec::new(),
        };
        for event in &events {
            life.happen(event);
        }
        let mut world = life.world;
        world.dead.clear();
        world.unfit.clear();
        // Those that were to be restarted lead again.
        let following: Vec<NodeId> = (world.cluster().nodes.values())
            .filter(|node| node.state == NodeState::Following)
            .map(|node| node.id)
            .collect();
        for node in following {
            world.drain(node, Drain::Nothing);
        }
        world.elapse();
        world.settle(2_000);
        check_settled(&world, !zoned);
    }
}
