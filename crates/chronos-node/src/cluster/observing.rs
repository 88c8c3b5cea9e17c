//! The cluster as this node sees it, for metrics and health.

use super::pulse::Pulses;
use crate::engine::Engine;
use crate::http::Check;
use crate::metrics::Metrics;
use chronos_core::catalog::{Cluster, NodeState};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Brings the gauges of the cluster up to date at every scrape.
pub fn observe(engine: &Arc<Engine>, pulses: &Arc<Pulses>, metrics: &Arc<Metrics>) {
    let (engine, pulses) = (Arc::downgrade(engine), Arc::downgrade(pulses));
    let weak = Arc::downgrade(metrics);
    metrics.on_scrape(move || {
        let seen = engine.upgrade().zip(pulses.upgrade()).zip(weak.upgrade());
        if let Some(((engine, pulses), metrics)) = seen {
            set(&engine, &pulses, &metrics);
        }
    });
}

/// Whether this node takes part in the cluster: it knows who leads the catalog.
pub fn check(engine: &Weak<Engine>, pulses: &Weak<Pulses>) -> Check {
    let Some((engine, pulses)) = engine.upgrade().zip(pulses.upgrade()) else {
        return Check {
            healthy: false,
            detail: "the node is stopping".to_owned(),
        };
    };
    let Some(cluster) = engine.cluster() else {
        return Check {
            healthy: false,
            detail: "this node has not heard of its catalog yet".to_owned(),
        };
    };
    let (nodes, alive) = count(&engine, &pulses, &cluster);
    let leader = engine.catalog_group().leadership().get().leader;
    let leader = leader.and_then(|leader| cluster.nodes.get(&leader));
    let heard = format!("{alive} of {nodes} nodes answer");
    Check {
        healthy: leader.is_some(),
        detail: match leader {
            Some(leader) => format!("{heard}, {} leads the catalog", leader.info.name),
            None => format!("{heard}, nobody leads the catalog"),
        },
    }
}

/// How many nodes there are, and how many this one hears from.
fn count(engine: &Engine, pulses: &Pulses, cluster: &Cluster) -> (usize, usize) {
    let now = Instant::now();
    let members = || (cluster.nodes.values()).filter(|node| node.state != NodeState::Gone);
    let is_alive = |id| id == engine.me() || pulses.hearing().dead_for(id, now).is_none();
    let alive = members().filter(|node| is_alive(node.id));
    (members().count(), alive.count())
}

fn set(engine: &Engine, pulses: &Pulses, metrics: &Metrics) {
    let of = &metrics.cluster;
    let me = engine.me();
    let offsets_us = pulses.hearing().offsets_us(me, Instant::now());
    let skew_us = offsets_us.get(&me).copied().unwrap_or(0);
    of.clock_skew_ms.set(skew_us as f64 / 1e3);
    of.partitions.set(i64::from(engine.partition_count()));
    of.partitions_led.set(engine.partitions().len() as i64);
    let Some(cluster) = engine.cluster() else {
        return;
    };
    let (nodes, alive) = count(engine, pulses, &cluster);
    of.nodes.set(nodes as i64);
    of.nodes_alive.set(alive as i64);
    let mut lags = Vec::new();
    for handle in engine.partitions() {
        let committed = handle.raft.status().committed_index.unwrap_or(0);
        for (follower, peer) in handle.raft.replication().into_iter().flatten() {
            if let Some(node) = cluster.nodes.get(&follower) {
                let lag = committed.saturating_sub(peer.matched_index.unwrap_or(0));
                lags.push((handle.number, node.info.name.clone(), lag));
            }
        }
    }
    of.set_replication_lag(lags);
}
