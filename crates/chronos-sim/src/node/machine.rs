//! A partition as the replication layer drives it, under the eyes of the ledger.

use crate::oracle::Content;
use crate::world::World;
use bytes::Bytes;
use chronos_core::partition::{Effects, LogPosition, Partition};
use chronos_core::store::MemoryStore;
use chronos_raft::{Applied, LogId, Machine, MachineError};
use parking_lot::Mutex;
use std::sync::Arc;

/// A partition's state, shared between the replication layer, which alone changes it, and readers.
pub type SharedPartition = Arc<Mutex<Partition<MemoryStore>>>;

/// Applies a partition's entries.
pub struct PartitionMachine {
    node: u64,
    world: Arc<World>,
    partition: SharedPartition,
}

impl PartitionMachine {
    /// Drives the partition of a node.
    #[must_use]
    pub fn new(node: u64, world: Arc<World>, partition: SharedPartition) -> Self {
        Self {
            node,
            world,
            partition,
        }
    }

    fn note(&self, log_id: LogId, content: Content, what: &str) {
        self.world.say(
            &format_args!("n{}", self.node),
            format_args!("applies {log_id} {what}"),
        );
        self.world.ledger.applying(self.node, log_id, content);
    }
}

const fn position(log_id: LogId) -> LogPosition {
    LogPosition {
        term: log_id.term,
        index: log_id.index,
    }
}

impl Machine for PartitionMachine {
    type Response = Effects;

    fn applied(&self) -> Applied {
        let partition = self.partition.lock();
        Applied {
            log_id: partition.applied().map(|position| LogId {
                term: position.term,
                index: position.index,
            }),
            membership: partition.membership().to_vec(),
        }
    }

    fn apply(&mut self, log_id: LogId, command: Bytes) -> Result<Effects, MachineError> {
        self.note(log_id, Content::Commands(command.clone()), "commands");
        let effects = self
            .partition
            .lock()
            .apply(position(log_id), &command)
            .map_err(MachineError::new)?;
        self.world.ledger.applied(self.node, log_id, &effects);
        Ok(effects)
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.note(log_id, Content::Blank, "blank");
        self.partition.lock().apply_blank(position(log_id));
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Vec<u8>) {
        self.note(
            log_id,
            Content::Membership(membership.clone()),
            "membership",
        );
        self.partition
            .lock()
            .apply_membership(position(log_id), membership);
    }
}
