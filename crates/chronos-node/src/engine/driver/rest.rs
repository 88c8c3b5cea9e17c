//! The moment before another node leads: what is under way ends, and nothing new begins.

use super::Driver;
use crate::engine::handing::REST;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A leader that proposes nothing for a moment. It goes on by itself when nobody took over.
pub(super) struct Rest {
    until: Instant,
    /// Told when nothing is under way.
    ended: Option<oneshot::Sender<()>>,
}

impl Rest {
    pub(super) fn begin(ended: oneshot::Sender<()>) -> Self {
        Self {
            until: Instant::now() + REST,
            ended: Some(ended),
        }
    }

    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Driver {
    /// Whether nothing may be proposed now.
    pub(super) fn rests(&mut self) -> bool {
        let Some(rest) = &mut self.resting else {
            return false;
        };
        if self.in_flight.is_empty()
            && let Some(ended) = rest.ended.take()
        {
            let _ = ended.send(());
        }
        if rest.left().is_zero() {
            self.resting = None;
        }
        self.resting.is_some()
    }
}
