//! The log and the vote of a group, as openraft reads and writes them.
//!
//! What is asserted here holds in release builds too, because this is where data crosses from
//! one component to another: indexes are contiguous, terms never go down, a vote never goes back,
//! nothing applied is truncated and nothing is purged that is not applied. A violation is an
//! error, and every error stops the group.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Weak};

use chronos_wal::{Wal, mutant};
use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use crate::applied_mark::AppliedMark;
use crate::disk::Disk;
use crate::machine::LogId;
use crate::presence::Presence;
use crate::record::{self, RecordError};
use crate::state_file::{StateFileError, StateFiles};
use crate::types::{LogEntry, RaftLogId, Types, Vote};

/// After how many entries the note of the last committed one is written again. It bounds what a
/// restart applies late, and costs one small unsynced write per so many entries.
const COMMITTED_INTERVAL: u64 = 1000;

/// The log of one group. Clones share everything.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Shared>);

/// A look at the log for as long as openraft has it.
#[derive(Clone)]
pub(crate) struct LogView(Weak<Shared>);

/// How a log store does its work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) disk: Disk,
    /// How many bytes of entries one read for a peer returns at most, unless the first is larger.
    pub(crate) read_bytes: usize,
}

struct Shared {
    wal: Wal,
    files: StateFiles,
    mark: AppliedMark,
    manner: Manner,
    state: Mutex<State>,
    _presence: Presence,
}

struct State {
    vote: Option<Vote>,
    /// The last purged entry.
    floor: Option<LogId>,
    /// The last entry of the log, or the floor if there is none above it.
    last: Option<LogId>,
    committed: Option<LogId>,
    committed_saved: Option<LogId>,
    /// Whether there was a note of a committed entry, of whatever log.
    had_note: bool,
}

/// Something is not as the log store has to find it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("entry {next} cannot follow {last:?} in the log")]
    Gap { last: Option<LogId>, next: LogId },
    #[error("entry {0} is in the log's range but cannot be found")]
    Hole(u64),
    #[error("the log starts at entry {first}, but is purged up to {floor:?} only")]
    StartsLate { first: u64, floor: Option<LogId> },
    #[error("entry {0} is expected, the log holds {1:?}")]
    Mismatch(LogId, Option<LogId>),
    #[error("the vote {new} would replace {old}, which is not older")]
    VoteWentBack { old: Vote, new: Vote },
    #[error("the log cannot be cut after {0:?}: later entries are applied or purged")]
    CutBelowApplied(Option<LogId>),
    #[error("the log cannot be purged up to {0}, which is not applied")]
    PurgeAboveApplied(LogId),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Wal(#[from] chronos_wal::Error),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    #[error("the task that writes the group's files was cancelled: the runtime is shutting down")]
    Cancelled,
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}

impl LogStore {
    pub(crate) fn open(
        wal: Wal,
        files: StateFiles,
        mark: AppliedMark,
        presence: Presence,
        manner: Manner,
    ) -> Result<Self, LogError> {
        let vote = files.vote()?;
        let floor = files.floor()?;
        let committed = files.committed()?;
        let shared = Shared {
            wal,
            files,
            mark,
            manner,
            state: Mutex::new(State {
                vote,
                floor,
                last: floor,
                committed: None,
                committed_saved: None,
                had_note: false,
            }),
            _presence: presence,
        };
        let last = shared.read_last(floor)?;
        let next_after_floor = floor.map_or(0, |floor| floor.index + 1);
        if let Some(first) = shared.wal.first_index()
            && first > next_after_floor
        {
            return Err(LogError::StartsLate { first, floor });
        }
        let still = match committed {
            Some(noted) => shared.still_committed(noted, last)?,
            None => None,
        };
        {
            let mut state = shared.state.lock();
            state.last = last;
            state.committed = still;
            state.committed_saved = still;
            state.had_note = committed.is_some();
        }
        Ok(Self(Arc::new(shared)))
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.0.state.lock().vote
    }

    /// The last purged entry.
    pub(crate) fn floor(&self) -> Option<LogId> {
        self.0.state.lock().floor
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.0.state.lock().last
    }

    /// Whether the log ever had entries, as far as is known.
    pub(crate) fn had_entries(&self) -> bool {
        self.0.state.lock().had_note
    }

    /// Verifies that the entry with this id is in the log, or is the last purged one.
    pub(crate) fn expect(&self, id: LogId) -> Result<(), LogError> {
        let found = self.0.log_id_at(id.index)?;
        if found == Some(id) {
            Ok(())
        } else {
            Err(LogError::Mismatch(id, found))
        }
    }

    /// Runs a job that waits for the disk, off the threads that run tasks.
    async fn on_disk<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.0);
        Ok(self.0.manner.disk.run(move || job(&shared)).await??)
    }

    pub(crate) fn view(&self) -> LogView {
        LogView(Arc::downgrade(&self.0))
    }
}

impl LogView {
    /// The vote on disk.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.0.upgrade()?.state.lock().vote
    }

    /// The last purged entry.
    pub(crate) fn floor(&self) -> Option<LogId> {
        self.0.upgrade()?.state.lock().floor
    }

    /// Whether this very entry is on disk, or was and is purged.
    pub(crate) fn holds(&self, id: LogId) -> Result<bool, LogError> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(false);
        };
        let (floor, last) = {
            let state = shared.state.lock();
            (state.floor, state.last)
        };
        if floor.is_some_and(|floor| id.index < floor.index) {
            return Ok(true);
        }
        if last.is_none_or(|last| last.index < id.index) {
            return Ok(false);
        }
        let on_disk = floor.is_some_and(|floor| id.index == floor.index)
            || shared.wal.durable_index() >= Some(id.index);
        Ok(on_disk && shared.log_id_at(id.index)? == Some(id))
    }
}

impl Shared {
    fn read_last(&self, floor: Option<LogId>) -> Result<Option<LogId>, LogError> {
        match self.wal.last_index() {
            Some(index) if floor.is_none_or(|floor| index > floor.index) => {
                let record = self.wal.read(index)?.ok_or(LogError::Hole(index))?;
                Ok(Some(record::log_id(&record)?))
            }
            _ => Ok(floor),
        }
    }

    /// What a note of a committed entry says about this log, which may have lost its end to a
    /// power loss and may have grown again under a later term since the note was made.
    fn still_committed(
        &self,
        noted: LogId,
        last: Option<LogId>,
    ) -> Result<Option<LogId>, LogError> {
        let Some(last) = last else {
            return Ok(None);
        };
        if noted.index > last.index {
            // Nothing of a later term: this is what is left of the log that the note is about.
            return Ok((last.term <= noted.term).then_some(last));
        }
        let found = self.log_id_at(noted.index)?;
        Ok(found.filter(|found| *found == noted || mutant!("any-note-of-a-commit")))
    }

    fn log_id_at(&self, index: u64) -> Result<Option<LogId>, LogError> {
        let floor = self.state.lock().floor;
        match floor {
            Some(floor) if index <= floor.index => Ok((index == floor.index).then_some(floor)),
            _ => match self.wal.read(index)? {
                Some(record) => Ok(Some(record::log_id(&record)?)),
                None => Ok(None),
            },
        }
    }

    fn read(&self, index: u64) -> Result<LogEntry, LogError> {
        let record = self.wal.read(index)?.ok_or(LogError::Hole(index))?;
        if record.index != index {
            return Err(LogError::Hole(index));
        }
        Ok(record::decode(record)?)
    }

    /// The part of `range` that the log has.
    fn clamp(&self, range: impl RangeBounds<u64>) -> std::ops::Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (floor, last) = {
            let state = self.state.lock();
            (state.floor, state.last)
        };
        let Some(first) = self.wal.first_index() else {
            return 0..0;
        };
        let first = first.max(floor.map_or(0, |floor| floor.index + 1));
        let start = start.max(first);
        let end = end.min(last.map_or(0, |last| last.index + 1));
        start..end.max(start)
    }

    fn save_vote(&self, vote: Vote) -> Result<(), LogError> {
        // What was appended under the old vote becomes durable first: openraft takes a flushed
        // vote as a flush of everything before it.
        self.wal.sync()?;
        if !mutant!("vote-in-memory") {
            self.files.save_vote(&vote)?;
        }
        self.state.lock().vote = Some(vote);
        Ok(())
    }

    fn truncate_after(&self, after: Option<LogId>) -> Result<(), LogError> {
        let first_cut = after.map_or(0, |id| id.index + 1);
        let (floor, last) = {
            let state = self.state.lock();
            (state.floor, state.last)
        };
        if last.map_or(0, |last| last.index + 1) < first_cut {
            return Ok(());
        }
        if self.mark.covers(first_cut) || floor.is_some_and(|floor| first_cut <= floor.index) {
            return Err(LogError::CutBelowApplied(after));
        }
        if let Some(id) = after {
            let found = self.log_id_at(id.index)?;
            if found != Some(id) {
                return Err(LogError::Mismatch(id, found));
            }
        }
        self.wal.truncate_after(after.map(|id| id.index))?;
        self.state.lock().last = after;
        Ok(())
    }

    fn purge(&self, upto: LogId) -> Result<(), LogError> {
        if !self.mark.covers(upto.index) {
            return Err(LogError::PurgeAboveApplied(upto));
        }
        let floor = self.state.lock().floor;
        if floor.is_some_and(|floor| upto.index <= floor.index) {
            return Ok(());
        }
        let held = self.clamp(..);
        if held.contains(&upto.index) {
            let found = self.log_id_at(upto.index)?;
            if found != Some(upto) {
                return Err(LogError::Mismatch(upto, found));
            }
        }
        // Only the floor: segments are removed by retention, which may go up to here.
        if !mutant!("floor-not-saved") {
            self.files.save_floor(upto)?;
        }
        let mut state = self.state.lock();
        state.floor = Some(upto);
        state.last = state.last.max(Some(upto));
        Ok(())
    }

    /// The first note also says that there was a log, so it is not made before there is one that a
    /// power loss does not take.
    fn may_note_first(&self, id: LogId) -> bool {
        self.wal.durable_index() >= Some(id.index)
    }

    fn note_committed(&self, committed: Option<LogId>) -> Result<(), LogError> {
        let Some(id) = committed else {
            return Ok(());
        };
        {
            let mut state = self.state.lock();
            state.committed = Some(id);
            let is_due = match state.committed_saved {
                Some(saved) => id.index >= saved.index + COMMITTED_INTERVAL,
                None => self.may_note_first(id),
            };
            if !is_due {
                return Ok(());
            }
            state.committed_saved = Some(id);
        }
        Ok(self.files.save_committed(id)?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (committed, saved) = {
            let state = self.state.get_mut();
            (state.committed, state.committed_saved)
        };
        let Some(id) = committed.filter(|_| committed != saved) else {
            return;
        };
        if saved.is_none() && !self.may_note_first(id) {
            return;
        }
        if let Err(error) = self.files.save_committed(id) {
            tracing::warn!(%error, "the note of the last committed entry is not saved");
        }
    }
}

impl<R: Send + Sync + 'static> RaftLogReader<Types<R>> for LogStore {
    async fn try_get_log_entries<B>(&mut self, range: B) -> io::Result<Vec<LogEntry>>
    where
        B: RangeBounds<u64> + Clone + Debug + Send,
    {
        let range = self.0.clamp(range);
        Ok(range
            .map(|index| self.0.read(index))
            .collect::<Result<_, _>>()?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in self.0.clamp(start..end) {
            let entry = self.0.read(index)?;
            bytes += record::body_bytes(&entry);
            if bytes > self.0.manner.read_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// One entry at a time, so that re-applying a long log does not hold it in memory.
    async fn entries_stream<B>(
        &mut self,
        range: B,
    ) -> impl Stream<Item = io::Result<LogEntry>> + Send
    where
        B: RangeBounds<u64> + Clone + Debug + Send,
    {
        let range = self.0.clamp(range);
        let shared = Arc::clone(&self.0);
        stream::iter(range.map(move |index| Ok(shared.read(index)?)))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote())
    }
}

impl<R: Send + Sync + 'static> RaftLogStorage<Types<R>> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<R>>> {
        let state = self.0.state.lock();
        Ok(LogState {
            last_purged_log_id: state.floor.map(RaftLogId::from),
            last_log_id: state.last.map(RaftLogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let new = *vote;
        match self.vote() {
            Some(old) if old == new => return Ok(()),
            Some(old) if new.partial_cmp(&old).is_none_or(|order| order.is_lt()) => {
                return Err(LogError::VoteWentBack { old, new }.into());
            }
            _ => {}
        }
        self.on_disk(move |shared| shared.save_vote(new)).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        Ok(self.0.note_committed(committed.as_ref().map(LogId::from))?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.0.state.lock().committed.map(RaftLogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + Send,
        I::IntoIter: Send,
    {
        let mut last = self.last();
        let entries = entries.into_iter();
        let mut records = Vec::with_capacity(entries.size_hint().0);
        for entry in entries {
            let next = LogId::from(&entry.log_id);
            let follows =
                last.is_none_or(|last| next.index == last.index + 1 && next.term >= last.term);
            if !follows {
                return Err(LogError::Gap { last, next }.into());
            }
            last = Some(next);
            records.push(record::encode(entry));
        }
        if mutant!("ack-before-write") {
            callback.io_completed(Ok(()));
            self.0.wal.append(records, Box::new(|_| {}));
        } else {
            self.0.wal.append(
                records,
                Box::new(move |result| callback.io_completed(result.map_err(io::Error::other))),
            );
        }
        self.0.state.lock().last = last;
        Ok(())
    }

    async fn truncate_after(&mut self, after: Option<RaftLogId>) -> io::Result<()> {
        let after = after.as_ref().map(LogId::from);
        self.on_disk(move |shared| shared.truncate_after(after))
            .await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        let upto = LogId::from(&upto);
        self.on_disk(move |shared| shared.purge(upto)).await
    }
}

#[cfg(test)]
mod tests;
