//! Answers.

use bytes::Bytes;
use openraft::vote::RaftLeaderId;

use super::VERSION;
use super::input::{Input, WireError, put_optional_log_id};
use crate::machine::LogId;
use crate::types::Vote;

/// How long the text of a refusal may be.
const MAX_TEXT_BYTES: usize = 1024;

const APPENDED: u8 = 1;
const CONFLICT: u8 = 2;
const HIGHER_VOTE: u8 = 3;
const VOTED: u8 = 4;
const TRANSFERRED: u8 = 5;
const NOT_FLUSHED: u8 = 6;
const SEED_PENDING: u8 = 7;
const SEED_HELD: u8 = 8;
const REFUSED: u8 = 9;

/// What a peer answers: `u8` version, 1, and `u8` kind, then what the kind says. A vote is
/// `u64` term, `u64` node, `u8` 1 if a quorum granted it; an optional entry is `u8` 0, or `u8` 1
/// with `u64` term and `u64` index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Kind 1: all entries of the append are on disk.
    Appended,
    /// Kind 2: the entry before the first is not in the log.
    Conflict,
    /// Kind 3, a vote: the node follows or votes for someone later.
    HigherVote(Vote),
    /// Kind 4, `u8` 1 if granted, a vote, an optional entry: the vote the node holds now, which is
    /// on disk, and its last entry.
    Voted {
        granted: bool,
        vote: Vote,
        last: Option<LogId>,
    },
    /// Kind 5: the node takes over, or lets the other do so.
    Transferred,
    /// Kind 6, an optional entry: the node that is to take over has only this on disk.
    NotFlushed(Option<LogId>),
    /// Kind 7: the node knows that it needs a copy.
    SeedPending,
    /// Kind 8: the node has the entry, and can go on from there.
    SeedHeld,
    /// Kind 9, text in UTF-8 of at most 1024 bytes: the request was not taken up.
    Refused(String),
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Appended => out.push(APPENDED),
            Self::Conflict => out.push(CONFLICT),
            Self::HigherVote(vote) => {
                out.push(HIGHER_VOTE);
                put_vote(&mut out, vote);
            }
            Self::Voted {
                granted,
                vote,
                last,
            } => {
                out.extend([VOTED, u8::from(*granted)]);
                put_vote(&mut out, vote);
                put_optional_log_id(&mut out, *last);
            }
            Self::Transferred => out.push(TRANSFERRED),
            Self::NotFlushed(last) => {
                out.push(NOT_FLUSHED);
                put_optional_log_id(&mut out, *last);
            }
            Self::SeedPending => out.push(SEED_PENDING),
            Self::SeedHeld => out.push(SEED_HELD),
            Self::Refused(text) => {
                out.push(REFUSED);
                out.extend(&text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)]);
            }
        }
        out.into()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut input = Input::versioned(bytes)?;
        let answer = match input.u8()? {
            APPENDED => Self::Appended,
            CONFLICT => Self::Conflict,
            HIGHER_VOTE => Self::HigherVote(take_vote(&mut input)?),
            VOTED => Self::Voted {
                granted: input.flag()?,
                vote: take_vote(&mut input)?,
                last: input.optional_log_id()?,
            },
            TRANSFERRED => Self::Transferred,
            NOT_FLUSHED => Self::NotFlushed(input.optional_log_id()?),
            SEED_PENDING => Self::SeedPending,
            SEED_HELD => Self::SeedHeld,
            REFUSED if input.remaining() <= MAX_TEXT_BYTES => {
                Self::Refused(String::from_utf8_lossy(&input.rest()).into_owned())
            }
            REFUSED => return Err(WireError::Length),
            other => return Err(WireError::Kind(other)),
        };
        input.end()?;
        Ok(answer)
    }
}

fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend(vote.leader_id.term.to_le_bytes());
    out.extend(vote.leader_id.voted_for.to_le_bytes());
    out.push(u8::from(vote.committed));
}

fn take_vote(input: &mut Input) -> Result<Vote, WireError> {
    Ok(Vote {
        leader_id: RaftLeaderId::new(input.u64()?, input.u64()?),
        committed: input.flag()?,
    })
}
