//! The partitions that a call is served by: all that this node leads, or only some of them.

use crate::engine::{Engine, Handle};
use chronos_core::types::PartitionNumber;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

/// The engine, as a call sees it. What is not about partitions is the engine's.
#[derive(Clone)]
pub struct View {
    engine: Arc<Engine>,
    only: Option<Arc<BTreeSet<PartitionNumber>>>,
}

impl View {
    /// Of everything that the node leads.
    pub fn whole(engine: Arc<Engine>) -> Self {
        Self { engine, only: None }
    }

    /// Of these partitions, as far as the node leads them.
    pub fn only(engine: Arc<Engine>, partitions: BTreeSet<PartitionNumber>) -> Self {
        Self {
            engine,
            only: Some(Arc::new(partitions)),
        }
    }

    /// Whether the partitions were named: then whoever named them has to know when one of them is no
    /// longer led here.
    pub fn is_part(&self) -> bool {
        self.only.is_some()
    }

    /// The partitions that were named, if some were.
    pub fn named(&self) -> Option<&BTreeSet<PartitionNumber>> {
        self.only.as_deref()
    }

    /// Its partitions that this node leads, in order.
    pub fn partitions(&self) -> Vec<Handle> {
        let mut led = self.engine.partitions();
        if let Some(only) = &self.only {
            led.retain(|handle| only.contains(&handle.number));
        }
        led
    }

    /// A partition of it, if this node leads it.
    pub fn partition(&self, number: PartitionNumber) -> Option<Handle> {
        let is_in_view = self.only.as_ref().is_none_or(|only| only.contains(&number));
        self.engine.partition(number).filter(|_| is_in_view)
    }

    /// A partition that was named and is not led here.
    pub fn missing(&self) -> Option<PartitionNumber> {
        let mut only = self.only.iter().flat_map(|only| only.iter().copied());
        only.find(|number| self.engine.partition(*number).is_none())
    }

    /// The engine, whatever the view.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl Deref for View {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}
