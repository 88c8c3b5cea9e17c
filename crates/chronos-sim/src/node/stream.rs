//! The way of a leader's deliveries to one consumer: what is handed out waits until the consumer reads,
//! and leaves only if the node still leads.

use super::message::Sent;
use super::process::Process;
use crate::history::Delivery;
use crate::network::{Endpoint, Fate};
use crate::random::Random;
use crate::world::{Phase, World};
use chronos_core::mutant;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// While it is not known whether the node leads, it is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// A delivery that is handed out.
#[derive(Debug)]
pub struct Handed {
    /// What is written down when it leaves.
    pub delivery: Delivery,
    /// When it was handed out.
    pub at: Instant,
}

/// A stream to one consumer.
pub struct Stream {
    /// The run.
    pub world: Arc<World>,
    /// The process that it is of.
    pub process: Arc<Process>,
    /// The consumer.
    pub member: u64,
    /// What the leader hands out.
    pub handed: mpsc::UnboundedReceiver<Handed>,
    /// To the consumer.
    pub sink: mpsc::UnboundedSender<Sent>,
    /// How long the consumer does not read.
    pub random: Random,
}

impl Stream {
    /// Goes on until the leader, the consumer or the network ends it.
    pub async fn run(mut self) {
        while let Some(handed) = self.handed.recv().await {
            let reads = Duration::from_millis(self.reads_after_ms());
            tokio::time::sleep_until(handed.at + reads).await;
            self.process.resumed().await;
            if !self.may_leave(handed.delivery.term).await || self.is_over() {
                return;
            }
            if !self.leave(handed.delivery) {
                return;
            }
        }
    }

    /// Whether the leader or the consumer has ended it. What was handed out goes to others then.
    fn is_over(&self) -> bool {
        self.handed.is_closed() || self.sink.is_closed()
    }

    fn reads_after_ms(&mut self) -> u64 {
        match self.random.weighted(&[84, 12, 4]) {
            _ if self.world.phase() > Phase::Safety => 0,
            0 => 0,
            1 => self.random.between(1, 20),
            _ => self.random.between(50, 1_900),
        }
    }

    /// Whether the node leads in this term, once that is known. The lease is asked for at the moment of
    /// leaving: since the delivery was handed out another node may have come to lead.
    async fn may_leave(&self, term: u64) -> bool {
        loop {
            let lead = self.process.group.leadership().get();
            if mutant!("leave-without-lease") || self.process.group.holds_lease_in(term) {
                return true;
            }
            if !lead.leads || lead.term != term {
                return false;
            }
            tokio::time::sleep(ASK_AGAIN).await;
            self.process.resumed().await;
        }
    }

    /// Sends it. Says whether the connection is whole.
    fn leave(&self, mut delivery: Delivery) -> bool {
        let (key, attempt) = (delivery.key, delivery.attempt);
        let (world, from) = (&self.world, Endpoint::Node(self.process.node));
        world.say(
            &self.process,
            format_args!(
                "sends {key:?} attempt {attempt} to {}/{}",
                delivery.group, self.member
            ),
        );
        delivery.sent_us = world.time.now_us();
        world.history.records().deliveries.push(delivery);
        match world
            .network
            .send(from, Endpoint::Client(self.member), false)
        {
            Fate::Lost => false,
            Fate::Arrives { after, .. } => {
                let arrives = Instant::now() + after;
                let sent = Sent {
                    key,
                    attempt,
                    arrives,
                };
                self.sink.send(sent).is_ok()
            }
        }
    }
}
