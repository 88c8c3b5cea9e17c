//! Starts a node's process again whenever it ends, as whatever runs servers does, and has it copied
//! when it is too far behind.

use super::{Kind, copy};
use crate::node::{self, Node, Process, StartError};
use crate::rules::Rule;
use crate::world::{Phase, World};
use chronos_raft::SeedWanted;
use std::sync::Arc;
use std::time::Duration;

/// Keeps a node running until the run is over.
pub async fn supervise(world: Arc<World>, node: Arc<Node>) {
    let mut random = world.plan.random(&format!("supervisor of {}", node.number));
    while world.phase() < Phase::Over && world.node(node.number).is_some() {
        match node.start(&world).await {
            Ok(process) => {
                let stopped = tokio::select! {
                    biased;
                    stopped = process.group.stopped() => Some(stopped),
                    wanted = process.wants_copy() => {
                        copy::disturb(&world, &node, wanted.leader, &mut random);
                        take_copy(&world, &node, &process, wanted).await;
                        None
                    }
                };
                if let Some(stopped) = stopped
                    && node.is_running(&process)
                {
                    let reason = process.failure().unwrap_or(stopped);
                    let text = format!("node {} stops: {reason}", node.number);
                    world.say(&process, format_args!("{text}"));
                    let is_explained = node.is_disturbed() || node.disk.files.is_cut();
                    if !is_explained || reason.contains("panicked") {
                        world.verdict.add(Rule::Stopped, text);
                    }
                    node.kill();
                }
            }
            Err(StartError::Killed) => {}
            Err(error) => {
                let text = format!("node {} does not start: {error}", node.number);
                world.say(&format_args!("n{}", node.number), format_args!("{text}"));
                if !node.is_disturbed() && !node.disk.files.is_cut() {
                    world.verdict.add(Rule::Stopped, text);
                }
            }
        }
        // Often so soon that what the last process promised still binds this one.
        let most_ms = if random.percent(40) { 200 } else { 2_000 };
        let pause_ms = random.between(20, most_ms);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

async fn take_copy(world: &Arc<World>, node: &Node, process: &Arc<Process>, wanted: SeedWanted) {
    world.say(process, format_args!("needs a copy: {wanted:?}"));
    match node::copy(world, node, process, wanted).await {
        Ok(()) => {
            world.say(process, format_args!("has a copy"));
            world.faults.add(Kind::Copy, 1);
        }
        Err(error) => world.say(process, format_args!("has no copy: {error}")),
    }
}
