//! Key order: one delivery under way for each key. The others of the key wait in its lane, and hold
//! up nobody else.

use super::Stretch;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// The events of one key that are not settled.
#[derive(Debug, Default)]
struct Lane {
    /// Handed out, or to be handed out again. More than one only of those that were under way when
    /// key order began.
    holders: Vec<u64>,
    /// Those that come after, in due order.
    waiting: VecDeque<Stretch>,
}

/// The lanes of a group.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By the key's hash: keys that share one wait for each other, which does no harm.
    lanes: HashMap<u64, Lane>,
    /// The key of every event whose key was read.
    keys: HashMap<u64, u64>,
    waiting: u64,
    /// Whether what was under way when key order began holds its lanes.
    pub(super) begun: bool,
}

impl Lanes {
    /// Takes note of an event's key.
    pub(super) fn learn(&mut self, offset: u64, key: u64) {
        self.keys.insert(offset, key);
    }

    /// Whether an event's key was read, and the event is not settled since.
    pub(super) fn knows(&self, offset: u64) -> bool {
        self.keys.contains_key(&offset)
    }

    /// Events that wait for one of the same key.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Whether an event may go now; if not, it waits in its lane, in due order.
    pub(super) fn admit(&mut self, stretch: Stretch) -> bool {
        let offset = stretch.first_offset;
        let Some(key) = self.keys.get(&offset) else {
            return true;
        };
        let Some(lane) = self.lanes.get_mut(key) else {
            return true;
        };
        if lane.holders == [offset] {
            return true;
        }
        lane.holders.retain(|holder| *holder != offset);
        let at = match lane.waiting.back() {
            Some(last) if *last > stretch => lane.waiting.partition_point(|s| *s < stretch),
            _ => lane.waiting.len(),
        };
        lane.waiting.insert(at, stretch);
        self.waiting += 1;
        false
    }

    /// An event goes, and the others of its key wait until it is settled.
    pub(super) fn hold(&mut self, offset: u64) {
        if let Some(key) = self.keys.get(&offset) {
            let holders = &mut self.lanes.entry(*key).or_default().holders;
            if !holders.contains(&offset) {
                holders.push(offset);
            }
        }
    }

    /// An event is settled; the one that may go now, if any. An event that waits in its lane stays
    /// there until its turn.
    pub(super) fn release(&mut self, offset: u64) -> Option<Stretch> {
        let key = *self.keys.get(&offset)?;
        let lane = self.lanes.get_mut(&key)?;
        let at = lane.holders.iter().position(|holder| *holder == offset)?;
        lane.holders.swap_remove(at);
        self.keys.remove(&offset);
        if !lane.holders.is_empty() {
            return None;
        }
        let Some(next) = lane.waiting.pop_front() else {
            self.lanes.remove(&key);
            return None;
        };
        // It holds the lane from now on, so that no later event of the key overtakes it.
        lane.holders.push(next.first_offset);
        self.waiting -= 1;
        Some(next)
    }

    /// An event that waited outside its lane was settled meanwhile.
    pub(super) fn forget(&mut self, offset: u64) {
        self.keys.remove(&offset);
    }

    /// Takes out those that wait and of which this is true.
    pub(super) fn take_waiting(&mut self, of: impl Fn(&Stretch) -> bool) -> Vec<Stretch> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            let (gone, kept) = std::mem::take(&mut lane.waiting).into_iter().partition(&of);
            lane.waiting = kept;
            taken.append(&mut Vec::from(gone));
        }
        self.waiting -= taken.len() as u64;
        taken
    }

    /// Key order is over: everything that waits, lane by lane.
    pub(super) fn dissolve(self) -> impl Iterator<Item = Stretch> {
        (self.lanes.into_values()).flat_map(|lane| lane.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stretch_of_one;
    use super::*;
    use chronos_core::types::DueKey;

    fn event(offset: u64) -> Stretch {
        stretch_of_one(1, offset, DueKey::MIN)
    }

    #[test]
    fn a_lane_goes_one_by_one_and_leaves_nothing_behind() {
        let mut lanes = Lanes::default();
        for offset in 0..3 {
            lanes.learn(offset, 7);
        }
        assert!(lanes.admit(event(0)));
        lanes.hold(0);
        assert!(lanes.admit(event(0)), "again, after a failure");
        assert!(!lanes.admit(event(1)) && !lanes.admit(event(2)));
        assert_eq!(lanes.release(1), None, "it only waits");
        assert_eq!(lanes.release(0), Some(event(1)));
        assert!(lanes.admit(event(1)) && lanes.waiting() == 1);
        assert_eq!(lanes.release(1), Some(event(2)));
        assert_eq!(lanes.release(2), None);
        assert!(lanes.lanes.is_empty() && lanes.keys.is_empty() && lanes.waiting == 0);
    }

    #[test]
    fn what_was_under_way_at_the_beginning_holds_together() {
        let mut lanes = Lanes::default();
        for offset in [4, 5, 6, 9] {
            lanes.learn(offset, offset % 4 / 3);
        }
        lanes.hold(4);
        lanes.hold(5);
        assert!(!lanes.admit(event(9)) && !lanes.admit(event(6)));
        assert!(
            !lanes.admit(event(4)),
            "it failed, and the other is still under way"
        );
        assert_eq!(lanes.release(5), Some(event(4)), "in due order");
        assert_eq!(lanes.release(4), Some(event(6)));
        assert!(lanes.dissolve().eq([event(9)]));
    }
}
