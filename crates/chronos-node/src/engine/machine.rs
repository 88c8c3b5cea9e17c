//! The state machines as the replication layer drives them.

use super::pauses::Pauses;
use super::topics::Topics;
use crate::metrics::Metrics;
use bytes::Bytes;
use chronos_core::catalog::{self, Catalog};
use chronos_core::partition::{Effects, LogPosition, Partition};
use chronos_raft::{Applied, LogId, Machine, MachineError};
use chronos_store::RocksStore;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// A partition's state, shared between the replication layer, which alone changes it, and readers.
pub type SharedPartition = Arc<Mutex<Partition<RocksStore>>>;

/// The catalog, shared likewise.
pub type SharedCatalog = Arc<Mutex<Catalog<RocksStore>>>;

/// Applies a partition's entries.
pub struct PartitionMachine {
    partition: SharedPartition,
    metrics: Arc<Metrics>,
}

impl PartitionMachine {
    /// Drives this partition.
    pub fn new(partition: SharedPartition, metrics: Arc<Metrics>) -> Self {
        Self { partition, metrics }
    }
}

fn position(log_id: LogId) -> LogPosition {
    LogPosition {
        term: log_id.term,
        index: log_id.index,
    }
}

fn applied(position: Option<LogPosition>, membership: &[u8]) -> Applied {
    Applied {
        log_id: position.map(|position| LogId {
            term: position.term,
            index: position.index,
        }),
        membership: membership.to_vec(),
    }
}

impl Machine for PartitionMachine {
    type Response = Effects;

    fn applied(&self) -> Applied {
        let partition = self.partition.lock();
        applied(partition.applied(), partition.membership())
    }

    fn apply(&mut self, log_id: LogId, command: Bytes) -> Result<Effects, MachineError> {
        let began = Instant::now();
        let effects = self
            .partition
            .lock()
            .apply(position(log_id), &command)
            .map_err(MachineError::new)?;
        self.metrics
            .apply_seconds
            .observe(began.elapsed().as_secs_f64());
        Ok(effects)
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.partition.lock().apply_blank(position(log_id));
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Vec<u8>) {
        self.partition
            .lock()
            .apply_membership(position(log_id), membership);
    }
}

/// Applies the catalog's entries.
pub struct CatalogMachine {
    catalog: SharedCatalog,
    pauses: watch::Sender<Arc<Pauses>>,
    topics: Arc<Topics>,
    applied: watch::Sender<u64>,
}

impl CatalogMachine {
    /// Drives this catalog, and tells what it pauses, how topics are set, and the index of each command
    /// that was applied.
    pub fn new(
        catalog: SharedCatalog,
        pauses: watch::Sender<Arc<Pauses>>,
        topics: Arc<Topics>,
        applied: watch::Sender<u64>,
    ) -> Self {
        let machine = Self {
            catalog,
            pauses,
            topics,
            applied,
        };
        {
            let catalog = machine.catalog.lock();
            machine.tell_pauses(catalog.pauses());
            machine.topics.replace(catalog.topics());
        }
        machine
    }

    fn tell_pauses(&self, pauses: &catalog::Pauses) {
        self.pauses.send_if_modified(|told| {
            let news = !told.is(pauses);
            if news {
                *told = Arc::new(told.after(pauses));
            }
            news
        });
    }
}

impl Machine for CatalogMachine {
    type Response = catalog::Outcome;

    fn applied(&self) -> Applied {
        let catalog = self.catalog.lock();
        applied(catalog.applied(), catalog.membership())
    }

    fn apply(&mut self, log_id: LogId, command: Bytes) -> Result<catalog::Outcome, MachineError> {
        let mut catalog = self.catalog.lock();
        let outcome = (catalog.apply(position(log_id), &command)).map_err(MachineError::new)?;
        self.tell_pauses(catalog.pauses());
        // Whatever it was: a few names, and seldom.
        self.topics.replace(catalog.topics());
        self.applied.send_replace(log_id.index);
        Ok(outcome)
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.catalog.lock().apply_blank(position(log_id));
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Vec<u8>) {
        self.catalog
            .lock()
            .apply_membership(position(log_id), membership);
    }
}
