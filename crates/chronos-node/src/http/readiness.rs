//! Whether a node serves.

use std::sync::Arc;

use tokio::sync::watch;

/// Where a node is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet serving; the text says what it waits for.
    Starting(String),
    /// Serving.
    Ready,
    /// Stopping: finishes what it has and takes nothing new.
    Draining,
    /// Cannot go on; the text says why.
    Failed(String),
}

impl State {
    /// Why the node does not serve; `None` if it does.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Starting(what) => Some(format!("starting: {what}")),
            Self::Ready => None,
            Self::Draining => Some("draining: the node is stopping".to_owned()),
            Self::Failed(why) => Some(format!("failed: {why}")),
        }
    }
}

/// A handle on a node's state; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<State>>);

impl Readiness {
    /// A node that starts.
    pub fn new() -> Self {
        let (sender, _) = watch::channel(State::Starting("the process has just begun".to_owned()));
        Self(Arc::new(sender))
    }

    /// Says what the start waits for. No effect once the node is ready, draining or failed.
    pub fn starting(&self, what: impl Into<String>) {
        let next = State::Starting(what.into());
        self.advance(next, |state| matches!(state, State::Starting(_)));
    }

    /// The node serves. No effect once it drains or has failed.
    pub fn ready(&self) {
        self.advance(State::Ready, |state| matches!(state, State::Starting(_)));
    }

    /// The node stops. No effect once it has failed.
    pub fn draining(&self) {
        self.advance(State::Draining, |state| {
            matches!(state, State::Starting(_) | State::Ready)
        });
    }

    /// The node cannot go on. The first reason stays.
    pub fn failed(&self, why: impl Into<String>) {
        let next = State::Failed(why.into());
        self.advance(next, |state| !matches!(state, State::Failed(_)));
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// Whether the node serves.
    pub fn is_ready(&self) -> bool {
        *self.0.borrow() == State::Ready
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// States only follow each other in the order of their definition.
    fn advance(&self, next: State, allowed: impl FnOnce(&State) -> bool) {
        self.0.send_if_modified(|state| {
            let changes = allowed(state);
            if changes {
                *state = next;
            }
            changes
        });
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_never_go_back() {
        let readiness = Readiness::new();
        assert!(matches!(readiness.state(), State::Starting(_)));
        readiness.starting("replaying");
        assert_eq!(readiness.state().reason().unwrap(), "starting: replaying");
        readiness.ready();
        readiness.starting("again");
        assert!(readiness.is_ready());
        assert_eq!(readiness.state().reason(), None);
        readiness.draining();
        readiness.ready();
        assert_eq!(readiness.state(), State::Draining);
        readiness.failed("disk");
        readiness.failed("later");
        readiness.draining();
        assert_eq!(readiness.state(), State::Failed("disk".to_owned()));
    }

    #[tokio::test]
    async fn a_watcher_sees_a_change() {
        let readiness = Readiness::new();
        let mut watcher = readiness.watch();
        readiness.clone().ready();
        let seen = watcher.wait_for(|state| *state == State::Ready).await;
        assert!(seen.is_ok());
    }
}
