//! Starts a node's process again whenever it ends, as whatever runs servers does.

use crate::node::{Node, StartError};
use crate::rules::Rule;
use crate::world::{Phase, World};
use std::sync::Arc;
use std::time::Duration;

/// Keeps a node running until the run is over.
pub async fn supervise(world: Arc<World>, node: Arc<Node>) {
    let mut random = world.plan.random(&format!("supervisor of {}", node.number));
    while world.phase() < Phase::Over && world.node(node.number).is_some() {
        match node.start(&world).await {
            Ok(process) => {
                let stopped = process.group.stopped().await;
                if node.is_running(&process) {
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
        let pause_ms = random.between(20, 2_000);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}
