//! Clocks that are wrong.

use super::Kind;
use crate::random::Random;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    let nodes = world.nodes();
    let Some(node) = random.pick(&nodes) else {
        return;
    };
    // What the clock shows just before it is set counts as shown.
    world.greatest_clock_ms();
    match kind {
        Kind::ClockJump => {
            let most_ms = [200, 5_000, 3_600_000][random.below(3) as usize];
            node.clock.jump(random.signed(-most_ms, most_ms));
        }
        Kind::ClockDrift => node.clock.drift(random.signed(-500, 500)),
        Kind::ClockStop => node.clock.drift(-1_000_000),
        _ => return,
    }
    world.greatest_clock_ms();
    world.faults.add(kind, 1);
    let (clock, lasts) = (Arc::clone(&node.clock), random.between(500, 10_000));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        world.greatest_clock_ms();
        clock.correct();
    });
}
