//! Looks for the other members, so that nodes whose addresses changed find each other again, even if
//! all of them were restarted at once.

use super::asking::ask_seed;
use super::founding::Stance;
use super::introductions::Introductions;
use super::membership::Membership;
use super::wire::Introduced;
use crate::config::Address;
use crate::engine::clock::now_ms;
use chronos_core::catalog::{NodeInfo, NodeState};
use chronos_core::types::NodeId;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who did not answer is asked again after this long.
const SOON: Duration = Duration::from_secs(2);
/// Who answered is asked again after this long.
const LATER: Duration = Duration::from_secs(10);
/// Addresses that are known by hearsay at most.
const MOST_HEARSAY: usize = 1_024;

/// Says hello to the seeds and to every known node again and again, and calls `learned` with each
/// member that answered from a place it was not known to be at. Never ends by itself.
pub async fn run(
    me: Arc<Introductions>,
    membership: Membership,
    learned: impl Fn(NodeId, &NodeInfo) + Send,
) {
    let mut finder = Finder {
        me,
        membership,
        asked: BTreeMap::new(),
        hearsay: BTreeMap::new(),
        told: BTreeMap::new(),
        warned: BTreeSet::new(),
    };
    let mut ticks = tokio::time::interval(SOON);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (number, info) in finder.look().await {
            learned(number, &info);
        }
    }
}

struct Finder {
    me: Arc<Introductions>,
    membership: Membership,
    /// When each address is to be asked again.
    asked: BTreeMap<String, Instant>,
    /// What other members said of members.
    hearsay: BTreeMap<NodeId, NodeInfo>,
    /// Where each member was found last.
    told: BTreeMap<NodeId, String>,
    /// What was complained of, so that the log says it once.
    warned: BTreeSet<String>,
}

impl Finder {
    /// Asks whoever is due. Returns the members that were not known to be where they are.
    async fn look(&mut self) -> Vec<(NodeId, NodeInfo)> {
        let due = self.due();
        let me = Arc::clone(&self.me);
        let answers = join_all(due.iter().map(|address| ask(&me, address))).await;
        let now = Instant::now();
        let mut found = Vec::new();
        for (address, answer) in due.into_iter().zip(answers) {
            if answer.is_me {
                self.recognise(&address);
            }
            let is_placed = |(it, _): &(Introduced, i64)| !it.heard.node.cluster_addr.is_empty();
            let pause = match answer.heard.is_empty() || !answer.heard.iter().all(is_placed) {
                true => SOON,
                false => LATER,
            };
            // A tick earlier, because ticks are not exact.
            self.asked
                .insert(address.to_string(), now + pause - SOON / 2);
            for (introduced, skew_ms) in answer.heard {
                found.extend(self.meet(introduced, skew_ms));
            }
        }
        found
    }

    fn due(&mut self) -> Vec<Address> {
        let now = Instant::now();
        let cluster = &self.me.config().cluster;
        let catalog = self.me.catalog().map(|catalog| catalog.nodes());
        let known = catalog.unwrap_or_default();
        let known = known
            .into_values()
            .filter(|node| node.state != NodeState::Gone);
        let founding = self.membership.founding.clone().unwrap_or_default();
        let infos = (founding.into_iter())
            .chain(self.hearsay.clone())
            .chain(self.me.callers())
            .chain(known.map(|node| (node.id, node.info)))
            .filter(|(number, _)| *number != self.membership.me)
            .filter_map(|(_, info)| info.cluster_addr.parse().ok());
        let named = cluster.seeds.iter().chain(&cluster.join).cloned();
        let mut all: BTreeMap<String, Address> = BTreeMap::new();
        all.extend(
            named
                .chain(infos)
                .map(|address: Address| (address.to_string(), address)),
        );
        self.asked.retain(|address, _| all.contains_key(address));
        all.retain(|address, _| self.asked.get(address).is_none_or(|again| *again <= now));
        all.into_values().collect()
    }

    /// This node is behind an address. If a seed is written so, that is how others find it.
    fn recognise(&self, address: &Address) {
        let cluster = &self.me.config().cluster;
        let is_seed = cluster.seeds.contains(address) || cluster.join.contains(address);
        if is_seed && self.me.seeks_itself() {
            self.me.found_as(address);
        }
    }

    /// Judges an answer. Returns the node if it is a member and not where it was.
    fn meet(&mut self, introduced: Introduced, skew_ms: i64) -> Option<(NodeId, NodeInfo)> {
        let Introduced { heard, nodes, .. } = introduced;
        let (name, disk) = (heard.node.name.clone(), heard.node.disk);
        if disk == self.me.disk() {
            return None;
        }
        let (cluster_id, number) = match heard.stance {
            Stance::Member { cluster_id, number } => (cluster_id, number),
            Stance::Fresh | Stance::Holds(_) => return None,
        };
        if cluster_id != self.membership.cluster_id {
            self.warn(format!(
                "node {name} at {} is in the cluster {cluster_id:032x} and this node is in {:032x}; they do not talk to \
                 each other: correct -cluster-seeds, or empty the data directory of the one that is wrong",
                heard.node.cluster_addr, self.membership.cluster_id
            ));
            return None;
        }
        let known = self.disk_of(number).filter(|known| *known != disk);
        if known.is_some() || number == self.membership.me {
            self.warn(format!(
                "node {name} at {} says that it is node {number}, which has another disk; it is not believed: was a \
                 data directory copied?",
                heard.node.cluster_addr
            ));
            return None;
        }
        self.compare_clocks(&name, skew_ms);
        for (number, info) in nodes {
            if self.hearsay.len() < MOST_HEARSAY || self.hearsay.contains_key(&number) {
                self.hearsay.insert(number, info);
            }
        }
        let address = &heard.node.cluster_addr;
        if address.is_empty() {
            // It does not know yet where it is.
            return None;
        }
        if self.told.get(&number) == Some(address) {
            return None;
        }
        self.told.insert(number, address.clone());
        Some((number, heard.node))
    }

    /// The disk that is known to have a number, by the catalog or since the founding.
    fn disk_of(&self, number: NodeId) -> Option<u128> {
        let nodes = self.me.catalog().map(|catalog| catalog.nodes());
        let by_catalog = nodes.and_then(|nodes| Some(nodes.get(&number)?.info.disk));
        by_catalog.or_else(|| {
            let mut founding = self.membership.founding.iter().flatten();
            founding.find_map(|(id, info)| (*id == number).then_some(info.disk))
        })
    }

    fn compare_clocks(&mut self, name: &str, skew_ms: i64) {
        let most = self.me.config().cluster.clock_skew_threshold.as_millis();
        let line = format!(
            "the clocks of this node and of node {name} are further apart than -clock-skew-threshold-ms; events fire by \
             the clock of the node that leads their partition: synchronise the clocks"
        );
        match u128::from(skew_ms.unsigned_abs()) > most {
            true => self.warn(line),
            // To be said again if it happens again.
            false => drop(self.warned.remove(&line)),
        }
    }

    fn warn(&mut self, line: String) {
        if self.warned.len() < MOST_HEARSAY && self.warned.insert(line.clone()) {
            tracing::error!("{line}");
        }
    }
}

/// Who is behind an address.
struct Answer {
    /// Everybody, and how far the clocks are apart at least, in milliseconds.
    heard: Vec<(Introduced, i64)>,
    /// Whether it is this node and nobody else.
    is_me: bool,
}

async fn ask(me: &Introductions, address: &Address) -> Answer {
    let before = now_ms();
    let answers = ask_seed(me, address).await;
    let after = now_ms();
    let skew = |now_ms: i64| match now_ms {
        now if now < before => now.saturating_sub(before),
        now if now > after => now.saturating_sub(after),
        _ => 0,
    };
    let is_me = answers.is_only(me.disk());
    let heard = answers.heard.into_iter().map(|(_, introduced)| {
        let skew = skew(introduced.now_ms);
        (introduced, skew)
    });
    Answer {
        heard: heard.collect(),
        is_me,
    }
}
