//! What all clients have in common: whom they ask, and how often.

use crate::history::{Outcome, Span};
use crate::node::{Reply, Request};
use crate::random::Random;
use crate::world::{CallError, World};
use std::sync::Arc;
use std::time::Duration;

/// How often a refused call goes to another node before its client gives up.
const MOST_TRIES: u32 = 6;

/// A client.
pub struct Client {
    /// Its number.
    pub number: u64,
    /// Its chance.
    pub random: Random,
    world: Arc<World>,
    /// Who led when it last heard of that.
    leader: Option<u64>,
}

impl Client {
    /// A client that knows nobody yet.
    #[must_use]
    pub fn new(world: &Arc<World>, number: u64) -> Self {
        Self {
            number,
            random: world.plan.random(&format!("client {number}")),
            world: Arc::clone(world),
            leader: None,
        }
    }

    /// Asks whoever leads, or did.
    pub async fn call<T>(
        &mut self,
        mut request: impl FnMut(Reply<T>) -> Request,
    ) -> (Span, Outcome<T>) {
        let mut span = Span {
            invoked_us: self.world.time.now_us(),
            returned_us: i64::MAX,
        };
        let mut outcome = Outcome::Refused;
        for _ in 0..MOST_TRIES {
            let Some(node) = self.target() else {
                break;
            };
            match self.world.call(self.number, node, &mut request).await {
                Ok(answer) => {
                    outcome = Outcome::Done(answer);
                    break;
                }
                Err(CallError::Refused(leader)) => {
                    self.leader = leader;
                    tokio::time::sleep(Duration::from_millis(self.random.between(10, 200))).await;
                }
                Err(CallError::Unknown) => {
                    self.leader = None;
                    outcome = Outcome::Unknown;
                    break;
                }
            }
        }
        if !matches!(outcome, Outcome::Unknown) {
            span.returned_us = self.world.time.now_us();
        }
        (span, outcome)
    }

    /// Whom to ask: who led last, or anyone.
    fn target(&mut self) -> Option<u64> {
        let nodes: Vec<u64> = self.world.nodes().iter().map(|node| node.number).collect();
        let known = self.leader.filter(|leader| nodes.contains(leader));
        self.leader = known.or_else(|| self.random.pick(&nodes).copied());
        self.leader
    }
}
