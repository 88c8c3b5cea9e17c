//! The leader's side of a copy.

use super::Part;
use crate::engine::replica::Replica;
use chronos_core::store::{Family, StoreError, copy};
use chronos_store::RocksStore;
use prometheus::IntCounter;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes of the index or of the log that travel in one part.
const PART_BYTES: usize = 1 << 20;

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// This node does not lead the partition, or no longer does.
    #[error("this node does not lead partition {0}")]
    NotLeader(u32),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] chronos_wal::Error),
    /// The log does not have what it should.
    #[error("entry {0} is missing in the log")]
    Missing(u64),
    /// Whoever asked has gone.
    #[error("nobody reads the copy")]
    Gone,
}

/// Sends a copy of a replica that leads, and counts its bytes as `sent`. Nothing is removed from its log
/// meanwhile.
pub async fn give(
    replica: Arc<Replica>,
    store: RocksStore,
    parts: mpsc::Sender<Part>,
    sent: IntCounter,
) -> Result<(), GiveError> {
    let number = replica.handle.number;
    let lead = replica.handle.raft.leadership().get();
    if !lead.leads {
        return Err(GiveError::NotLeader(number));
    }
    let retention = Arc::clone(&replica.retention);
    let _kept = retention.hold().await;
    let giving = Giving {
        replica,
        parts,
        sent,
    };
    tokio::task::spawn_blocking(move || giving.run(&store, lead.term))
        .await
        .unwrap_or(Err(GiveError::Gone))
}

struct Giving {
    replica: Arc<Replica>,
    parts: mpsc::Sender<Part>,
    sent: IntCounter,
}

impl Giving {
    fn run(self, store: &RocksStore, term: u64) -> Result<(), GiveError> {
        let floor = self.replica.handle.raft.floor();
        self.send(Part::Begin { term, floor })?;
        self.index(store)?;
        // The log reaches at least as far as the index that was read before.
        let Some(last) = self.replica.handle.raft.applied() else {
            return Err(GiveError::Missing(0));
        };
        let lead = self.replica.handle.raft.leadership().get();
        if !lead.leads || lead.term != term {
            return Err(GiveError::NotLeader(self.replica.handle.number));
        }
        self.log(floor.map_or(0, |floor| floor.index + 1), last.index)?;
        self.send(Part::End { last })
    }

    fn send(&self, part: Part) -> Result<(), GiveError> {
        let bytes = part.bytes();
        self.parts
            .blocking_send(part)
            .map_err(|_| GiveError::Gone)?;
        self.sent.inc_by(bytes);
        Ok(())
    }

    fn index(&self, store: &RocksStore) -> Result<(), GiveError> {
        let (mut pairs, mut bytes, mut sent) = (Vec::new(), 0, Ok(()));
        let mut visit = |family: Family, key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            pairs.push((family, key.to_vec(), value.to_vec()));
            if bytes < PART_BYTES {
                return ControlFlow::Continue(());
            }
            bytes = 0;
            sent = self.send(Part::Pairs(std::mem::take(&mut pairs)));
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        copy::visit(store, self.replica.handle.number, &mut visit)?;
        sent?;
        self.send(Part::Pairs(pairs))
    }

    fn log(&self, from: u64, last: u64) -> Result<(), GiveError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for index in from..=last {
            let record = self.replica.handle.wal.read(index)?;
            let record = record.ok_or(GiveError::Missing(index))?;
            bytes += record.body.len();
            records.push(record);
            if bytes >= PART_BYTES {
                bytes = 0;
                self.send(Part::Records(std::mem::take(&mut records)))?;
            }
        }
        self.send(Part::Records(records))
    }
}
