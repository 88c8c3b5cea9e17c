//! Processes that die and machines that lose power.

use super::Kind;
use crate::node::Node;
use crate::random::Random;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    let nodes = world.nodes();
    match kind {
        Kind::Kill => {
            if let Some(node) = random.pick(&nodes) {
                node.kill();
                world.faults.add(kind, 1);
            }
        }
        Kind::KillAll => {
            nodes.iter().for_each(|node| node.kill());
            world.faults.add(kind, 1);
        }
        Kind::PowerLoss => {
            if let Some(node) = random.pick(&nodes) {
                lose_power(world, node, random).await;
                world.faults.add(kind, 1);
            }
        }
        Kind::PowerLossAll => {
            for node in &nodes {
                take_power(world, node, random.number());
            }
            world.faults.add(kind, 1);
        }
        Kind::Pause => {
            let process = random.pick(&nodes).and_then(|node| node.process());
            if let Some(process) = process {
                let lasts = Duration::from_millis(random.between(100, 8_000));
                process.pause(true);
                world.faults.add(kind, 1);
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    process.pause(false);
                });
            }
        }
        _ => {}
    }
}

/// The power goes at once, or in the middle of one of the next calls that change something.
async fn lose_power(world: &World, node: &Arc<Node>, random: &mut Random) {
    let seed = random.number();
    if random.percent(70) {
        node.disk.files.cut_power_at(random.between(1, 12));
        for _ in 0..100 {
            if node.disk.files.is_cut() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    take_power(world, node, seed);
}

pub(super) fn take_power(world: &World, node: &Node, seed: u64) {
    let lost = node.lose_power(seed);
    world.faults.add(Kind::LostWrite, lost.sectors + lost.names);
    world.faults.add(Kind::TornWrite, lost.torn_sectors);
}
