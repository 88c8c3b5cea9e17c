//! Consumers: they join a group, answer what they get, now and then badly or not at all, and go
//! away and come back.

use super::client::Client;
use crate::faults::Kind;
use crate::history::{AnswerCall, Outcome};
use crate::node::{ACK_TIMEOUT, Request, Sent};
use crate::world::{Phase, World};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Consumes until the run is over. Members of one group have different numbers.
pub async fn run(world: Arc<World>, number: u64, group: String, topic: &'static str) {
    let mut consumer = Consumer {
        client: Client::new(&world, number),
        world,
        group,
        topic,
    };
    while consumer.world.phase() < Phase::Over {
        if let Some(deliveries) = consumer.join().await {
            consumer.consume(deliveries).await;
        }
        let pause_ms = consumer.client.random.between(20, 300);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

struct Consumer {
    client: Client,
    world: Arc<World>,
    group: String,
    topic: &'static str,
}

impl Consumer {
    async fn join(&mut self) -> Option<mpsc::UnboundedReceiver<Sent>> {
        let (sink, deliveries) = mpsc::unbounded_channel();
        let credit = self.client.random.between(1, 20) as usize;
        let member = self.client.number;
        let (group, topic) = (self.group.clone(), self.topic);
        let (_, outcome) = self
            .client
            .call(|reply| Request::Join {
                group: group.clone(),
                topic,
                member,
                credit,
                sink: sink.clone(),
                reply,
            })
            .await;
        // The node holds the only other end, so that its end ends the deliveries.
        matches!(outcome, Outcome::Done(())).then_some(deliveries)
    }

    async fn consume(&mut self, mut deliveries: mpsc::UnboundedReceiver<Sent>) {
        let is_restless = self.world.plan.faults.contains(&Kind::ConsumerLeft);
        let stays_ms = self.client.random.between(500, 20_000);
        let leaves = tokio::time::Instant::now() + Duration::from_millis(stays_ms);
        loop {
            let sent = tokio::select! {
                biased;
                sent = deliveries.recv() => sent,
                () = tokio::time::sleep_until(leaves), if is_restless && self.is_faulty() => {
                    self.world.faults.add(Kind::ConsumerLeft, 1);
                    return;
                }
                // A group that nobody sends to any more is asked for anew.
                () = tokio::time::sleep(Duration::from_secs(5)) => return,
            };
            let Some(sent) = sent else {
                return;
            };
            tokio::time::sleep_until(sent.arrives).await;
            self.answer(sent).await;
        }
    }

    fn is_faulty(&self) -> bool {
        self.world.phase() == Phase::Safety
    }

    async fn answer(&mut self, sent: Sent) {
        let random = &mut self.client.random;
        tokio::time::sleep(Duration::from_millis(random.below(3))).await;
        let mood = random.weighted(&[88, 7, 3, 2]);
        let success = match mood {
            _ if !self.is_faulty() => true,
            1 => false,
            2 => return,
            3 => {
                tokio::time::sleep(ACK_TIMEOUT + Duration::from_millis(50)).await;
                true
            }
            _ => true,
        };
        let (group, topic) = (self.group.clone(), self.topic);
        let Sent { key, attempt, .. } = sent;
        let (span, outcome) = self
            .client
            .call(|reply| Request::Answer {
                group: group.clone(),
                topic,
                key,
                attempt,
                success,
                reply,
            })
            .await;
        self.world.say(
            &format_args!("c{}", self.client.number),
            format_args!("answered {key:?} attempt {attempt} with {success}: {outcome:?}"),
        );
        self.world.history.records().answers.push(AnswerCall {
            group: self.group.clone(),
            key,
            attempt,
            success,
            span,
            outcome,
        });
    }
}
