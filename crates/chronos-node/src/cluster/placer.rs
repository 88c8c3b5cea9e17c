//! Bringing partitions where they belong: a loop on the node that leads the catalog.
//!
//! It looks, plans ([`chronos_core::placement`]), takes the steps, and looks again. Nothing is
//! remembered between two rounds but what the catalog has, so another node can go on at any moment.

use super::calls::{Calls, STEER_LIMIT};
use super::pulse::Pulses;
use super::reports;
use super::steer::Order;
use crate::engine::{Engine, clock};
use chronos_core::catalog::{self, Cluster, Command, NodeState};
use chronos_core::placement::{Limits, Report, Step, View, plan};
use chronos_core::types::{NodeId, PartitionNumber};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tonic::Status;

/// Between two rounds when there is something to do.
const SOON: Duration = Duration::from_millis(200);
/// Between two rounds when everything is where it belongs.
const IDLE: Duration = Duration::from_secs(1);
/// After an election all nodes get this long to be heard before any is taken to be dead.
const SETTLE: Duration = Duration::from_secs(4);

/// What is to be known to place partitions.
pub struct Placer {
    /// This node.
    pub engine: Arc<Engine>,
    /// Which nodes answer.
    pub pulses: Arc<Pulses>,
    /// The way to them.
    pub calls: Calls,
}

/// What is known at one moment.
pub struct Seen {
    cluster: Cluster,
    dead: BTreeMap<NodeId, i64>,
    unfit: BTreeSet<NodeId>,
    groups: BTreeMap<PartitionNumber, Report>,
    catalog: Option<Report>,
    held: BTreeMap<PartitionNumber, BTreeMap<NodeId, u64>>,
}

impl Seen {
    /// The next offset of each replica of a partition, by the nodes that hold one and answer.
    pub fn held(&self, partition: PartitionNumber) -> Option<&BTreeMap<NodeId, u64>> {
        self.held.get(&partition)
    }

    /// As the plan reads it.
    pub fn view(&self) -> View<'_> {
        View {
            cluster: &self.cluster,
            now_ms: clock::now_ms(),
            dead: self.dead.clone(),
            unfit: self.unfit.clone(),
            groups: self.groups.clone(),
            catalog: self.catalog.clone(),
            limits: Limits::default(),
        }
    }
}

impl Placer {
    /// Places for ever, while this node leads the catalog.
    pub async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let mut leadership = self.engine.catalog_group().leadership();
        loop {
            if leadership.reach(|lead| lead.leads).await.is_none() {
                return Ok(());
            }
            tokio::time::sleep(SETTLE).await;
            while leadership.get().leads {
                let busy = self.round().await;
                tokio::time::sleep(if busy { SOON } else { IDLE }).await;
            }
        }
    }

    /// One round; whether there was something to do.
    async fn round(&self) -> bool {
        let Some(seen) = self.look().await else {
            return false;
        };
        let steps = plan(&seen.view());
        join_all(steps.iter().map(|step| self.try_take(&seen, step))).await;
        !steps.is_empty()
    }

    async fn try_take(&self, seen: &Seen, step: &Step) {
        if let Err(why) = self.take(seen, step).await {
            // The next plan is made from how it stands then.
            tracing::info!(?step, why, "a step of placement was not taken");
        }
    }

    /// How the cluster stands, as far as nodes answer; `None` before it is founded.
    pub async fn look(&self) -> Option<Seen> {
        let cluster = self.engine.cluster()?;
        let (now, now_ms) = (Instant::now(), clock::now_ms());
        let me = self.engine.me();
        let hearing = self.pulses.hearing();
        let dead: BTreeMap<NodeId, i64> = (cluster.nodes.values())
            .filter(|node| node.id != me && node.state != NodeState::Gone)
            .filter_map(|node| {
                let silent = hearing.dead_for(node.id, now)?;
                Some((node.id, now_ms.saturating_sub(silent.as_millis() as i64)))
            })
            .collect();
        let unfit = self.pulses.off();
        let alive = (self.engine.other_nodes().into_iter()).filter(|node| !dead.contains_key(node));
        let asked = alive.map(|node| async move { (node, self.calls.reports(node).await) });
        let mut told = vec![(
            me,
            reports::of_led(&self.engine),
            reports::of_held(&self.engine),
        )];
        for (node, answer) in join_all(asked).await {
            if let Ok((groups, held)) = answer {
                told.push((node, groups, held));
            }
        }
        let mut held: BTreeMap<PartitionNumber, BTreeMap<NodeId, u64>> = BTreeMap::new();
        for (node, _, of_node) in &told {
            for replica in of_node {
                let of = held.entry(replica.partition).or_default();
                of.insert(*node, replica.next_offset);
            }
        }
        let mut groups: BTreeMap<PartitionNumber, Report> = BTreeMap::new();
        for (group, report) in told.into_iter().flat_map(|(_, groups, _)| groups) {
            let known = groups.get(&group);
            if known.is_none_or(|known| known.term < report.term) {
                groups.insert(group, report);
            }
        }
        let catalog = groups.remove(&catalog::NUMBER);
        Some(Seen {
            cluster,
            dead,
            unfit,
            groups,
            catalog,
            held,
        })
    }

    async fn take(&self, seen: &Seen, step: &Step) -> Result<(), String> {
        if let Some(command) = step.command() {
            let made = self.engine.change_catalog(&Command::Cluster(command)).await;
            return match made {
                Ok(catalog::Outcome::Done) => Ok(()),
                Ok(outcome) => Err(format!("the catalog says {outcome:?}")),
                Err(refused) => Err(refused.to_string()),
            };
        }
        let Some((group, order)) = Order::of(step) else {
            return Ok(());
        };
        let report = match group {
            catalog::NUMBER => seen.catalog.as_ref(),
            partition => seen.groups.get(&partition),
        };
        let Some(report) = report else {
            return Err("nobody leads the group".into());
        };
        match report.leader == self.engine.me() {
            // Without a majority a change would be waited for until there is one, and so would all other
            // steps. What was begun goes on, and the next plan sees what came of it.
            true => match timeout(STEER_LIMIT, order.carry_out(&self.engine, group)).await {
                Ok(done) => done.map_err(|error| error.to_string()),
                Err(_) => Err("it was not done in time".into()),
            },
            false => (self.calls.steer(report.leader, group, order).await)
                .map_err(|status: Status| status.message().to_owned()),
        }
    }
}
