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
use super::message::{Handle, Message, Refused};
use super::pauses::Watch;
use super::retention::Retention;
use crate::metrics::Metrics;
use chronos_core::types::PartitionNumber;
use chronos_store::RocksStore;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A leader that cannot be sure of its lead looks again after this time.
const UNSURE: Duration = Duration::from_millis(20);

/// A partition's replica on this node.
pub struct Replica {
    /// To ask it with.
    pub handle: Handle,
    /// What removes the beginning of its log.
    pub retention: Arc<Retention>,
}

/// What a replica's task works with.
pub struct Parts {
    /// To ask it with.
    pub handle: Handle,
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
    /// Told when this node begins or ceases to serve a partition.
    pub leads: watch::Sender<()>,
}

/// Follows and serves until it is told to stop. An error means that the partition can no longer be
/// served on this node.
pub async fn run(parts: Parts, served: watch::Sender<u64>) -> anyhow::Result<()> {
    let Parts {
        handle,
        store,
        options,
        metrics,
        mut inbox,
        pauses,
        leads,
    } = parts;
    loop {
        let Some(term) = follow(&handle, &mut inbox).await? else {
            return Ok(());
        };
        let started = Driver::start(
            handle.clone(),
            term,
            store.clone(),
            options.clone(),
            Arc::clone(&metrics),
            pauses.clone(),
        );
        let Some(driver) = started.await? else {
            continue;
        };
        metrics.partition(handle.number).leads_won.inc();
        handle.led_in.store(term, Ordering::Release);
        served.send_replace(term);
        leads.send_replace(());
        let end = driver.run(&mut inbox).await;
        handle.led_in.store(0, Ordering::Release);
        served.send_replace(0);
        leads.send_replace(());
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
    inbox: &mut mpsc::Receiver<Message>,
) -> anyhow::Result<Option<u64>> {
    let lead = async {
        loop {
            let term = handle.raft.lead().await?;
            // One that is cut off still believes that it leads, and can do nothing.
            if handle.may_deliver(term) {
                return Ok::<_, anyhow::Error>(term);
            }
            tokio::time::sleep(UNSURE).await;
        }
    };
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
pub struct Replicas {
    by_number: RwLock<BTreeMap<PartitionNumber, Arc<Replica>>>,
    saving: Mutex<()>,
    leads: watch::Sender<()>,
}

impl Replicas {
    /// The replica of a partition, if there is one on this node.
    pub fn get(&self, number: PartitionNumber) -> Option<Arc<Replica>> {
        self.by_number.read().get(&number).cloned()
    }

    /// All of them, in the order of their partitions.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.by_number.read().values().cloned().collect()
    }

    /// The partitions that this node leads and serves, in order.
    pub fn led(&self) -> Vec<Handle> {
        let replicas = self.by_number.read();
        let led = replicas.values().filter(|replica| replica.handle.is_led());
        led.map(|replica| replica.handle.clone()).collect()
    }

    /// The partitions that this node leads and serves, in order, and the terms in which it does.
    pub fn leads(&self) -> Vec<(PartitionNumber, u64)> {
        let replicas = self.by_number.read();
        let led = |replica: &Arc<Replica>| Some((replica.handle.number, replica.handle.led_in()?));
        replicas.values().filter_map(led).collect()
    }

    /// Tells when that changes.
    pub fn leads_changed(&self) -> watch::Receiver<()> {
        self.leads.subscribe()
    }

    /// Where it is told.
    pub(super) fn tell_leads(&self) -> watch::Sender<()> {
        self.leads.clone()
    }

    /// Takes a replica away that is to be closed. Once this returns nothing of it is being saved.
    pub fn remove(&self, number: PartitionNumber) -> Option<Arc<Replica>> {
        let removed = self.by_number.write().remove(&number);
        drop(self.saving.lock());
        removed
    }

    /// Held while replicas are saved.
    pub fn saving(&self) -> &Mutex<()> {
        &self.saving
    }

    /// Adds a replica that was opened.
    pub fn insert(&self, replica: Arc<Replica>) {
        self.by_number
            .write()
            .insert(replica.handle.number, replica);
    }
}
