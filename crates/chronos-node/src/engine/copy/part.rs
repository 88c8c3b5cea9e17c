//! The parts of a copy, and their form on the way.
//!
//! ```text
//! kind: 1 byte, then
//! 1 begin    varint term, varint 1 + index and varint term of the last entry that is not in the log
//! 2 pairs    any number of: family (1 byte), varint length, key, varint length, value
//! 3 records  any number of records as the log has them on disk
//! 4 end      varint term and varint index of the last entry
//! ```

use bytes::{BufMut, Bytes};
use chronos_core::store::Family;
use chronos_core::varint::{put_bytes, put_u64, take_bytes, take_u64};
use chronos_raft::LogId;
use chronos_wal::{Record, decode_record, encode_record};

/// A part of a copy.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The first one.
    Begin {
        /// The term in which the node leads that the copy is from.
        term: u64,
        /// The last entry that the log does not have any more, if it does not begin with the first.
        floor: Option<LogId>,
    },
    /// Some of the index, in the order of [`chronos_core::store::copy`].
    Pairs(Vec<(Family, Vec<u8>, Vec<u8>)>),
    /// Some of the log, in order.
    Records(Vec<Record>),
    /// The last one.
    End {
        /// The last entry of the log, which is committed.
        last: LogId,
    },
}

/// The bytes are not a part of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of a copy is damaged")]
pub struct Malformed;

impl Part {
    /// The bytes of what it copies.
    pub fn bytes(&self) -> u64 {
        let bytes: usize = match self {
            Part::Begin { .. } | Part::End { .. } => 0,
            Part::Pairs(pairs) => (pairs.iter())
                .map(|(_, key, value)| key.len() + value.len())
                .sum(),
            Part::Records(records) => records.iter().map(|record| record.body.len()).sum(),
        };
        bytes as u64
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Part::Begin { term, floor } => {
                out.push(1);
                put_u64(&mut out, *term);
                put_u64(&mut out, floor.map_or(0, |floor| floor.index + 1));
                put_u64(&mut out, floor.map_or(0, |floor| floor.term));
            }
            Part::Pairs(pairs) => {
                out.push(2);
                for (family, key, value) in pairs {
                    out.push(*family as u8);
                    put_bytes(&mut out, key);
                    put_bytes(&mut out, value);
                }
            }
            Part::Records(records) => {
                out.push(3);
                for record in records {
                    out.put_slice(&encode_record(record));
                }
            }
            Part::End { last } => {
                out.push(4);
                put_u64(&mut out, last.term);
                put_u64(&mut out, last.index);
            }
        }
        out.into()
    }

    /// Reads what [`Part::encode`] made.
    ///
    /// # Errors
    /// When it is something else. Records are checked against their checksums.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut rest) = bytes.split_first().ok_or(Malformed)?;
        let input = &mut rest;
        let number = |input: &mut &[u8]| take_u64(input).map_err(|_| Malformed);
        let part = match kind {
            1 => {
                let (term, after, floor_term) = (number(input)?, number(input)?, number(input)?);
                if after == 0 && floor_term > 0 {
                    return Err(Malformed);
                }
                let floor = after.checked_sub(1).map(|index| LogId {
                    term: floor_term,
                    index,
                });
                Part::Begin { term, floor }
            }
            2 => {
                let mut pairs = Vec::new();
                while let Some((family, rest)) = input.split_first() {
                    *input = rest;
                    let family = Family::ALL.get(usize::from(*family)).ok_or(Malformed)?;
                    let key = take_bytes(input).map_err(|_| Malformed)?.to_vec();
                    let value = take_bytes(input).map_err(|_| Malformed)?.to_vec();
                    pairs.push((*family, key, value));
                }
                Part::Pairs(pairs)
            }
            3 => {
                let mut records = Vec::new();
                while !input.is_empty() {
                    let (record, bytes) = decode_record(input).map_err(|_| Malformed)?;
                    records.push(record);
                    *input = input.get(bytes..).ok_or(Malformed)?;
                }
                Part::Records(records)
            }
            4 => {
                let (term, index) = (number(input)?, number(input)?);
                Part::End {
                    last: LogId { term, index },
                }
            }
            _ => return Err(Malformed),
        };
        match input.is_empty() {
            true => Ok(part),
            false => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        let record = |index| Record {
            index,
            meta: [3; 16],
            body: Bytes::from(vec![index as u8; 20]),
        };
        vec![
            Part::Begin {
                term: 7,
                floor: None,
            },
            Part::Begin {
                term: 7,
                floor: Some(LogId { term: 2, index: 0 }),
            },
            Part::Pairs(vec![
                (Family::Meta, vec![1, 2], vec![]),
                (Family::FarId, vec![3], vec![4; 300]),
            ]),
            Part::Records(vec![record(5), record(6)]),
            Part::End {
                last: LogId { term: 3, index: 6 },
            },
        ]
    }

    #[test]
    fn parts_round_trip() {
        for part in parts() {
            assert_eq!(Part::decode(&part.encode()), Ok(part));
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_another_part() {
        for part in parts() {
            let bytes = part.encode();
            for cut in 0..bytes.len() {
                assert_ne!(Part::decode(&bytes[..cut]).ok().as_ref(), Some(&part));
            }
            for at in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x40;
                assert_ne!(Part::decode(&damaged).ok().as_ref(), Some(&part));
            }
        }
        assert_eq!(Part::decode(&[9]), Err(Malformed));
        assert_eq!(Part::decode(&[]), Err(Malformed));
    }
}
