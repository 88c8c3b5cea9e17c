//! What clients do.
//!
//! | file | holds |
//! |---|---|
//! | `publisher.rs` | events published, published again, cancelled, moved, fired and looked at |
//! | `consumer.rs` | groups whose members ack, nack, do not answer, leave and come back |
//! | `client.rs` | whom they ask |

mod client;
mod consumer;
mod publisher;

use crate::history::{GroupCall, Outcome};
use crate::node::Request;
use crate::world::World;
use chronos_core::command::create_group::{CreateGroup, Start};
use client::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The topics.
pub const TOPICS: [&str; 2] = ["orders", "mail"];

/// Numbers of consumers begin here, those of publishers at 1.
const FIRST_CONSUMER: u64 = 100;

/// Starts all clients.
#[must_use]
pub fn start(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for number in 1..=world.plan.clients {
        tasks.push(tokio::spawn(publisher::run(Arc::clone(world), number)));
    }
    let mut random = world.plan.random("groups");
    for group in 0..world.plan.groups {
        let members = random.between(1, 3);
        // The first is there from the beginning, others arrive when events are waiting already.
        let after_ms = if group == 0 { 0 } else { random.below(15_000) };
        let start = match random.percent(70) {
            true => Start::Unclaimed,
            false => Start::Earliest,
        };
        let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
        tasks.push(tokio::spawn(run_group(
            Arc::clone(world),
            group,
            topic,
            start,
            members,
            Duration::from_millis(after_ms),
        )));
    }
    tasks
}

async fn run_group(
    world: Arc<World>,
    number: u64,
    topic: &'static str,
    start: Start,
    members: u64,
    after: Duration,
) {
    tokio::time::sleep(after).await;
    let first = FIRST_CONSUMER + 10 * number;
    let name = format!("group-{number}");
    let mut client = Client::new(&world, first);
    loop {
        let create = CreateGroup {
            name: name.clone(),
            topic: Some(topic.to_owned()),
            start,
            is_waited_for: true,
        };
        let (span, outcome) = client
            .call(|reply| Request::CreateGroup(create.clone(), reply))
            .await;
        let is_done = outcome == Outcome::Done(());
        world.history.records().groups.push(GroupCall {
            name: name.clone(),
            topic,
            start,
            span,
            outcome,
        });
        if is_done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let consumers = (1..=members)
        .map(|member| consumer::run(Arc::clone(&world), first + member, name.clone(), topic));
    futures::future::join_all(consumers).await;
}
