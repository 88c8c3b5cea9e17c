//! What a partition knows of a topic besides its name: what was deleted, and how large its events are.

use crate::types::TopicNumber;
use crate::varint::{Malformed, put_u64, take_u64};
use hashbrown::HashSet;

/// How a topic stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicState {
    /// Events of the topic with offsets below were deleted.
    pub deleted_below: u64,
    /// It was deleted, and nobody has named it since.
    pub gone: bool,
    /// Events accepted for later since it began.
    pub later_events: u64,
    /// Their bytes, as they were sent.
    pub later_bytes: u64,
}

impl TopicState {
    /// Bytes that this many events have, if they are of mean size.
    #[must_use]
    pub fn mean_bytes(&self, events: u64) -> u64 {
        match u128::from(self.later_events) {
            0 => 0,
            count => {
                let bytes = u128::from(events) * u128::from(self.later_bytes) / count;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.deleted_below);
        put_u64(&mut out, u64::from(self.gone));
        put_u64(&mut out, self.later_events);
        put_u64(&mut out, self.later_bytes);
        out
    }

    pub(super) fn decode(mut value: &[u8]) -> Result<Self, Malformed> {
        let input = &mut value;
        Ok(Self {
            deleted_below: take_u64(input)?,
            gone: match take_u64(input)? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
            later_events: take_u64(input)?,
            later_bytes: take_u64(input)?,
        })
    }
}

/// How every topic stands, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct TopicStates {
    states: Vec<TopicState>,
    /// Those that are not in the last checkpoint.
    unsaved: HashSet<TopicNumber>,
    /// Topics whose deletion the leader has not taken into account: what it counted as released
    /// belongs to the time before.
    pub(super) unseen: HashSet<TopicNumber>,
}

impl TopicStates {
    pub(super) fn get(&self, topic: TopicNumber) -> TopicState {
        self.states.get(topic as usize).copied().unwrap_or_default()
    }

    /// The state, to be changed.
    pub(super) fn change(&mut self, topic: TopicNumber) -> &mut TopicState {
        let at = topic as usize;
        if self.states.len() <= at {
            self.states.resize(at + 1, TopicState::default());
        }
        self.unsaved.insert(topic);
        &mut self.states[at]
    }

    /// Somebody names the topic.
    pub(super) fn named(&mut self, topic: TopicNumber) {
        if self.get(topic).gone {
            self.change(topic).gone = false;
        }
    }

    pub(super) fn restore(&mut self, topic: TopicNumber, value: &[u8]) -> Result<(), Malformed> {
        *self.change(topic) = TopicState::decode(value)?;
        self.unsaved.remove(&topic);
        Ok(())
    }

    /// What a checkpoint is to say.
    pub(super) fn take_unsaved(&mut self) -> Vec<(TopicNumber, TopicState)> {
        let mut unsaved: Vec<_> = self.unsaved.drain().collect();
        unsaved.sort_unstable();
        let states = unsaved.into_iter().map(|topic| (topic, self.get(topic)));
        states.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mean_is_of_what_was_accepted() {
        let state = TopicState {
            later_events: 4,
            later_bytes: 100,
            ..TopicState::default()
        };
        assert_eq!(state.mean_bytes(3), 75);
        assert_eq!(TopicState::default().mean_bytes(3), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(value in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..3, 0..8),
        ]) {
            if let Ok(state) = TopicState::decode(&value) {
                prop_assert_eq!(TopicState::decode(&state.encode()), Ok(state));
            }
        }
    }
}
