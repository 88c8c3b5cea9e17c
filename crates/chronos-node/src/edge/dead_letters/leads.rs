//! The leads that a call of several steps relies on.
//!
//! Without its lead a partition looks as if it had no letters: named ones are not found, and a filter
//! passes it over. So what a step finds counts only if no lead was lost since the call began.

use crate::edge::view::View;
use chronos_core::types::PartitionNumber;

/// The partitions that this node leads, each with the term in which it does.
#[derive(Debug)]
pub struct Leads(Vec<(PartitionNumber, u64)>);

impl Leads {
    /// As they are now.
    pub fn of(engine: &View) -> Self {
        let led = engine.partitions().into_iter();
        let leads = led.filter_map(|handle| Some((handle.number, handle.led_in()?)));
        Self(leads.collect())
    }

    /// A partition that this node has ceased to lead since, or that was named and is led elsewhere.
    pub fn lost(&self, engine: &View) -> Option<PartitionNumber> {
        let led_in = |number| {
            let handle = engine.partition(number);
            handle.and_then(|handle| handle.led_in())
        };
        let lost = (self.0.iter()).find(|(number, term)| led_in(*number) != Some(*term));
        lost.map(|(number, _)| *number).or_else(|| engine.missing())
    }
}
