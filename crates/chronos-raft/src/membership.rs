//! A membership in bytes: what a membership entry holds in the log, and what a machine keeps.
//!
//! ```text
//! u8   version, 1
//! u8   1 if the log id follows, else 0           } only in the stored form
//! u64  term, u64 index                           }
//! u16  number of configs (2 while joint)
//!      per config: u16 number of voters, u64 node id each, ascending
//! u16  number of nodes, voters and learners
//!      u64 node id each, ascending
//! ```
//! Integers are little-endian. A log entry carries the part without the log id, which the entry
//! itself has.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::LogId;
use crate::types::{Membership, RaftLogId, StoredMembership};

const VERSION: u8 = 1;

/// Bytes that are no membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The bytes end in the middle, or go on after the end.
    #[error("the bytes of a membership are cut off or too long")]
    Length,
    /// Written by a version this one does not know.
    #[error("a membership has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// The voters and the nodes do not go together.
    #[error("a membership has a voter that is not one of its nodes, or no voters")]
    Inconsistent,
}

/// The bytes of a membership entry.
pub(crate) fn encode(membership: &Membership) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, membership);
    out
}

/// The reverse of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, MembershipError> {
    let mut input = Input::versioned(bytes)?;
    let membership = input.membership()?;
    input.end()?;
    Ok(membership)
}

/// The bytes a machine keeps: the membership and where it was written.
pub(crate) fn encode_stored(stored: &StoredMembership) -> Vec<u8> {
    let mut out = vec![VERSION];
    match stored.log_id() {
        None => out.push(0),
        Some(id) => {
            let id = LogId::from(id);
            out.push(1);
            out.extend(id.term.to_le_bytes());
            out.extend(id.index.to_le_bytes());
        }
    }
    put(&mut out, stored.membership());
    out
}

/// The reverse of [`encode_stored`]; no bytes are the membership of a group without any.
pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, MembershipError> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let mut input = Input::versioned(bytes)?;
    let log_id = match input.take::<1>()? {
        [0] => None,
        _ => Some(RaftLogId::from(LogId {
            term: input.u64()?,
            index: input.u64()?,
        })),
    };
    let membership = input.membership()?;
    input.end()?;
    Ok(StoredMembership::new(log_id, membership))
}

fn put(out: &mut Vec<u8>, membership: &Membership) {
    let configs = membership.get_joint_config();
    put_count(out, configs.len());
    for config in configs {
        put_count(out, config.len());
        for id in config {
            out.extend(id.to_le_bytes());
        }
    }
    let nodes: Vec<u64> = membership.nodes().map(|(id, ())| *id).collect();
    put_count(out, nodes.len());
    for id in nodes {
        out.extend(id.to_le_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("a group has far fewer than 65,536 members");
    out.extend(count.to_le_bytes());
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn versioned(bytes: &'a [u8]) -> Result<Self, MembershipError> {
        let mut input = Self(bytes);
        match input.take::<1>()? {
            [VERSION] => Ok(input),
            [other] => Err(MembershipError::Version(other)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MembershipError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(MembershipError::Length)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u64(&mut self) -> Result<u64, MembershipError> {
        self.take().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<u16, MembershipError> {
        self.take().map(u16::from_le_bytes)
    }

    fn ids(&mut self) -> Result<BTreeSet<u64>, MembershipError> {
        (0..self.count()?).map(|_| self.u64()).collect()
    }

    fn membership(&mut self) -> Result<Membership, MembershipError> {
        let configs: Vec<_> = (0..self.count()?)
            .map(|_| self.ids())
            .collect::<Result<_, _>>()?;
        let nodes: BTreeMap<u64, ()> = self.ids()?.into_iter().map(|id| (id, ())).collect();
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| MembershipError::Inconsistent)
    }

    fn end(&self) -> Result<(), MembershipError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(MembershipError::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint() -> Membership {
        Membership::new(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4])],
            (1..=5).map(|id| (id, ())).collect::<BTreeMap<_, _>>(),
        )
        .unwrap()
    }

    #[test]
    fn round_trip() {
        assert_eq!(decode(&encode(&joint())).unwrap(), joint());
        for log_id in [None, Some(LogId { term: 7, index: 9 }.into())] {
            let stored = StoredMembership::new(log_id, joint());
            assert_eq!(decode_stored(&encode_stored(&stored)).unwrap(), stored);
        }
        let none = StoredMembership::default();
        assert_eq!(decode_stored(&encode_stored(&none)).unwrap(), none);
        assert_eq!(decode_stored(&[]).unwrap(), none);
    }

    #[test]
    fn every_cut_is_refused() {
        let stored = encode_stored(&StoredMembership::new(
            Some(LogId { term: 7, index: 9 }.into()),
            joint(),
        ));
        for len in 1..stored.len() {
            assert_eq!(decode_stored(&stored[..len]), Err(MembershipError::Length));
        }
        let mut long = stored.clone();
        long.push(0);
        assert_eq!(decode_stored(&long), Err(MembershipError::Length));
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert_eq!(decode(&[9, 0, 0]), Err(MembershipError::Version(9)));
    }

    #[test]
    fn the_first_membership_of_a_group_has_these_bytes() {
        let one = Membership::new_with_defaults(vec![BTreeSet::from([1])], []);
        let expected = [
            1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(encode(&one), expected);
    }
}
