//! Everything that one run shares.

use crate::faults::Histogram;
use crate::faults::Kind;
use crate::history::{Excuse, History};
use crate::network::{Endpoint, Fate, Network};
use crate::node::{Node, Refused, Reply, Request};
use crate::oracle::Ledger;
use crate::plan::Plan;
use crate::random::Random;
use crate::rules::Verdict;
use crate::time::Timeline;
use crate::trace::Trace;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Faults happen; nothing wrong may be seen.
    Safety = 0,
    /// Faults have ended; everything must work again.
    Liveness = 1,
    /// Nothing new is published; what fell due must be settled.
    Drain = 2,
    /// Clients stop.
    Over = 3,
}

/// A run while it goes on.
pub struct World {
    /// What the seed decided.
    pub plan: Plan,
    /// Simulated time.
    pub time: Timeline,
    /// What happens, in lines.
    pub trace: Trace,
    /// Faults so far.
    pub faults: Arc<Histogram>,
    /// Violations so far.
    pub verdict: Arc<Verdict>,
    /// The committed log.
    pub ledger: Ledger,
    /// What clients saw.
    pub history: History,
    /// Between the nodes, and to the clients.
    pub network: Network,
    nodes: Mutex<BTreeMap<u64, Arc<Node>>>,
    phase: AtomicU8,
    greatest_clock_ms: AtomicI64,
    next_node: AtomicU64,
    reigns: AtomicU64,
    is_changing: AtomicBool,
    chance: Mutex<Random>,
}

/// Why a client has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Surely not done. Perhaps this node leads.
    #[error("refused; perhaps node {0:?} leads")]
    Refused(Option<u64>),
    /// It may be done, now or later.
    #[error("no answer")]
    Unknown,
}

impl World {
    /// A world without nodes, at the beginning of time.
    #[must_use]
    pub fn new(plan: Plan) -> Arc<Self> {
        let faults = Arc::<Histogram>::default();
        let verdict = Arc::<Verdict>::default();
        let time = Timeline::begin();
        Arc::new(Self {
            time,
            trace: Trace::new(plan.trace),
            network: Network::new(
                plan.random("network"),
                plan.network_ms.clone(),
                Arc::clone(&faults),
            ),
            ledger: Ledger::new(Arc::clone(&verdict), time),
            faults,
            verdict,
            history: History::default(),
            nodes: Mutex::default(),
            phase: AtomicU8::new(Phase::Safety as u8),
            greatest_clock_ms: AtomicI64::new(i64::MIN),
            next_node: AtomicU64::new(plan.nodes as u64 + 1),
            reigns: AtomicU64::new(0),
            is_changing: AtomicBool::new(false),
            chance: Mutex::new(plan.random("groups of replicas")),
            plan,
        })
    }

    /// Adds a line to the trace.
    pub fn say(&self, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        self.trace.add(self.time.now_us(), who, what);
    }

    /// Takes note of an excuse.
    pub fn excuse(&self, excuse: Excuse) {
        let now_us = self.time.now_us();
        self.history.records().excuses.push((now_us, excuse));
    }

    /// How far the run has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Safety,
            1 => Phase::Liveness,
            2 => Phase::Drain,
            _ => Phase::Over,
        }
    }

    /// Goes on to a phase.
    pub fn enter(&self, phase: Phase) {
        self.say(&"run", format_args!("{phase:?}"));
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Adds a node.
    pub fn add_node(&self, node: Arc<Node>) {
        self.nodes.lock().insert(node.number, node);
    }

    /// Removes a node for good.
    pub fn remove_node(&self, number: u64) {
        self.nodes.lock().remove(&number);
    }

    /// A number that no node had before.
    #[must_use]
    pub fn next_node(&self) -> u64 {
        self.next_node.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts the times that a node began to lead.
    #[must_use]
    pub fn next_reign(&self) -> u64 {
        self.reigns.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the members of the cluster are about to change.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.is_changing.load(Ordering::Relaxed)
    }

    /// Says whether they are.
    pub fn set_changing(&self, changing: bool) {
        self.is_changing.store(changing, Ordering::Relaxed);
    }

    /// A number for whoever draws its own from it.
    #[must_use]
    pub fn chance(&self) -> u64 {
        self.chance.lock().number()
    }

    /// A node that exists.
    #[must_use]
    pub fn node(&self, number: u64) -> Option<Arc<Node>> {
        self.nodes.lock().get(&number).cloned()
    }

    /// All nodes, by their numbers.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().values().cloned().collect()
    }

    /// The greatest time that any node's clock has shown, Unix milliseconds: nothing can have fallen
    /// due after it.
    pub fn greatest_clock_ms(&self) -> i64 {
        let shown = self.nodes().into_iter().map(|node| node.clock.now_ms());
        let shown = shown.max().unwrap_or(i64::MIN);
        self.greatest_clock_ms
            .fetch_max(shown, Ordering::Relaxed)
            .max(shown)
    }

    /// A client asks a node.
    ///
    /// # Errors
    /// When it gets no answer, or is refused.
    pub async fn call<T>(
        &self,
        client: u64,
        node: u64,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, CallError> {
        let (client, target) = (Endpoint::Client(client), Endpoint::Node(node));
        match self.network.send(client, target, false) {
            Fate::Lost => {
                tokio::time::sleep(PATIENCE).await;
                return Err(CallError::Unknown);
            }
            Fate::Arrives { after, .. } => tokio::time::sleep(after).await,
        }
        let Some(process) = self.node(node).and_then(|node| node.process()) else {
            return Err(CallError::Refused(None));
        };
        let (reply, answer) = oneshot::channel();
        process.resumed().await;
        process.request(request(reply));
        let answer = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => return Err(CallError::Unknown),
        };
        match self.network.send(target, client, false) {
            Fate::Lost => {
                self.faults.add(Kind::LostReply, 1);
                tokio::time::sleep(PATIENCE).await;
                return Err(CallError::Unknown);
            }
            Fate::Arrives { after, .. } => tokio::time::sleep(after).await,
        }
        answer.map_err(|refused| match refused {
            Refused::NotLeader(leader) => CallError::Refused(leader),
            Refused::Unknown => CallError::Unknown,
        })
    }
}
