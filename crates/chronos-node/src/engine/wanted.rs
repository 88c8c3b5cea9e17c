//! Partitions that leaders say have to be copied to this node.

use chronos_core::types::PartitionNumber;
use chronos_raft::SeedWanted;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::Notify;

/// Notes what is wanted; the last word about a partition counts.
#[derive(Debug, Default)]
pub struct Wanted {
    by_number: Mutex<BTreeMap<PartitionNumber, SeedWanted>>,
    news: Notify,
}

impl Wanted {
    /// A leader says that this node needs a copy.
    pub fn add(&self, wanted: SeedWanted) {
        self.by_number.lock().insert(wanted.group, wanted);
        self.news.notify_one();
    }

    /// Waits until something is wanted.
    pub async fn any(&self) {
        while self.by_number.lock().is_empty() {
            self.news.notified().await;
        }
    }

    /// Takes what is wanted.
    pub fn take(&self) -> Vec<SeedWanted> {
        let wanted = std::mem::take(&mut *self.by_number.lock());
        wanted.into_values().collect()
    }
}
