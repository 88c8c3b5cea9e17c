//! Knowing when openraft has let go of what it was given.
//!
//! Its shutdown waits for the core task only. The task that applies entries ends a little later,
//! and with it the last handles of the log and the machine are dropped; a log can be opened again
//! only after that.

use tokio::sync::watch;

/// Held by whatever has to be gone.
#[derive(Clone)]
pub(crate) struct Presence {
    _held: watch::Sender<()>,
}

/// Waits for all clones of a [`Presence`] to be dropped.
#[derive(Clone)]
pub(crate) struct Absence(watch::Receiver<()>);

pub(crate) fn presence() -> (Presence, Absence) {
    let (held, gone) = watch::channel(());
    (Presence { _held: held }, Absence(gone))
}

impl Absence {
    pub(crate) async fn wait(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
