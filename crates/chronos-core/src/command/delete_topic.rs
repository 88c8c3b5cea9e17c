//! `DeleteTopic`: everything that was published to a topic is gone from this partition.

use super::DecodeError;
use crate::varint::{put_bytes, put_u64, take_bytes, take_string, take_u64};
use roaring::RoaringTreemap;

/// A topic to delete. Its name keeps its number: what is published later is a new topic of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopic {
    /// Its name.
    pub name: String,
    /// Refuse when more events than this were ever accepted for later: some of them are pending,
    /// because the leader counted none when there were so many. `None` deletes what is pending too.
    pub if_scheduled: Option<u64>,
    /// Offsets of its events, as far as the leader knows them: nobody keeps these for their age.
    pub offsets: RoaringTreemap,
}

impl DeleteTopic {
    /// The section's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.name.as_bytes());
        match self.if_scheduled {
            None => out.push(0),
            Some(scheduled) => {
                out.push(1);
                put_u64(&mut out, scheduled);
            }
        }
        let mut offsets = Vec::new();
        self.offsets
            .serialize_into(&mut offsets)
            .expect("writing to memory does not fail");
        put_bytes(&mut out, &offsets);
        out
    }

    /// Reads a section's payload.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let name = take_string(input)?;
        let if_scheduled = match take_u64(input)? {
            0 => None,
            1 => Some(take_u64(input)?),
            _ => return Err(DecodeError::Malformed("unknown condition of a deletion")),
        };
        let offsets = RoaringTreemap::deserialize_from(take_bytes(input)?)
            .map_err(|_| DecodeError::Malformed("the offsets of a deletion cannot be read"))?;
        Ok(Self {
            name,
            if_scheduled,
            offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back(name: String, if_scheduled: Option<u64>, offsets: Vec<u64>) {
            let offsets = offsets.into_iter().collect();
            let command = DeleteTopic { name, if_scheduled, offsets };
            let payload = command.encode();
            for cut in 0..payload.len() {
                prop_assert!(DeleteTopic::decode(&payload[..cut]).is_err());
            }
            prop_assert_eq!(DeleteTopic::decode(&payload), Ok(command));
        }

        #[test]
        fn any_bytes_are_refused_or_read(payload in prop::collection::vec(0_u8..4, 0..20)) {
            if let Ok(command) = DeleteTopic::decode(&payload) {
                prop_assert_eq!(DeleteTopic::decode(&command.encode()), Ok(command));
            }
        }
    }
}
