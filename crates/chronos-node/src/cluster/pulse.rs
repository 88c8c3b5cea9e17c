//! Signs of life between nodes: who is there, who leads what, what clocks show.
//!
//! A node asks every other one each second, and at once when it gains or loses a lead. So every node
//! knows within a few milliseconds of an election where to send what it is asked.

use super::calls::Calls;
use super::hearing::{DEAD_AFTER, Hearing};
use super::routes::Routes;
use crate::engine::{Engine, clock};
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_proto::chronos_internal::{PulseAnswer, PulseRequest};
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// How often each node is asked at least.
const EVERY: Duration = Duration::from_secs(1);
/// How often until one has answered: before that, this node serves nothing.
const EVERY_AT_FIRST: Duration = Duration::from_millis(100);
/// Leads that change one after the other are told together.
const GATHER: Duration = Duration::from_millis(5);

/// The signs of life of a cluster.
pub struct Pulses {
    me: NodeId,
    /// By how much this node's clock may be off, microseconds.
    most_off_us: i64,
    cluster_id: u128,
    hearing: Hearing,
    routes: Arc<Routes>,
    clock: Mutex<ClockWatch>,
}

impl Pulses {
    /// Nobody was heard of yet.
    pub fn new(me: NodeId, cluster_id: u128, routes: Arc<Routes>, threshold: Duration) -> Self {
        let now = Instant::now();
        Self {
            me,
            most_off_us: i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX),
            cluster_id,
            hearing: Hearing::new(now),
            routes,
            clock: Mutex::new(ClockWatch::new(now)),
        }
    }

    /// Which nodes answer, and what their clocks show.
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Takes in what another node says of itself.
    ///
    /// # Errors
    /// When it is of another cluster.
    pub fn take(&self, pulse: &PulseRequest) -> Result<(), Status> {
        if pulse.cluster_id[..] != self.cluster_id.to_be_bytes() {
            return Err(Status::failed_precondition(
                "this node belongs to another cluster",
            ));
        }
        self.hearing.heard(pulse.node, Instant::now());
        self.learn(pulse.node, &pulse.partitions, &pulse.terms);
        Ok(())
    }

    fn take_answer(&self, node: NodeId, asked: Instant, asked_us: i64, answer: &PulseAnswer) {
        let now = Instant::now();
        let round_trip = now.saturating_duration_since(asked);
        let middle_us = asked_us + (round_trip.as_micros() / 2) as i64;
        self.hearing
            .answered(node, now, round_trip, answer.now_us - middle_us);
        self.learn(node, &answer.partitions, &answer.terms);
    }

    fn learn(&self, node: NodeId, partitions: &[PartitionNumber], terms: &[u64]) {
        for (partition, term) in partitions.iter().zip(terms) {
            self.routes.learn(*partition, *term, Some(node));
        }
    }

    fn pulse(&self, engine: &Engine) -> PulseRequest {
        let (partitions, terms): (Vec<_>, Vec<_>) = engine.replicas().leads().into_iter().unzip();
        self.learn(self.me, &partitions, &terms);
        PulseRequest {
            cluster_id: self.cluster_id.to_be_bytes().to_vec().into(),
            node: self.me,
            partitions,
            terms,
        }
    }

    /// Nodes whose clocks are off by more than the threshold.
    pub fn off(&self) -> BTreeSet<NodeId> {
        let offsets_us = self.hearing.offsets_us(self.me, Instant::now()).into_iter();
        let off = offsets_us.filter(|(_, offset_us)| offset_us.abs() > self.most_off_us);
        off.map(|(node, _)| node).collect()
    }

    fn heed_clock(&self) {
        let before = Instant::now();
        let wall_us = clock::now_us();
        let reading = before.elapsed();
        if self.clock.lock().was_set(before, wall_us, reading) {
            tracing::warn!("the clock of this machine was set");
            self.hearing.forget_clocks();
        }
    }
}

/// Asks all nodes for ever.
pub async fn run(pulses: Arc<Pulses>, engine: Arc<Engine>, calls: Calls) -> anyhow::Result<()> {
    let mut changed = engine.replicas().leads_changed();
    let begun = Instant::now();
    loop {
        changed.mark_unchanged();
        // Partitions with one replica need nobody else.
        if !engine.knows_clock() && begun.elapsed() > DEAD_AFTER {
            engine.set_on_time(true);
        }
        pulses.heed_clock();
        let pulse = pulses.pulse(&engine);
        let asked = join_all((engine.other_nodes().into_iter()).map(|node| {
            let (calls, pulse) = (calls.clone(), pulse.clone());
            let (pulses, engine) = (Arc::clone(&pulses), Arc::clone(&engine));
            async move {
                let (asked, asked_us) = (Instant::now(), clock::now_us());
                match calls.pulse(node, pulse).await {
                    Ok(answer) => {
                        pulses.take_answer(node, asked, asked_us, &answer);
                        engine.set_on_time(!pulses.off().contains(&engine.me()));
                    }
                    Err(status) => {
                        tracing::debug!(node, why = status.message(), "a node does not answer");
                    }
                }
            }
        }));
        // Nobody waits for one that does not answer, to be told of a new leader.
        let asking = tokio::spawn(asked);
        let pause = match engine.knows_clock() {
            true => EVERY,
            false => EVERY_AT_FIRST,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = changed.changed() => tokio::time::sleep(GATHER).await,
        }
        if asking.is_finished() {
            asking.await?;
        }
    }
}

/// Notices that the wall clock was set: it moved by another amount than time did.
struct ClockWatch {
    at: Instant,
    wall_us: i64,
    reading: Duration,
}

impl ClockWatch {
    /// A clock that is steered moves by less than this between two looks.
    const TOLERANCE_US: i64 = 20_000;

    fn new(at: Instant) -> Self {
        Self {
            at,
            wall_us: clock::now_us(),
            reading: at.elapsed(),
        }
    }

    /// `reading` passed from `at` until the wall clock had been read: this thread may have had to wait
    /// in between, which sets no clock.
    fn was_set(&mut self, at: Instant, wall_us: i64, reading: Duration) -> bool {
        let passed_us = at.saturating_duration_since(self.at).as_micros() as i64;
        let difference = wall_us - self.wall_us - passed_us;
        let doubt = (self.reading + reading).as_micros() as i64;
        *self = Self {
            at,
            wall_us,
            reading,
        };
        difference.abs() > Self::TOLERANCE_US + doubt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_another_cluster_are_refused() {
        let pulses = Pulses::new(1, 7, Arc::new(Routes::new(1)), Duration::from_secs(1));
        let of = |id: u128| PulseRequest {
            cluster_id: id.to_be_bytes().to_vec().into(),
            node: 2,
            ..PulseRequest::default()
        };
        assert!(pulses.take(&of(8)).is_err());
        assert!(pulses.take(&PulseRequest::default()).is_err());
        pulses.take(&of(7)).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let begun = Instant::now();
        let mut clock = ClockWatch {
            at: begun,
            wall_us: 1_000_000,
            reading: Duration::ZERO,
        };
        let second = Duration::from_secs(1);
        let mut was_set = |after: u32, wall_us, reading_ms| {
            let reading = Duration::from_millis(reading_ms);
            clock.was_set(begun + second * after, wall_us, reading)
        };
        assert!(!was_set(1, 2_000_100, 0));
        assert!(was_set(2, 9_000_000, 0));
        assert!(!was_set(3, 10_000_000, 0));
        assert!(was_set(4, 5_000_000, 0));
        // The thread stood still between the two clocks.
        assert!(!was_set(5, 6_300_000, 300));
        assert!(!was_set(6, 7_000_000, 0));
        assert!(was_set(7, 9_000_000, 300));
    }
}
