//! The parts that `/health/deep` looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// What one part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it works.
    pub healthy: bool,
    /// A sentence for people.
    pub detail: String,
}

type Ask = Arc<dyn Fn() -> Check + Send + Sync>;

/// The parts by name; clones share them.
#[derive(Clone, Default)]
pub struct Checks(Arc<RwLock<BTreeMap<String, Ask>>>);

impl Checks {
    /// No parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, or replaces the one of that name. `ask` is called for every request and must
    /// not block.
    pub fn add(&self, name: impl Into<String>, ask: impl Fn() -> Check + Send + Sync + 'static) {
        self.0.write().insert(name.into(), Arc::new(ask));
    }

    /// Asks every part.
    pub(super) fn ask(&self) -> BTreeMap<String, Check> {
        // The lock is not held while the parts answer.
        let parts: Vec<(String, Ask)> = self
            .0
            .read()
            .iter()
            .map(|(name, ask)| (name.clone(), Arc::clone(ask)))
            .collect();
        parts.into_iter().map(|(name, ask)| (name, ask())).collect()
    }
}
