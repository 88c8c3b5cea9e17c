//! A Raft entry as a record of the log.
//!
//! The body of a command is exactly the command's bytes, so that whoever knows an index and a
//! position can read a part of it from the log without going through Raft. Everything Raft needs
//! besides is in the record's 16 bytes of meta:
//!
//! ```text
//! 0   u64  term, little-endian
//! 8   u8   kind: 1 blank, 2 command, 3 membership
//! 9   [7]  zero
//! ```
//!
//! There is no node id: a term has one leader, and the record of an entry is the same on every
//! replica.

use bytes::Bytes;
use chronos_wal::Record;

use crate::machine::LogId;
use crate::membership::{self, MembershipError};
use crate::types::{Command, LogEntry, Payload};

pub(crate) const BLANK: u8 = 1;
pub(crate) const COMMAND: u8 = 2;
pub(crate) const MEMBERSHIP: u8 = 3;

/// A record that no version of this crate wrote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("record {index} of the log is no Raft entry: meta {meta:02x?}")]
    Meta { index: u64, meta: [u8; 16] },
    #[error("record {index} of the log is a blank entry, but has a body of {body_bytes} bytes")]
    Blank { index: u64, body_bytes: usize },
    #[error("record {index} of the log: {cause}")]
    Membership { index: u64, cause: MembershipError },
}

/// The record of an entry. A command's bytes are shared, not copied.
pub(crate) fn encode(entry: LogEntry) -> Record {
    let (id, kind, body) = split_entry(entry);
    let mut meta = [0; 16];
    meta[..8].copy_from_slice(&id.term.to_le_bytes());
    meta[8] = kind;
    Record {
        index: id.index,
        meta,
        body,
    }
}

/// An entry as its log id, its kind and its body.
pub(crate) fn split_entry(entry: LogEntry) -> (LogId, u8, Bytes) {
    let (kind, body) = match entry.payload {
        Payload::Blank => (BLANK, Bytes::new()),
        Payload::Normal(Command(bytes)) => (COMMAND, bytes),
        Payload::Membership(membership) => (MEMBERSHIP, membership::encode(&membership).into()),
    };
    (LogId::from(&entry.log_id), kind, body)
}

/// The entry of a record.
pub(crate) fn decode(record: Record) -> Result<LogEntry, RecordError> {
    let index = record.index;
    let (log_id, kind) = split(index, &record.meta)?;
    let payload = match kind {
        BLANK if record.body.is_empty() => Payload::Blank,
        BLANK => {
            return Err(RecordError::Blank {
                index,
                body_bytes: record.body.len(),
            });
        }
        COMMAND => Payload::Normal(Command(record.body)),
        _ => Payload::Membership(
            membership::decode(&record.body)
                .map_err(|cause| RecordError::Membership { index, cause })?,
        ),
    };
    Ok(LogEntry {
        log_id: log_id.into(),
        payload,
    })
}

/// The log id of a record.
pub(crate) fn log_id(record: &Record) -> Result<LogId, RecordError> {
    split(record.index, &record.meta).map(|(id, _)| id)
}

/// How many bytes an entry's command has, the only part of an entry that can be large.
pub(crate) fn body_bytes(entry: &LogEntry) -> usize {
    match &entry.payload {
        Payload::Normal(Command(bytes)) => bytes.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

fn split(index: u64, meta: &[u8; 16]) -> Result<(LogId, u8), RecordError> {
    let [t0, t1, t2, t3, t4, t5, t6, t7, kind, rest @ ..] = *meta;
    let term = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    if rest != [0; 7] || !matches!(kind, BLANK | COMMAND | MEMBERSHIP) {
        return Err(RecordError::Meta { index, meta: *meta });
    }
    Ok((LogId { term, index }, kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::types::Membership;

    fn entry(payload: Payload) -> LogEntry {
        let log_id = LogId { term: 3, index: 8 }.into();
        LogEntry { log_id, payload }
    }

    #[test]
    fn round_trip() {
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], []);
        for payload in [
            Payload::Blank,
            Payload::Normal(Command(Bytes::from_static(b"abc"))),
            Payload::Normal(Command(Bytes::new())),
            Payload::Membership(membership),
        ] {
            let record = encode(entry(payload.clone()));
            assert_eq!(log_id(&record).unwrap(), LogId { term: 3, index: 8 });
            assert!(decode(record).unwrap() == entry(payload));
        }
    }

    #[test]
    fn the_body_of_a_command_is_the_commands_own_bytes() {
        let bytes = Bytes::from(vec![7; 100]);
        let record = encode(entry(Payload::Normal(Command(bytes.clone()))));
        assert_eq!(record.body.as_ptr(), bytes.as_ptr());
        assert_eq!(
            record.meta,
            [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn foreign_meta_is_refused() {
        let good = encode(entry(Payload::Blank));
        for (at, value) in [(8, 0), (8, 4), (9, 1), (15, 1)] {
            let mut bad = good.clone();
            bad.meta[at] = value;
            assert!(matches!(decode(bad), Err(RecordError::Meta { .. })));
        }
        let mut bad = good;
        bad.body = Bytes::from_static(b"x");
        assert!(matches!(decode(bad), Err(RecordError::Blank { .. })));
    }
}
