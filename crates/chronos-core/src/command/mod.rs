//! What goes through the log.
//!
//! The body of a log entry is one [`Batch`]: a header with the leader's clock and term, then any
//! number of sections, one command each. An entry without sections is the `Advance` command: it
//! moves the horizon to the leader's clock and nothing else, as every entry does.
//!
//! ```text
//! version u8 · 0 u8 · sections u16 · ahead_ms u32 · now_ms i64 · term u64      24 bytes, little-endian
//! kind u8 · 0 u24 · len u32 · payload                                   once per section
//! ```
//!
//! `ahead_ms` moves the horizon beyond the leader's clock by that much: the leader releases what is
//! about to fall due before it does, and holds delivery until the clock is there.
//!
//! A section starts at a position that the index may keep, so that one event can be read back
//! without reading its neighbours.

pub mod carry;
pub mod change;
pub mod create_group;
pub mod dead_letters;
pub mod delete_topic;
pub mod publish;
pub mod settle;

use bytes::{BufMut, Bytes, BytesMut};

/// Version of the entry format.
pub const VERSION: u8 = 2;
/// Length of an entry's header, bytes.
pub const HEADER_LEN: usize = 24;
/// Length of a section's header, bytes.
pub const SECTION_HEADER_LEN: usize = 8;

/// An entry could not be read. On bytes whose checksums were right this means a defect or a newer
/// version, never something a client can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Ends early, or holds lengths that do not fit each other.
    #[error("the log entry is malformed: {0}")]
    Malformed(&'static str),
    /// Written by another version.
    #[error(
        "the log entry has format version {0}, this build reads version {VERSION}: run the build that wrote it"
    )]
    Version(u8),
    /// A command this build does not know.
    #[error("the log entry holds a command of kind {0}, unknown to this build: run a newer build")]
    Kind(u8),
}

impl From<crate::varint::Malformed> for DecodeError {
    fn from(_: crate::varint::Malformed) -> Self {
        DecodeError::Malformed("a number or length runs past the end")
    }
}

/// The commands, with the numbers they have in the log. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Events to accept: [`publish`].
    Publish = 1,
    /// Progress of a group: [`settle`].
    Settle = 2,
    /// A consumer group to create: [`create_group`].
    CreateGroup = 3,
    /// Scheduled events to cancel, move, fire or look at: [`change`].
    Change = 4,
    /// An event to cancel and others to publish, both or neither: [`change::Replace`].
    Replace = 5,
    /// Dead letters to redrive, edit or discard, and what became of redriven ones: [`dead_letters`].
    DeadLetters = 6,
    /// Events of the log's beginning once more: [`carry`].
    Carry = 7,
    /// Where they stand from now on: [`carry::Moved`].
    Moved = 9,
    /// A topic to delete: [`delete_topic`].
    DeleteTopic = 8,
}

impl Kind {
    fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Kind::Publish),
            2 => Ok(Kind::Settle),
            3 => Ok(Kind::CreateGroup),
            4 => Ok(Kind::Change),
            5 => Ok(Kind::Replace),
            6 => Ok(Kind::DeadLetters),
            7 => Ok(Kind::Carry),
            9 => Ok(Kind::Moved),
            8 => Ok(Kind::DeleteTopic),
            other => Err(DecodeError::Kind(other)),
        }
    }
}

/// Builds the body of an entry.
#[derive(Debug)]
pub struct Builder {
    body: BytesMut,
    sections: u16,
}

impl Builder {
    /// An entry with room for `capacity` bytes of sections.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut body = BytesMut::with_capacity(HEADER_LEN + capacity);
        body.put_bytes(0, HEADER_LEN);
        Self { body, sections: 0 }
    }

    /// Adds a command. Returns its place among the entry's sections.
    pub fn push(&mut self, kind: Kind, payload: &[u8]) -> u16 {
        self.body.reserve(SECTION_HEADER_LEN + payload.len());
        self.body.put_u8(kind as u8);
        self.body.put_bytes(0, 3);
        self.body
            .put_u32_le(u32::try_from(payload.len()).expect("entries are far below 4 GiB"));
        self.body.put_slice(payload);
        self.sections += 1;
        self.sections - 1
    }

    /// Number of commands so far.
    #[must_use]
    pub fn sections(&self) -> u16 {
        self.sections
    }

    /// Size so far, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether it holds no command.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections == 0
    }

    /// Seals the entry with the leader's clock (Unix ms) and term. The horizon moves to
    /// `now_ms + ahead_ms`.
    #[must_use]
    pub fn finish(mut self, now_ms: i64, ahead_ms: u32, term: u64) -> Bytes {
        self.body[0] = VERSION;
        self.body[2..4].copy_from_slice(&self.sections.to_le_bytes());
        self.body[4..8].copy_from_slice(&ahead_ms.to_le_bytes());
        self.body[8..16].copy_from_slice(&now_ms.to_le_bytes());
        self.body[16..24].copy_from_slice(&term.to_le_bytes());
        self.body.freeze()
    }
}

/// The body of an entry, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The leader's clock when it proposed the entry, Unix milliseconds.
    pub now_ms: i64,
    /// How far beyond it the horizon moves, milliseconds.
    pub ahead_ms: u32,
    /// The leader's term.
    pub term: u64,
    sections: u16,
    body: &'a [u8],
}

/// One command of a batch, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Which command.
    pub kind: Kind,
    /// Where the payload starts in the entry's body, bytes.
    pub position: u32,
    /// The command itself.
    pub payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the header; the sections are checked as [`Batch::sections`] walks them.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let header: &[u8; HEADER_LEN] = body
            .first_chunk()
            .ok_or(DecodeError::Malformed("shorter than its header"))?;
        if header[0] != VERSION {
            return Err(DecodeError::Version(header[0]));
        }
        Ok(Self {
            now_ms: i64::from_le_bytes(le(header, 8)),
            ahead_ms: u32::from_le_bytes(le(header, 4)),
            term: u64::from_le_bytes(le(header, 16)),
            sections: u16::from_le_bytes(le(header, 2)),
            body,
        })
    }

    /// Walks the commands in order.
    pub fn sections(&self) -> impl Iterator<Item = Result<Section<'a>, DecodeError>> + use<'a> {
        let (body, mut left, mut position, mut failed) =
            (self.body, self.sections, HEADER_LEN, false);
        std::iter::from_fn(move || {
            if left == 0 || failed {
                return None;
            }
            left -= 1;
            let section = section_at(body, position);
            match &section {
                Ok(section) => position = section.position as usize + section.payload.len(),
                Err(_) => failed = true,
            }
            Some(section)
        })
    }
}

fn section_at(body: &[u8], position: usize) -> Result<Section<'_>, DecodeError> {
    let too_short = DecodeError::Malformed("a section runs past the end");
    let header: &[u8; SECTION_HEADER_LEN] = body
        .get(position..)
        .and_then(|rest| rest.first_chunk())
        .ok_or(too_short)?;
    let start = position + SECTION_HEADER_LEN;
    let len = u32::from_le_bytes(le(header, 4)) as usize;
    let payload = start
        .checked_add(len)
        .and_then(|end| body.get(start..end))
        .ok_or(too_short)?;
    Ok(Section {
        kind: Kind::from_number(header[0])?,
        position: u32::try_from(start).map_err(|_| too_short)?,
        payload,
    })
}

/// `N` bytes of a slice known to be long enough.
fn le<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_come_back_in_order() {
        let mut builder = Builder::new(64);
        builder.push(Kind::Publish, b"first");
        builder.push(Kind::Settle, b"");
        builder.push(Kind::CreateGroup, b"third");
        let body = builder.finish(-42, 5, 9);
        let batch = Batch::decode(&body).unwrap();
        assert_eq!((batch.now_ms, batch.ahead_ms, batch.term), (-42, 5, 9));
        let sections: Vec<_> = batch
            .sections()
            .map(|s| s.map(|s| (s.kind, s.payload)))
            .collect();
        assert_eq!(
            sections,
            [
                Ok((Kind::Publish, &b"first"[..])),
                Ok((Kind::Settle, b"")),
                Ok((Kind::CreateGroup, b"third"))
            ]
        );
        for section in batch.sections().flatten() {
            assert_eq!(
                &body[section.position as usize..][..section.payload.len()],
                section.payload
            );
        }
    }

    #[test]
    fn other_formats_are_named() {
        let mut body = Builder::new(0).finish(0, 0, 0).to_vec();
        body[0] = VERSION + 1;
        assert_eq!(
            Batch::decode(&body).unwrap_err(),
            DecodeError::Version(VERSION + 1)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(mut body: Vec<u8>) {
            if let Some(first) = body.first_mut() {
                *first = VERSION;
            }
            if let Ok(batch) = Batch::decode(&body) {
                for section in batch.sections().flatten() {
                    let _ = publish::Publish::decode(section.payload);
                    let _ = settle::Settle::decode(section.payload);
                    let _ = create_group::CreateGroup::decode(section.payload);
                    let _ = change::Change::decode(section.payload);
                    let _ = change::Replace::decode(section.payload);
                    let _ = dead_letters::DeadLetters::decode(section.payload);
                    let _ = carry::Moved::decode(section.payload);
                }
            }
        }
    }
}
