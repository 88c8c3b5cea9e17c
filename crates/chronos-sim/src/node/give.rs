//! The leader's side of a copy: its index as of one moment, and then its log up to what is applied.

use super::process::Process;
use super::read::PARTITION;
use chronos_core::mutant;
use chronos_core::store::{Family, StoreError, copy};
use chronos_raft::LogId;
use chronos_wal::Record;
use std::ops::ControlFlow;

/// Pairs and records that travel in one part, so few that a copy has many parts.
const PAIRS: usize = 100;
const RECORDS: usize = 20;

/// A part of a copy.
#[derive(Debug)]
pub enum Part {
    /// The first one.
    Begin {
        /// The term in which the giver leads.
        term: u64,
        /// The last entry that its log has given up.
        floor: Option<LogId>,
        /// The first entry that it has all the same.
        first: u64,
    },
    /// Some of the index.
    Pairs(Vec<(Family, Vec<u8>, Vec<u8>)>),
    /// Some of the log.
    Records(Vec<Record>),
    /// The last one, with the last entry of the log.
    End(LogId),
}

/// Why there is no next part.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// The node does not lead, or no longer does.
    #[error("it does not lead")]
    NotLeader,
    /// Its index cannot be read.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// Its log cannot be read.
    #[error(transparent)]
    Log(#[from] chronos_wal::Error),
    /// Its log does not have what it should.
    #[error("entry {0} is missing")]
    Missing(u64),
}

/// A copy that is being given. Nothing is removed from the log meanwhile.
pub struct Giving<'a> {
    process: &'a Process,
    term: u64,
    pairs: Vec<(Family, Vec<u8>, Vec<u8>)>,
    next: u64,
    last: Option<LogId>,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Giving<'a> {
    /// Begins, with the first part.
    pub async fn begin(process: &'a Process) -> Result<(Self, Part), GiveError> {
        let held = process.purging.lock().await;
        let lead = process.group.leadership().get();
        if !lead.leads {
            return Err(GiveError::NotLeader);
        }
        let floor = process.group.floor();
        let mut pairs = Vec::new();
        copy::visit(&process.store, PARTITION, &mut |family, key, value| {
            pairs.push((family, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        pairs.reverse();
        let first = process.wal.first_index().unwrap_or(0);
        let giving = Self {
            process,
            term: lead.term,
            pairs,
            next: first,
            last: None,
            _held: held,
        };
        let begin = Part::Begin {
            term: lead.term,
            floor,
            first,
        };
        Ok((giving, begin))
    }

    /// The next part.
    pub fn next(&mut self) -> Result<Part, GiveError> {
        if !self.pairs.is_empty() {
            let left = self.pairs.len().saturating_sub(PAIRS);
            let mut pairs = self.pairs.split_off(left);
            pairs.reverse();
            if mutant!("copy-without-places") {
                pairs.retain(|(family, ..)| *family != Family::Batch);
            }
            return Ok(Part::Pairs(pairs));
        }
        let last = match self.last {
            Some(last) => last,
            // The log reaches at least as far as the index that was read before.
            None => self.end()?,
        };
        self.last = Some(last);
        if self.next > last.index {
            return Ok(Part::End(last));
        }
        let mut records = Vec::new();
        while self.next <= last.index && records.len() < RECORDS {
            let record = self.process.wal.read(self.next)?;
            records.push(record.ok_or(GiveError::Missing(self.next))?);
            self.next += 1;
        }
        Ok(Part::Records(records))
    }

    fn end(&self) -> Result<LogId, GiveError> {
        let lead = self.process.group.leadership().get();
        if !lead.leads || lead.term != self.term {
            return Err(GiveError::NotLeader);
        }
        let applied = self.process.group.applied();
        applied.ok_or(GiveError::Missing(0))
    }
}
