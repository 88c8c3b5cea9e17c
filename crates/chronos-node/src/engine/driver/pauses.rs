//! Pauses of topics and groups as they come from the catalog and as their time is over.

use super::Driver;
use chronos_core::types::GroupNumber;

impl Driver {
    /// Tells the groups what is paused, if that may have changed. Before anything is handed out.
    pub(super) fn heed_pauses(&mut self, now_ms: i64) {
        if !self.pauses.refresh(self.topics, now_ms) {
            return;
        }
        let numbers: Vec<_> = self.groups.keys().copied().collect();
        for number in numbers {
            self.pause_group(number, now_ms);
        }
    }

    /// Tells one group what is paused for it.
    pub(super) fn pause_group(&mut self, number: GroupNumber, now_ms: i64) {
        let current = self.pauses.current();
        let pause = {
            let state = self.handle.state.lock();
            let group = state.groups().get(number as usize);
            group.map(|group| current.of_group(group, state.topics(), now_ms))
        };
        if let (Some(group), Some(pause)) = (self.groups.get_mut(&number), pause) {
            group.pause(pause);
            self.active.insert(number);
        }
    }
}
