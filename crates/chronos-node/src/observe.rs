//! Gauges that are read when somebody asks for the metrics.

use crate::engine::{Engine, Standing, clock};
use crate::metrics::Metrics;
use chronos_core::catalog::Target;
use std::sync::Arc;

/// Brings the gauges up to date at every scrape.
pub fn register(engine: &Arc<Engine>, metrics: &Arc<Metrics>) {
    let weak = Arc::downgrade(metrics);
    let engine = Arc::downgrade(engine);
    metrics.on_scrape(move || {
        if let (Some(engine), Some(metrics)) = (engine.upgrade(), weak.upgrade()) {
            observe(&engine, &metrics);
        }
    });
}

fn observe(engine: &Engine, metrics: &Metrics) {
    let mut members = 0;
    for replica in engine.replicas().all() {
        let handle = &replica.handle;
        let of = metrics.partition(handle.number);
        let standing = match handle.is_led() {
            true => handle.standing.lock().clone(),
            // Whoever leads tells: a sum over nodes is to be true.
            false => Standing::default(),
        };
        let log = handle.wal.status();
        members += standing.members;
        of.pending.set(standing.pending as i64);
        let late_ms = standing
            .next_due_ms
            .map_or(0, |due_ms| (clock::now_ms() - due_ms).max(0));
        of.overdue.set(standing.waiting as i64);
        of.oldest_overdue_seconds.set(late_ms as f64 / 1e3);
        of.next_fire_timestamp_seconds.set(
            standing
                .next_due_ms
                .map_or(0.0, |due_ms| due_ms as f64 / 1e3),
        );
        of.wheel_entries.set(standing.wheel_entries as i64);
        of.wheel_bytes.set(standing.wheel_bytes as i64);
        of.dlq_events.set(handle.state.lock().dead_letters() as i64);
        of.credits_in_use.set(standing.in_flight as i64);
        let status = handle.raft.status();
        let index = |index: Option<u64>| index.unwrap_or(0);
        let uncommitted = index(status.last_index).saturating_sub(index(status.committed_index));
        of.leads.set(i64::from(handle.is_led()));
        of.term.set(status.term as i64);
        of.commit_lag.set(uncommitted as i64);
        of.wal_segments.set(log.segments.len() as i64);
        of.wal_bytes.set(log.total_bytes as i64);
    }
    metrics.group_members.set(members as i64);
    metrics.consumer_groups.set(engine.groups().len() as i64);
    let pauses = engine.pauses();
    let topics = (pauses.iter()).filter(|paused| matches!(paused.target, Target::Topic(_)));
    let topics = topics.count();
    metrics.paused_topics.set(topics as i64);
    metrics.paused_groups.set((pauses.len() - topics) as i64);
    let free = engine.inflight().available_permits() as i64;
    metrics
        .publish_inflight_bytes
        .set(engine.inflight_limit() as i64 - free);
    let store = engine.store().stats();
    metrics
        .store_block_cache_bytes
        .set(store.cache_bytes as i64);
    for stats in &store.families {
        let of = metrics.store_family(&format!("{:?}", stats.family).to_lowercase());
        of.memtable_bytes.set(stats.memtable_bytes as i64);
        of.sst_bytes.set(stats.file_bytes as i64);
    }
}
