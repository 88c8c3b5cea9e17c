//! Asking for a checkpoint, and waiting until it is durable.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What was asked for and what is there, of one partition.
#[derive(Debug)]
pub struct Saves {
    wanted: AtomicU64,
    saved: watch::Sender<Option<u64>>,
}

impl Saves {
    /// Nothing is asked for, and the state up to a log index is durable, if any is.
    pub fn new(saved_index: Option<u64>) -> Self {
        Self {
            wanted: AtomicU64::new(0),
            saved: watch::channel(saved_index).0,
        }
    }

    /// Waits until the state up to a log index is durable. Asks for it.
    pub async fn reach(&self, index: u64) {
        self.wanted.fetch_max(index, Ordering::Relaxed);
        let mut saved = self.saved.subscribe();
        // The sender lives as long as this.
        let _ = saved.wait_for(|saved| *saved >= Some(index)).await;
    }

    /// Whether somebody waits.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > self.saved().unwrap_or(0)
    }

    /// Up to which log index the state is durable.
    pub fn saved(&self) -> Option<u64> {
        *self.saved.borrow()
    }

    /// The state up to a log index is durable.
    pub fn reached(&self, index: u64) {
        self.saved.send_replace(Some(index));
    }
}
