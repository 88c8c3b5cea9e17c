//! `CreateGroup`: a consumer group begins to exist in this partition.

use super::DecodeError;
use crate::varint::{put_bytes, put_u64, take_string, take_u64};

/// Where a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the earliest event still stored.
    Earliest,
    /// At what is not yet released; for the first group of a topic also at everything that was
    /// released while nobody was there.
    Unclaimed,
    /// At events with this offset or a greater one.
    Offset(u64),
}

/// A group to create. A group that reads two topics is two groups here, told apart by their topic.
/// Creating a group that exists changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGroup {
    /// Name of the group.
    pub name: String,
    /// The topic it reads; `None` reads every topic.
    pub topic: Option<String>,
    /// Where it begins.
    pub start: Start,
    /// Whether retention waits until the group has settled an event.
    pub is_waited_for: bool,
}

impl CreateGroup {
    /// The section's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.name.as_bytes());
        match &self.topic {
            None => out.push(0),
            Some(topic) => {
                out.push(1);
                put_bytes(&mut out, topic.as_bytes());
            }
        }
        match self.start {
            Start::Earliest => out.push(0),
            Start::Unclaimed => out.push(1),
            Start::Offset(offset) => {
                out.push(2);
                put_u64(&mut out, offset);
            }
        }
        out.push(u8::from(self.is_waited_for));
        out
    }

    /// Reads a section's payload.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let name = take_string(input)?;
        let topic = match take_u64(input)? {
            0 => None,
            1 => Some(take_string(input)?),
            _ => return Err(DecodeError::Malformed("unknown topic form")),
        };
        let start = match take_u64(input)? {
            0 => Start::Earliest,
            1 => Start::Unclaimed,
            2 => Start::Offset(take_u64(input)?),
            _ => return Err(DecodeError::Malformed("unknown start position")),
        };
        let is_waited_for = match take_u64(input)? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed("unknown way of waiting")),
        };
        Ok(Self {
            name,
            topic,
            start,
            is_waited_for,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_come_back() {
        for topic in [None, Some(String::new()), Some("orders".to_owned())] {
            for start in [Start::Earliest, Start::Unclaimed, Start::Offset(u64::MAX)] {
                let create = CreateGroup {
                    name: "a:b".into(),
                    topic: topic.clone(),
                    start,
                    is_waited_for: start == Start::Earliest,
                };
                let payload = create.encode();
                assert_eq!(CreateGroup::decode(&payload), Ok(create));
                for cut in 0..payload.len() {
                    assert!(CreateGroup::decode(&payload[..cut]).is_err());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(payload in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 3..12),
        ]) {
            if let Ok(create) = CreateGroup::decode(&payload) {
                prop_assert_eq!(CreateGroup::decode(&create.encode()), Ok(create));
            }
        }
    }
}
