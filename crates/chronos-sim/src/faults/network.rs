//! Networks that are cut, and messages that fare badly.

use super::Kind;
use crate::network::{Endpoint, Weather};
use crate::random::Random;
use crate::world::{Phase, World};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    let lasts = Duration::from_millis(random.between(200, 8_000));
    let weather = match kind {
        Kind::DroppedMessage => Weather {
            drop: random.between(1, 30),
            ..Weather::default()
        },
        Kind::SlowMessage => Weather {
            slow: random.between(1, 30),
            ..Weather::default()
        },
        Kind::DuplicateMessage => Weather {
            duplicate: random.between(1, 30),
            ..Weather::default()
        },
        Kind::OvertakingMessage => Weather {
            overtake: random.between(1, 30),
            ..Weather::default()
        },
        Kind::Partition if random.percent(30) => {
            isolate_leader(world, random, lasts);
            world.faults.add(kind, 1);
            return;
        }
        Kind::Partition | Kind::OneWay | Kind::Flapping => {
            cut(world, random, kind, lasts);
            world.faults.add(kind, 1);
            return;
        }
        _ => return,
    };
    world.network.set_weather(weather);
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        world.network.set_weather(Weather::default());
    });
}

/// Separates the node that leads from the other nodes, or from as many as it can do without, and from
/// no client. Those that still hear of it may die, and then have to remember whom they acknowledged.
fn isolate_leader(world: &Arc<World>, random: &mut Random, lasts: Duration) {
    let Some(leader) = super::cluster::leader(world) else {
        return;
    };
    let mut others: Vec<_> = (world.nodes().into_iter())
        .filter(|node| node.number != leader.node)
        .collect();
    if random.percent(60) {
        let hearing = others.split_off(others.len() / 2);
        if world.plan.faults.contains(&Kind::Kill) {
            let after = Duration::from_millis(random.between(1_500, 3_000));
            let world = Arc::clone(world);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                for node in hearing.iter().filter(|_| world.phase() == Phase::Safety) {
                    node.kill();
                    world.faults.add(Kind::Kill, 1);
                }
            });
        }
    }
    let here = Endpoint::Node(leader.node);
    let ways: Vec<_> = (others.iter())
        .map(|node| Endpoint::Node(node.number))
        .flat_map(|there| [(here, there), (there, here)])
        .collect();
    for (from, to) in &ways {
        world.network.cut(*from, *to);
    }
    let lasts = lasts.max(Duration::from_secs(4));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        for (from, to) in ways {
            world.network.join(from, to);
        }
    });
}

/// Separates some from the others.
fn cut(world: &Arc<World>, random: &mut Random, kind: Kind, lasts: Duration) {
    let everyone: Vec<Endpoint> = (world.nodes().iter())
        .map(|node| Endpoint::Node(node.number))
        .chain((1..=world.plan.clients).map(Endpoint::Client))
        .collect();
    let (here, there): (Vec<_>, Vec<_>) = everyone.into_iter().partition(|_| random.percent(40));
    let mut ways = Vec::new();
    for a in &here {
        for b in &there {
            ways.push((*a, *b));
            if kind != Kind::OneWay {
                ways.push((*b, *a));
            }
        }
    }
    let flaps = if kind == Kind::Flapping { 6 } else { 1 };
    let world = Arc::clone(world);
    tokio::spawn(async move {
        for _ in 0..flaps {
            for (from, to) in &ways {
                world.network.cut(*from, *to);
            }
            tokio::time::sleep(lasts / flaps).await;
            for (from, to) in &ways {
                world.network.join(*from, *to);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}
