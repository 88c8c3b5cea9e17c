//! Who leads, told as it changes.

use tokio::sync::watch;

use crate::error::Stopped;

/// Who leads a group, as a node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lead {
    /// The term the node is in; 0 before the first election.
    pub term: u64,
    /// Who leads in that term, if that is known.
    pub leader: Option<u64>,
    /// Whether it is this node, and its machine has applied every entry of earlier terms.
    pub leads: bool,
}

/// Follows who leads a group. Steps in between may be missed; the last state never is.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Lead>);

impl Leadership {
    pub(crate) fn new(lead: watch::Receiver<Lead>) -> Self {
        Self(lead)
    }

    /// The state now.
    pub fn get(&self) -> Lead {
        *self.0.borrow()
    }

    /// Waits until the state is another than when it was last waited for, and returns it. The first
    /// wait is for a change since the subscription.
    ///
    /// # Errors
    /// When the group has stopped.
    pub async fn changed(&mut self) -> Result<Lead, Stopped> {
        match self.0.changed().await {
            Ok(()) => Ok(*self.0.borrow_and_update()),
            Err(_) => Err(Stopped("it no longer runs".to_owned())),
        }
    }

    /// Waits until the state is as wanted, which it may be already; `None` when the group stops.
    pub async fn reach(&mut self, wanted: impl FnMut(&Lead) -> bool) -> Option<Lead> {
        self.0.wait_for(wanted).await.ok().map(|lead| *lead)
    }
}
