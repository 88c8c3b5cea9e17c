//! The cluster through the catalog: commands in, a restart, the same again.

use super::super::cluster_command::ClusterCommand;
use super::super::nodes::{Drain, NodeState, PutNode};
use super::super::placement::{BeginChange, Change};
use super::super::{Command, Outcome};
use super::*;
use crate::partition::LogPosition;
use crate::store::MemoryStore;
use proptest::prelude::*;

fn named(name: &str, disk: u128) -> NodeInfo {
    NodeInfo {
        name: name.into(),
        disk,
        zone: name.into(),
        ..NodeInfo::default()
    }
}

fn found(nodes: u64) -> Found {
    let info = ClusterInfo {
        id: 77,
        partitions: 8,
        replication_factor: 3,
    };
    let nodes = (1..=nodes).map(|id| (id, named(&format!("n{id}"), u128::from(id))));
    Found::new(info, nodes.collect(), 5)
}

/// A catalog and the entries it was given.
struct Scene {
    store: MemoryStore,
    catalog: Catalog<MemoryStore>,
    index: u64,
}

impl Scene {
    fn new() -> Self {
        let store = MemoryStore::new();
        Self {
            catalog: Catalog::open(store.clone()).unwrap(),
            store,
            index: 0,
        }
    }

    fn founded() -> Self {
        let mut scene = Self::new();
        let outcome = scene.apply(ClusterCommand::Found(found(3)));
        assert_eq!(outcome, Outcome::Done);
        scene
    }

    fn apply(&mut self, command: ClusterCommand) -> Outcome {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        let body = Command::from(command).encode();
        self.catalog.apply(position, &body).unwrap()
    }

    fn cluster(&self) -> &Cluster {
        self.catalog.cluster().unwrap()
    }

    fn join(&mut self, name: &str, disk: u128) -> Outcome {
        let info = named(name, disk);
        self.apply(ClusterCommand::PutNode(PutNode { info, now_ms: 9 }))
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut scene = Scene::founded();
    let cluster = scene.cluster().clone();
    assert_eq!(cluster.placements.len(), 8);
    assert!(
        cluster
            .placements
            .iter()
            .all(|it| it.replicas.len() == 3 && it.epoch == 1)
    );
    let mut other = found(1);
    other.info.id = 78;
    assert_eq!(scene.apply(ClusterCommand::Found(other)), Outcome::Exists);
    assert_eq!(scene.cluster(), &cluster);
}

#[test]
fn a_founding_that_contradicts_itself_is_refused() {
    let spoilt: [fn(&mut Found); 10] = [
        |found| found.nodes.clear(),
        |found| found.nodes[0].0 = 0,
        |found| found.nodes[0].0 = 2,
        |found| found.nodes[0].1.name = "n2".into(),
        |found| found.nodes[0].1.disk = 2,
        |found| found.info.partitions = 0,
        |found| found.info.replication_factor = 0,
        |found| drop(found.replicas.pop()),
        |found| found.replicas[0] = vec![1, 1],
        |found| found.replicas[0] = vec![4],
    ];
    for (at, spoil) in spoilt.into_iter().enumerate() {
        let mut scene = Scene::new();
        let mut found = found(3);
        spoil(&mut found);
        assert_eq!(
            scene.apply(ClusterCommand::Found(found)),
            Outcome::Invalid,
            "{at}"
        );
        assert_eq!(scene.catalog.cluster(), None);
    }
    let mut large = found(1).info;
    large.partitions = u32::MAX;
    let found = Found::new(large, vec![(1, named("a", 1))], 0);
    assert_eq!(
        Scene::new().apply(ClusterCommand::Found(found)),
        Outcome::Invalid
    );
}

#[test]
fn without_a_cluster_there_is_nothing_to_change() {
    let mut scene = Scene::new();
    assert_eq!(scene.join("a", 1), Outcome::NotFound);
    let finish = ClusterCommand::FinishChange {
        partition: 0,
        epoch: 1,
    };
    assert_eq!(scene.apply(finish), Outcome::NotFound);
    assert_eq!(Catalog::open(scene.store).unwrap().cluster(), None);
}

#[test]
fn a_cluster_survives_a_restart_with_a_change_under_way() {
    let mut scene = Scene::founded();
    assert_eq!(scene.join("n4", 4), Outcome::Node(4));
    let begin = BeginChange {
        partition: 2,
        epoch: 1,
        change: Change {
            add: Some(4),
            remove: Some(1),
        },
    };
    assert_eq!(
        scene.apply(ClusterCommand::BeginChange(begin)),
        Outcome::Done
    );
    let draining = ClusterCommand::SetDraining {
        id: 1,
        drain: Drain::Replicas,
        now_ms: 12,
    };
    assert_eq!(scene.apply(draining), Outcome::Done);
    let reopened = Catalog::open(scene.store.clone()).unwrap();
    assert_eq!(reopened.cluster(), Some(scene.cluster()));
    assert_eq!(scene.cluster().placements[2].change, Some(begin.change));

    let end = ClusterCommand::FinishChange {
        partition: 2,
        epoch: 2,
    };
    assert_eq!(scene.apply(end), Outcome::Done);
    let replicas = &scene.cluster().placements[2].replicas;
    assert!(replicas.contains(&4) && !replicas.contains(&1));
}

#[test]
fn a_node_with_replicas_is_removed_only_by_force() {
    let mut scene = Scene::founded();
    let remove = |force| ClusterCommand::RemoveNode {
        id: 3,
        force,
        now_ms: 20,
    };
    assert_eq!(scene.apply(remove(false)), Outcome::InUse);
    assert_eq!(scene.apply(remove(true)), Outcome::Done);
    assert_eq!(scene.cluster().nodes[&3].state, NodeState::Gone);
    assert_eq!(scene.join("n3", 3), Outcome::Gone);
    assert_eq!(scene.join("n3", 33), Outcome::Node(4));
}

fn any_info() -> impl Strategy<Value = NodeInfo> {
    (any::<u128>(), prop::collection::vec(any::<String>(), 8)).prop_map(|(disk, texts)| {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap_or_default();
        NodeInfo {
            disk,
            name: text(),
            cluster_addr: text(),
            grpc_addr: text(),
            http_addr: text(),
            rack: text(),
            zone: text(),
            region: text(),
            version: text(),
        }
    })
}

fn any_drain() -> impl Strategy<Value = Drain> {
    prop_oneof![
        Just(Drain::Nothing),
        Just(Drain::Leaders),
        Just(Drain::Replicas)
    ]
}

fn any_command() -> impl Strategy<Value = ClusterCommand> {
    let found = (
        any::<(u128, u32, u32)>(),
        prop::collection::vec((any::<u64>(), any_info()), 0..3),
        prop::collection::vec(prop::collection::vec(any::<u64>(), 0..4), 0..4),
        any::<i64>(),
    );
    prop_oneof![
        found.prop_map(
            |((id, partitions, replication_factor), nodes, replicas, now_ms)| {
                let info = ClusterInfo {
                    id,
                    partitions,
                    replication_factor,
                };
                ClusterCommand::Found(Found {
                    info,
                    nodes,
                    replicas,
                    now_ms,
                })
            }
        ),
        (any_info(), any::<i64>())
            .prop_map(|(info, now_ms)| ClusterCommand::PutNode(PutNode { info, now_ms })),
        (any::<u64>(), any_drain(), any::<i64>())
            .prop_map(|(id, drain, now_ms)| ClusterCommand::SetDraining { id, drain, now_ms }),
        any::<(u64, String)>().prop_map(|(id, zone)| ClusterCommand::SetZone { id, zone }),
        any::<(u32, u64)>()
            .prop_map(|(partition, id)| ClusterCommand::PreferLeader { partition, id }),
        any::<(u64, bool, i64)>().prop_map(|(id, force, now_ms)| ClusterCommand::RemoveNode {
            id,
            force,
            now_ms
        }),
        any::<(u32, u64, Option<u64>, Option<u64>)>().prop_map(
            |(partition, epoch, add, remove)| {
                ClusterCommand::BeginChange(BeginChange {
                    partition,
                    epoch,
                    change: Change { add, remove },
                })
            }
        ),
        any::<(u32, u64)>()
            .prop_map(|(partition, epoch)| ClusterCommand::FinishChange { partition, epoch }),
        any::<(u32, u64)>()
            .prop_map(|(partition, epoch)| ClusterCommand::AbortChange { partition, epoch }),
    ]
}

/// Commands that often mean something to a small cluster.
fn near_command() -> impl Strategy<Value = ClusterCommand> {
    let change = (prop::option::of(1..7_u64), prop::option::of(1..7_u64));
    prop_oneof![
        Just(ClusterCommand::Found(found(3))),
        (1..5_u8, 1..9_u128).prop_map(|(name, disk)| {
            let info = named(&format!("n{name}"), disk);
            ClusterCommand::PutNode(PutNode { info, now_ms: 9 })
        }),
        (1..7_u64, any_drain()).prop_map(|(id, drain)| ClusterCommand::SetDraining {
            id,
            drain,
            now_ms: 10
        }),
        (0..3_u32, 1..7_u64)
            .prop_map(|(partition, id)| ClusterCommand::PreferLeader { partition, id }),
        (1..7_u64, "z?").prop_map(|(id, zone)| ClusterCommand::SetZone { id, zone }),
        (1..7_u64, any::<bool>()).prop_map(|(id, force)| ClusterCommand::RemoveNode {
            id,
            force,
            now_ms: 11
        }),
        (0..3_u32, 1..5_u64, change).prop_map(|(partition, epoch, (add, remove))| {
            ClusterCommand::BeginChange(BeginChange {
                partition,
                epoch,
                change: Change { add, remove },
            })
        }),
        (0..3_u32, 1..5_u64)
            .prop_map(|(partition, epoch)| ClusterCommand::FinishChange { partition, epoch }),
        (0..3_u32, 1..5_u64)
            .prop_map(|(partition, epoch)| ClusterCommand::AbortChange { partition, epoch }),
    ]
}

fn check(cluster: &Cluster) {
    let names: Vec<_> = (cluster.nodes.values())
        .filter(|node| node.state != NodeState::Gone)
        .map(|node| &node.info.name)
        .collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), different.len(), "two nodes of one name");
    let is_active = |node: &Node| node.state.holds_replicas();
    assert!(cluster.nodes.values().any(is_active), "nobody is left");
    let disks: BTreeSet<_> = cluster.nodes.values().map(|node| node.info.disk).collect();
    assert_eq!(disks.len(), cluster.nodes.len(), "two nodes of one disk");
    for placement in &cluster.placements {
        let different: BTreeSet<_> = placement.replicas.iter().collect();
        assert_eq!(different.len(), placement.replicas.len());
        assert!(!different.is_empty());
        assert!(
            different
                .iter()
                .all(|node| cluster.nodes.contains_key(node))
        );
    }
}

proptest! {
    #[test]
    fn commands_come_back(command in any_command()) {
        let command = Command::from(command);
        let body = command.encode();
        for cut in 0..body.len() {
            prop_assert!(Command::decode(&body[..cut]).is_err());
        }
        prop_assert_eq!(Command::decode(&body), Ok(command));
    }

    #[test]
    fn any_bytes_are_refused_or_read(kind in 7_u8..15, body in prop_oneof![
        any::<Vec<u8>>(),
        prop::collection::vec(0_u8..4, 3..60),
    ]) {
        let body = [vec![1, kind], body].concat();
        if let Ok(command) = Command::decode(&body) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
        if let Ok(cluster) = Cluster::decode(&body) {
            prop_assert_eq!(Cluster::decode(&cluster.encode()), Ok(cluster));
        }
    }

    #[test]
    fn whatever_comes_leaves_a_cluster_that_makes_sense(
        commands in prop::collection::vec(near_command(), 0..40)
    ) {
        let mut scene = Scene::founded();
        for command in commands {
            scene.apply(command);
            check(scene.cluster());
        }
        let reopened = Catalog::open(scene.store.clone()).unwrap();
        prop_assert_eq!(reopened.cluster(), Some(scene.cluster()));
    }
}
