//! Requests.

use bytes::Bytes;

use super::VERSION;
use super::input::{Input, WireError, put_log_id, put_optional_log_id};
use crate::machine::LogId;
use crate::membership::MembershipError;
use crate::record::{BLANK, COMMAND, MEMBERSHIP};
use crate::types::{Command, LogEntry, Payload};
use crate::{membership, record};

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE: u8 = 3;
const TRANSFER: u8 = 4;
const SEED: u8 = 5;

/// The head of an entry: term, kind, length of the body.
const HEAD_BYTES: usize = 8 + 1 + 4;

/// Whom a request is from and for. The target checks it, because an address may have come to
/// belong to another node.
///
/// ```text
/// u8   version, 1
/// u8   kind of the message
/// u32  group
/// u64  node that sends
/// u64  node that is meant
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) group: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What is asked of a peer. The node that sends is the leader or the candidate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// Kind 1, see [`Append`].
    Append(Append),
    /// Kind 2, see [`Ask`]; then `u8`, 1 if the leader handed the lead over to the candidate.
    Vote { ask: Ask, transfer: bool },
    /// Kind 3, see [`Ask`]: whether the vote would be given.
    PreVote(Ask),
    /// Kind 4: `u64` term, `u64` node that is to lead, and the sender's last entry as in [`Ask`].
    Transfer {
        term: u64,
        to: u64,
        last: Option<LogId>,
    },
    /// Kind 5: `u64` term, then `u64` term and `u64` index of the last entry that the leader's log
    /// no longer has.
    Seed { term: u64, floor: LogId },
}

/// Entries of a leader, or none when it only says that it is there.
///
/// ```text
/// u64  term of the leader
/// u8   1 if the entry before the first follows, else 0
///      u64 term, u64 index
/// u8   1 if the last committed entry follows, else 0
///      u64 term, u64 index
/// u32  number of entries
///      per entry: u64 term, u8 kind as in the log, u32 length of the body
/// the bodies, one after the other
/// ```
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Append {
    pub(crate) term: u64,
    pub(crate) prev: Option<LogId>,
    pub(crate) commit: Option<LogId>,
    pub(crate) entries: Vec<LogEntry>,
}

/// A candidate and how far its log reaches.
///
/// ```text
/// u64  term of the vote
/// u8   1 if the candidate's last entry follows, else 0
///      u64 term, u64 index
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) term: u64,
    pub(crate) last: Option<LogId>,
}

impl Message {
    /// The parts of a request: everything small, then the bodies of entries as they are.
    pub(crate) fn encode(self, envelope: Envelope) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(128);
        out.extend([VERSION, self.kind()]);
        out.extend(envelope.group.to_le_bytes());
        out.extend(envelope.from.to_le_bytes());
        out.extend(envelope.to.to_le_bytes());
        let mut bodies = Vec::new();
        match self {
            Self::Append(append) => bodies = append.put(&mut out),
            Self::Vote { ask, transfer } => {
                ask.put(&mut out);
                out.push(u8::from(transfer));
            }
            Self::PreVote(ask) => ask.put(&mut out),
            Self::Transfer { term, to, last } => {
                out.extend(term.to_le_bytes());
                out.extend(to.to_le_bytes());
                put_optional_log_id(&mut out, last);
            }
            Self::Seed { term, floor } => {
                out.extend(term.to_le_bytes());
                put_log_id(&mut out, floor);
            }
        }
        let mut parts = vec![Bytes::from(out)];
        parts.append(&mut bodies);
        parts
    }

    /// The reverse of [`Message::encode`]. Bodies are slices of `bytes`.
    pub(crate) fn decode(bytes: Bytes) -> Result<(Envelope, Self), WireError> {
        let mut input = Input::versioned(bytes)?;
        let kind = input.u8()?;
        let envelope = Envelope {
            group: input.u32()?,
            from: input.u64()?,
            to: input.u64()?,
        };
        let message = match kind {
            APPEND => Self::Append(Append::take(&mut input)?),
            VOTE => Self::Vote {
                ask: Ask::take(&mut input)?,
                transfer: input.flag()?,
            },
            PRE_VOTE => Self::PreVote(Ask::take(&mut input)?),
            TRANSFER => Self::Transfer {
                term: input.u64()?,
                to: input.u64()?,
                last: input.optional_log_id()?,
            },
            SEED => Self::Seed {
                term: input.u64()?,
                floor: input.log_id()?,
            },
            other => return Err(WireError::Kind(other)),
        };
        input.end()?;
        Ok((envelope, message))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Append(_) => APPEND,
            Self::Vote { .. } => VOTE,
            Self::PreVote(_) => PRE_VOTE,
            Self::Transfer { .. } => TRANSFER,
            Self::Seed { .. } => SEED,
        }
    }
}

impl Append {
    fn put(self, out: &mut Vec<u8>) -> Vec<Bytes> {
        out.extend(self.term.to_le_bytes());
        put_optional_log_id(out, self.prev);
        put_optional_log_id(out, self.commit);
        let count = u32::try_from(self.entries.len()).expect("a read of the log is bounded");
        out.extend(count.to_le_bytes());
        out.reserve(self.entries.len() * HEAD_BYTES);
        let mut bodies = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let (id, kind, body) = record::split_entry(entry);
            let len = u32::try_from(body.len()).expect("a record's length fits into 32 bits");
            out.extend(id.term.to_le_bytes());
            out.push(kind);
            out.extend(len.to_le_bytes());
            if !body.is_empty() {
                bodies.push(body);
            }
        }
        bodies
    }

    fn take(input: &mut Input) -> Result<Self, WireError> {
        let term = input.u64()?;
        let prev = input.optional_log_id()?;
        let commit = input.optional_log_id()?;
        let count = input.u32()? as usize;
        if count > input.remaining() / HEAD_BYTES {
            return Err(WireError::Length);
        }
        let mut heads = input.bytes(count * HEAD_BYTES)?;
        let mut last = prev;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let index = match last {
                None => 0,
                Some(last) => last.index.checked_add(1).ok_or(WireError::Index)?,
            };
            let (head, kind, len) = split_head(&heads.split_to(HEAD_BYTES));
            if head < last.map_or(0, |last| last.term) || head > term {
                return Err(WireError::Term);
            }
            let body = input.bytes(len)?;
            let payload = match kind {
                BLANK if body.is_empty() => Payload::Blank,
                BLANK => return Err(WireError::BlankBody),
                COMMAND => Payload::Normal(Command(body)),
                MEMBERSHIP => {
                    let membership = membership::decode(&body)?;
                    if membership.get_joint_config().is_empty() {
                        return Err(MembershipError::Inconsistent.into());
                    }
                    Payload::Membership(membership)
                }
                other => return Err(WireError::EntryKind(other)),
            };
            let id = LogId { term: head, index };
            last = Some(id);
            entries.push(LogEntry {
                log_id: id.into(),
                payload,
            });
        }
        Ok(Self {
            term,
            prev,
            commit,
            entries,
        })
    }
}

fn split_head(head: &[u8]) -> (u64, u8, usize) {
    let mut term = [0; 8];
    term.copy_from_slice(&head[..8]);
    let mut len = [0; 4];
    len.copy_from_slice(&head[9..]);
    (
        u64::from_le_bytes(term),
        head[8],
        u32::from_le_bytes(len) as usize,
    )
}

impl Ask {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.term.to_le_bytes());
        put_optional_log_id(out, self.last);
    }

    fn take(input: &mut Input) -> Result<Self, WireError> {
        Ok(Self {
            term: input.u64()?,
            last: input.optional_log_id()?,
        })
    }
}
