//! Deaths in the middle of a copy, which are too rare by themselves.

use super::{Kind, process};
use crate::node::Node;
use crate::random::Random;
use crate::world::{Phase, World};
use std::sync::Arc;
use std::time::Duration;

/// A copy begins. Now and then one of its two nodes does not live to its end.
pub(super) fn disturb(world: &Arc<World>, taker: &Arc<Node>, giver: u64, random: &mut Random) {
    let giver = world.node(giver);
    let (kind, dies) = match random.weighted(&[55, 25, 10, 10]) {
        1 => (Kind::Kill, Some(Arc::clone(taker))),
        2 => (Kind::PowerLoss, Some(Arc::clone(taker))),
        3 => (Kind::Kill, giver),
        _ => return,
    };
    let (Some(dies), true) = (dies, world.plan.faults.contains(&kind)) else {
        return;
    };
    let (seed, after_ms) = (random.number(), random.between(1, 150));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        if world.phase() != Phase::Safety {
            return;
        }
        match kind {
            Kind::PowerLoss => process::take_power(&world, &dies, seed),
            _ => dies.kill(),
        }
        world.faults.add(kind, 1);
    });
}
