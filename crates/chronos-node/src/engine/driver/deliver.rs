//! What is due on its way out: released to the feed, handed by groups to sessions, and counted.

use super::super::clock;
use super::super::message::Standing;
use super::Driver;
use crate::delivery::{self, SessionId};
use chronos_core::mutant;
use chronos_core::partition::{Effects, Run};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Under load, status and metrics are brought up to date this often.
const REPORT_EVERY: Duration = Duration::from_millis(50);

impl Driver {
    /// Releases what the entry brought to the horizon.
    pub(super) fn release(&mut self, effects: &Effects) {
        self.schedule.arm(effects);
        let runs = self.schedule.release(effects.horizon);
        let highest = runs
            .iter()
            .chain(&effects.runs)
            .map(|run| run.topic as usize + 1)
            .max();
        self.topics = self.topics.max(highest.unwrap_or(0));
        let now_ms = clock::now_ms();
        for run in runs.iter().chain(&effects.runs) {
            self.counters.fired.inc_by(run.count);
            self.observe_lateness(run, effects.horizon_before.due_ms, now_ms);
            for topic in [Some(run.topic), None] {
                self.active
                    .extend(self.groups_of.get(&topic).into_iter().flatten().copied());
            }
        }
        self.feed.release(
            runs.into_iter().chain(effects.runs.iter().copied()),
            effects.horizon,
        );
    }

    /// An event that was late when it was published counts from its publish.
    fn observe_lateness(&self, run: &Run, horizon_before_ms: i64, now_ms: i64) {
        let from_ms = run.ready_ms.max(horizon_before_ms.min(now_ms));
        let seconds = (now_ms - from_ms).max(0) as f64 / 1e3;
        let lateness = self.metrics.fire_lateness_seconds.local();
        for _ in 0..run.count {
            lateness.observe(seconds);
        }
        lateness.flush();
    }

    /// Hands out what is ready.
    pub(super) fn deliver(&mut self) -> anyhow::Result<()> {
        let now_ms = clock::now_ms();
        while let Some(Reverse((at_ms, number))) = self.wakes.peek().copied() {
            if at_ms > now_ms {
                break;
            }
            self.wakes.pop();
            if self.wake_of.get(&number) == Some(&at_ms) {
                self.wake_of.remove(&number);
            }
            self.active.insert(number);
        }
        self.heed_pauses(now_ms);
        self.unsure = !self.active.is_empty() && !self.handle.may_deliver(self.term);
        if self.unsure {
            return Ok(());
        }
        let delivering_ms = if mutant!("fire-early") {
            now_ms + 2_000
        } else {
            now_ms
        };
        let lateness = self.metrics.delivery_lateness_seconds.local();
        let mut touched = Vec::new();
        for number in std::mem::take(&mut self.active) {
            let Some(group) = self.groups.get_mut(&number) else {
                continue;
            };
            group.expire(now_ms);
            let sessions = &mut self.sessions;
            group.dispatch(
                delivering_ms,
                &self.feed,
                self.topics,
                &*self.handle.events,
                &mut |session, dispatch| {
                    if let Some(to) = sessions.get_mut(&session) {
                        if to.batch.is_empty() {
                            touched.push(session);
                        }
                        if dispatch.attempt == 1 {
                            lateness.observe((now_ms - dispatch.key.due_ms).max(0) as f64 / 1e3);
                        }
                        to.batch.push(dispatch);
                    }
                },
            )?;
            let counts = group.take_counts();
            self.counters.retried.inc_by(counts.retried);
            self.counters.timed_out.inc_by(counts.timed_out);
            self.counters.dead_lettered.inc_by(counts.dead);
            self.counters.dropped_paused.inc_by(counts.dropped);
            if let Some(at_ms) = group.next_wake_ms()
                && self
                    .wake_of
                    .get(&number)
                    .is_none_or(|earliest| at_ms < *earliest)
            {
                self.wake_of.insert(number, at_ms);
                self.wakes.push(Reverse((at_ms, number)));
            }
            self.unsaved.insert(number);
        }
        lateness.flush();
        for id in touched {
            self.flush(id);
        }
        if self.in_flight.is_empty() || self.reported.elapsed() > REPORT_EVERY {
            self.report();
        }
        Ok(())
    }

    fn flush(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let batch = std::mem::take(&mut session.batch);
            if session.dispatches.send(batch).is_err() {
                self.on_leave(id);
            }
        }
    }

    /// Tells status and metrics where the partition stands.
    pub(super) fn report(&mut self) {
        self.reported = Instant::now();
        let (entries, bytes) = self.schedule.wheel_size();
        let (released, upto) = self.schedule.released();
        let pending_by_topic: Arc<[u64]> = self.schedule.pending_by_topic().collect();
        *self.handle.standing.lock() = Standing {
            pending: pending_by_topic.iter().sum(),
            pending_by_topic,
            waiting: self.groups.values().map(delivery::Group::waiting).sum(),
            in_flight: self
                .groups
                .values()
                .map(|group| group.in_flight() as u64)
                .sum(),
            members: self.sessions.len() as u64,
            next_due_ms: self.schedule.next_due_ms(),
            wheel_entries: entries as u64,
            wheel_bytes: bytes as u64,
            released: (released.into(), upto),
        };
    }
}
