//! One partition's replica on this node: it follows, and while this node leads, a driver serves it.
//!
//! ```text
//!            lead won               ready
//!  follows ───────────► takes over ───────► serves
//!     ▲                     │                  │
//!     └─────────────────────┴──────────────────┘
//!                     lead lost
//! ```

use super::driver::{self, Driver, End};
use super::machine::PartitionMachine;
use super::message::{Handle, Message, Refused};
use super::pauses::Watch;
use super::retention::Retention;
use crate::metrics::Metrics;
use chronos_core::types::PartitionNumber;
use chronos_raft::Group;
use chronos_store::RocksStore;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, watch};

/// A partition's replica on this node.
pub struct Replica {
    /// To ask it with.
    pub handle: Handle,
    /// Its place in the partition's group.
    pub raft: Group<PartitionMachine>,
    /// What removes the beginning of its log.
    pub retention: Arc<Retention>,
}

/// What a replica's task works with.
pub struct Parts {
    /// To ask it with.
    pub handle: Handle,
    /// Its place in the partition's group.
    pub raft: Group<PartitionMachine>,
    /// The index.
    pub store: RocksStore,
    /// What drivers are told.
    pub options: driver::Options,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// What is asked of the partition.
    pub inbox: mpsc::Receiver<Message>,
    /// What is paused.
    pub pauses: Watch,
}

/// Follows and serves until it is told to stop. An error means that the partition can no longer be
/// served on this node.
pub async fn run(parts: Parts, served: watch::Sender<u64>) -> anyhow::Result<()> {
    let Parts {
        handle,
        raft,
        store,
        options,
        metrics,
        mut inbox,
        pauses,
    } = parts;
    loop {
        let Some(term) = follow(&handle, &raft, &mut inbox).await? else {
            return Ok(());
        };
        let started = Driver::start(
            handle.clone(),
            raft.clone(),
            term,
            store.clone(),
            options.clone(),
            Arc::clone(&metrics),
            pauses.clone(),
        );
        let Some(driver) = started.await? else {
            continue;
        };
        handle.led.store(true, Ordering::Release);
        served.send_replace(term);
        let end = driver.run(&mut inbox).await;
        handle.led.store(false, Ordering::Release);
        served.send_replace(0);
        match end? {
            End::Stopped => return Ok(()),
            End::Lost => {}
        }
    }
}

/// Refuses what it is asked until this node leads; the term in which it does. `None` when it is told to
/// stop.
async fn follow(
    handle: &Handle,
    raft: &Group<PartitionMachine>,
    inbox: &mut mpsc::Receiver<Message>,
) -> anyhow::Result<Option<u64>> {
    let lead = raft.lead();
    tokio::pin!(lead);
    loop {
        tokio::select! {
            biased;
            term = &mut lead => return Ok(Some(term?)),
            message = inbox.recv() => match message {
                None => return Ok(None),
                Some(Message::Stop(reply)) => {
                    let _ = reply.send(());
                    return Ok(None);
                }
                Some(message) => message.refuse(Refused::NotLeader(handle.number)),
            },
        }
    }
}

/// The replicas on this node, by partition.
#[derive(Default)]
pub struct Replicas(RwLock<BTreeMap<PartitionNumber, Arc<Replica>>>);

impl Replicas {
    /// The replica of a partition, if there is one on this node.
    pub fn get(&self, number: PartitionNumber) -> Option<Arc<Replica>> {
        self.0.read().get(&number).cloned()
    }

    /// All of them, in the order of their partitions.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.0.read().values().cloned().collect()
    }

    /// The partitions that this node leads and serves, in order.
    pub fn led(&self) -> Vec<Handle> {
        let replicas = self.0.read();
        let led = replicas.values().filter(|replica| replica.handle.is_led());
        led.map(|replica| replica.handle.clone()).collect()
    }

    /// Adds a replica that was opened.
    pub fn insert(&self, replica: Arc<Replica>) {
        self.0.write().insert(replica.handle.number, replica);
    }
}
