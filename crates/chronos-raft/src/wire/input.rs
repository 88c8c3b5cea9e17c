//! Taking bytes apart.

use bytes::Bytes;

use super::VERSION;
use crate::machine::LogId;
use crate::membership::MembershipError;

/// Bytes that are no message of this version, or one that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the message is cut off or too long")]
    Length,
    #[error("the message has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    #[error("the message is of an unknown kind, {0}")]
    Kind(u8),
    #[error("a flag of the message is {0}, neither 0 nor 1")]
    Flag(u8),
    #[error("an entry of the message is of an unknown kind, {0}")]
    EntryKind(u8),
    #[error("a blank entry of the message has a body")]
    BlankBody,
    #[error("an entry's term is below that of the entry before it or above the leader's")]
    Term,
    #[error("an index of the message is beyond all indexes")]
    Index,
    #[error("a membership entry of the message: {0}")]
    Membership(#[from] MembershipError),
}

/// What is left of a message.
pub(super) struct Input(Bytes);

impl Input {
    pub(super) fn versioned(bytes: Bytes) -> Result<Self, WireError> {
        let mut input = Self(bytes);
        match input.u8()? {
            VERSION => Ok(input),
            other => Err(WireError::Version(other)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let head = *self.0.first_chunk().ok_or(WireError::Length)?;
        self.0 = self.0.slice(N..);
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.take().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Flag(other)),
        }
    }

    pub(super) fn log_id(&mut self) -> Result<LogId, WireError> {
        Ok(LogId {
            term: self.u64()?,
            index: self.u64()?,
        })
    }

    pub(super) fn optional_log_id(&mut self) -> Result<Option<LogId>, WireError> {
        self.flag()?.then(|| self.log_id()).transpose()
    }

    /// The next `len` bytes, shared with the message.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Bytes, WireError> {
        if len > self.0.len() {
            return Err(WireError::Length);
        }
        Ok(self.0.split_to(len))
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::Length)
        }
    }
}

pub(super) fn put_optional_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        put_log_id(out, id);
    }
}

pub(super) fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    out.extend(id.term.to_le_bytes());
    out.extend(id.index.to_le_bytes());
}
