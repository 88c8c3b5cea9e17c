//! The log: its queue of appends, and the job that writes them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::error::Error;
use crate::files::Files;
use crate::flusher::{Flusher, Job};
use crate::hints::Hints;
use crate::mutant;
use crate::options::{FsyncMode, Options};
use crate::record::{MAX_BODY_BYTES, Record};
use crate::recovery::{self, Recovered, Recovery};
use crate::status::{Counters, SegmentStatus, Status};
use crate::tail::Tail;
use crate::writer::{Context, Writer};

/// Called when an append is complete or has failed.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A segmented write-ahead log. A cheap handle: clones are the same log.
///
/// Appends complete in the order in which they were made. After a failed write or sync the log is
/// poisoned: that append, those waiting and all later ones fail with [`Error::Poisoned`]; records
/// can still be read, those of failed appends included. It has to be opened anew.
///
/// When the last handle is dropped, appends still waiting are carried out on the flusher's threads.
#[derive(Clone)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) flusher: Flusher,
    pub(crate) state: Mutex<State>,
    /// Notified when a job ends and none follows.
    pub(crate) idle: Condvar,
    /// Locked after `state` where both are.
    pub(crate) tail: RwLock<Tail>,
    pub(crate) writer: Mutex<Writer>,
    /// Held for reading by reads of records, so that a truncation does not change files under them.
    pub(crate) truncating: RwLock<()>,
    /// Held while segment files are removed.
    pub(crate) removing: Mutex<()>,
    pub(crate) hints: Hints,
}

#[derive(Default)]
pub(crate) struct State {
    queue: Vec<Item>,
    queued_bytes: u64,
    /// A job is under way or waiting for a thread, or a truncation is under way.
    busy: bool,
    /// The flush interval has passed.
    sync_due: bool,
    timer_armed: bool,
    pub(crate) first: Option<u64>,
    /// Last record appended, written or not.
    pub(crate) last: Option<u64>,
    pub(crate) durable: Option<u64>,
    poison: Option<Arc<str>>,
}

struct Item {
    records: Vec<Record>,
    bytes: u64,
    /// Why the records are not written.
    rejected: Option<Error>,
    /// Needs a sync in every mode.
    sync: bool,
    done: Done,
}

impl Wal {
    /// Opens the log in `options.dir`, or begins one there, and repairs the end after a crash.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingSegment`], [`Error::UnknownVersion`] and
    /// [`Error::WrongLog`] when the files are not a whole log of this id; nothing has been changed
    /// then. [`Error::Io`] and [`Error::Options`].
    pub fn open(
        files: Arc<dyn Files>,
        options: Options,
        flusher: &Flusher,
    ) -> Result<(Self, Recovery), Error> {
        options.validate()?;
        let Recovered {
            recovery,
            segments,
            writer,
        } = recovery::recover(&*files, &options)?;
        let state = State {
            first: recovery.first_index,
            last: recovery.last_index,
            durable: recovery.last_index,
            ..State::default()
        };
        let shared = Shared {
            tail: RwLock::new(Tail::new(options.tail_bytes)),
            context: Context {
                files,
                options,
                counters: Arc::default(),
                segments,
            },
            flusher: flusher.clone(),
            state: Mutex::new(state),
            idle: Condvar::new(),
            writer: Mutex::new(writer),
            truncating: RwLock::new(()),
            removing: Mutex::new(()),
            hints: Hints::new(),
        };
        let shared = Arc::new(shared);
        Ok((Self { shared }, recovery))
    }

    /// Enqueues records and returns at once; the first must have the index after
    /// [`Wal::last_index`], or any index when the log is empty. Nothing limits the queue but the
    /// caller, who has [`Wal::queued_bytes`].
    ///
    /// `done` runs on a flusher thread: in [`FsyncMode::Periodic`] once the records are written, in
    /// the other modes once they are durable, and in any case after the `done` of earlier appends.
    /// It must be short, and must not call [`Wal::sync`] or [`Wal::truncate_after`], which would
    /// wait for it. Without records it runs when all earlier ones are complete.
    ///
    /// It is given [`Error::Poisoned`], or, with nothing enqueued, [`Error::OutOfOrder`] or
    /// [`Error::TooLarge`].
    pub fn append(&self, records: Vec<Record>, done: Done) {
        self.shared.enqueue(records, false, done);
    }

    /// Waits until everything enqueued so far is durable, whatever the mode.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn sync(&self) -> Result<(), Error> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let done = Box::new(move |result| {
            let _ = sender.send(result);
        });
        self.shared.enqueue(Vec::new(), true, done);
        loop {
            if let Ok(result) = receiver.try_recv() {
                return result;
            }
            if !self.shared.flusher.run_one() {
                // The sender is gone without an answer only if the flush has panicked.
                return receiver.recv().unwrap_or_else(|_| {
                    Err(Error::Poisoned {
                        reason: "the flush did not end".into(),
                    })
                });
            }
        }
    }

    /// Index of the first record; `None` when the log is empty.
    pub fn first_index(&self) -> Option<u64> {
        self.shared.state.lock().first
    }

    /// Index of the last record appended, durable or not; `None` when the log is empty.
    pub fn last_index(&self) -> Option<u64> {
        self.shared.state.lock().last
    }

    /// The highest index up to which all records are durable. In [`FsyncMode::Periodic`] it lags
    /// behind what is complete.
    pub fn durable_index(&self) -> Option<u64> {
        self.shared.state.lock().durable
    }

    /// Bytes of appended records that are not complete yet.
    pub fn queued_bytes(&self) -> u64 {
        self.shared.state.lock().queued_bytes
    }

    /// Reads a record; `None` when the log does not hold it. Records not yet written are read too.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when what is stored is not what was written, and [`Error::Io`].
    pub fn read(&self, index: u64) -> Result<Option<Record>, Error> {
        self.shared.read(index)
    }

    /// Reads `len` bytes from `position` of a record's body. The record's header is checked, the
    /// body's checksum is not, since that would need all of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::OutsideBody`], [`Error::Corrupt`] and [`Error::Io`].
    pub fn read_body_at(&self, index: u64, position: u32, len: u32) -> Result<Bytes, Error> {
        self.shared.read_body_at(index, position, len)
    }

    /// Removes the records after `index`, or all for `None`. Waits for queued writes first; what
    /// is left is durable on return, and so is the removal. A log that holds nothing after `index`
    /// is not touched.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; a failure here poisons too.
    pub fn truncate_after(&self, index: Option<u64>) -> Result<(), Error> {
        self.shared.truncate_after(index)
    }

    /// Removes the segments whose records are all below `index`, but never the one with the last
    /// durable record. The removal is durable on return.
    ///
    /// # Errors
    /// [`Error::Io`]. What is left is whole; the removal can be tried again.
    pub fn remove_segments_below(&self, index: u64) -> Result<(), Error> {
        self.shared.remove_segments_below(index)
    }

    /// The size of the log in bytes, without looking at the disk.
    pub fn total_bytes(&self) -> u64 {
        let all = self.shared.context.segments.all();
        all.iter().map(|segment| segment.end()).sum()
    }

    /// What the log consists of at the moment.
    pub fn status(&self) -> Status {
        let context = &self.shared.context;
        let all = context.segments.all();
        let (queued_bytes, poison) = {
            let state = self.shared.state.lock();
            (state.queued_bytes, state.poison.clone())
        };
        Status {
            total_bytes: self.total_bytes(),
            index_entries: all.iter().map(|segment| segment.index.read().len()).sum(),
            segments: all
                .iter()
                .map(|segment| SegmentStatus {
                    file: segment.file_name(),
                    first_index: segment.base(),
                    last_index: segment.last(),
                    bytes: segment.end(),
                })
                .collect(),
            queued_bytes,
            available_bytes: context.files.available_bytes(&context.options.dir).ok(),
            poisoned: poison.map(|reason| reason.to_string()),
        }
    }

    /// What the log has done since it was opened.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.context.counters)
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("options", &self.shared.context.options)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn enqueue(self: &Arc<Self>, records: Vec<Record>, sync: bool, done: Done) {
        let bytes = records.iter().map(Record::stored_bytes).sum();
        let mut state = self.state.lock();
        let rejected = state.check(&records).err();
        if rejected.is_none()
            && let (Some(first), Some(last)) = (records.first(), records.last())
        {
            state.first.get_or_insert(first.index);
            state.last = Some(last.index);
            let mut tail = self.tail.write();
            for record in &records {
                tail.push(record.clone());
            }
        }
        state.queued_bytes += bytes;
        state.queue.push(Item {
            records,
            bytes,
            rejected,
            sync,
            done,
        });
        self.wake(state);
    }

    /// Starts a job unless there is one.
    fn wake(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        if !state.busy {
            state.busy = true;
            drop(state);
            self.flusher.submit(Arc::clone(self) as Arc<dyn Job>);
        }
    }

    /// Uses the writer, unless the log is poisoned. A failure poisons it.
    pub(crate) fn attempt(
        &self,
        action: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.state.lock().check_poison()?;
        let (result, durable) = {
            let mut writer = self.writer.lock();
            // A panic is a defect, but those who wait must be told.
            let result = catch_unwind(AssertUnwindSafe(|| action(&mut writer)));
            (result, writer.durable())
        };
        let result = result.unwrap_or_else(|_| {
            Err(Error::Poisoned {
                reason: "a write panicked".into(),
            })
        });
        let mut state = self.state.lock();
        match result {
            Ok(()) => {
                state.durable = durable;
                Ok(())
            }
            Err(_) if mutant!("go-on-after-failed-write") => Ok(()),
            Err(error) => {
                tracing::error!(%error, dir = %self.context.options.dir.display(),
                    "the log is stopped: what the disk holds is not known");
                let reason: Arc<str> = error.to_string().into();
                state.poison = Some(Arc::clone(&reason));
                Err(Error::Poisoned { reason })
            }
        }
    }

    /// Ends appends with the result of writing them.
    fn complete(&self, items: impl Iterator<Item = Item>, result: &Result<(), Error>) {
        let items: Vec<Item> = items.collect();
        {
            let mut state = self.state.lock();
            state.queued_bytes -= items.iter().map(|item| item.bytes).sum::<u64>();
            let last = written(&items).last();
            if let (Ok(()), Some(last)) = (result, last) {
                self.tail.write().evict(last.index);
            }
        }
        for item in items {
            let result = match item.rejected {
                Some(error) => Err(error),
                None => result.clone(),
            };
            // The appends behind this one must be answered whatever this one's owner does.
            if catch_unwind(AssertUnwindSafe(|| (item.done)(result))).is_err() {
                tracing::error!("the completion of an append panicked");
            }
        }
    }

    fn write_items(&self, items: Vec<Item>) {
        match self.context.options.fsync {
            FsyncMode::EveryEvent => {
                for item in items {
                    let item = [item];
                    let result = self.attempt(|writer| {
                        for record in written(&item) {
                            writer.write(&self.context, std::iter::once(record))?;
                            writer.sync(&self.context)?;
                        }
                        Ok(())
                    });
                    self.complete(item.into_iter(), &result);
                }
            }
            FsyncMode::Batch => {
                let result = self.attempt(|writer| {
                    writer.write(&self.context, written(&items))?;
                    writer.sync(&self.context)
                });
                self.complete(items.into_iter(), &result);
            }
            FsyncMode::Periodic => {
                let sync = items.iter().any(|item| item.sync);
                let result = self.attempt(|writer| {
                    writer.write(&self.context, written(&items))?;
                    if sync {
                        writer.sync(&self.context)?;
                    }
                    Ok(())
                });
                self.complete(items.into_iter(), &result);
            }
        }
    }

    /// Waits until no job is under way or needed, and keeps the next from starting until
    /// [`Shared::release`].
    pub(crate) fn claim(&self) {
        loop {
            let mut state = self.state.lock();
            if !state.busy {
                state.busy = true;
                return;
            }
            drop(state);
            if self.flusher.run_one() {
                continue;
            }
            let mut state = self.state.lock();
            if state.busy {
                self.idle.wait(&mut state);
            }
        }
    }

    /// Ends a job or a claim; starts the next job if there is work.
    pub(crate) fn release(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.queue.is_empty() && !state.sync_due {
            state.busy = false;
            self.idle.notify_all();
        } else {
            drop(state);
            self.flusher.submit(Arc::clone(self) as Arc<dyn Job>);
        }
    }
}

/// The records to be written.
fn written(items: &[Item]) -> impl DoubleEndedIterator<Item = &Record> {
    items
        .iter()
        .filter(|item| item.rejected.is_none())
        .flat_map(|item| &item.records)
}

impl Job for Shared {
    fn run(self: Arc<Self>) {
        let (items, sync_due) = {
            let mut state = self.state.lock();
            (
                std::mem::take(&mut state.queue),
                std::mem::take(&mut state.sync_due),
            )
        };
        if !items.is_empty() {
            self.write_items(items);
        }
        if sync_due {
            // A failure poisons, which the next append tells.
            let _ = self.attempt(|writer| writer.sync(&self.context));
        }
        let unsynced = self.writer.lock().is_dirty();
        if unsynced {
            let mut state = self.state.lock();
            if !state.timer_armed && state.poison.is_none() {
                state.timer_armed = true;
                drop(state);
                let job: Arc<dyn Job> = Arc::clone(&self) as Arc<dyn Job>;
                let at = Instant::now() + self.context.options.flush_interval;
                self.flusher.arm(at, Arc::downgrade(&job));
            }
        }
        self.release();
    }

    fn timer_fired(self: Arc<Self>) {
        let mut state = self.state.lock();
        state.timer_armed = false;
        state.sync_due = !mutant!("timer-forgotten");
        self.wake(state);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Only in periodic mode there is something to sync; a failure has nobody to be told to.
        let poisoned = self.state.get_mut().poison.is_some();
        if !poisoned && let Err(error) = self.writer.get_mut().sync(&self.context) {
            tracing::error!(%error, "the last records of a log could not be synced");
        }
    }
}

impl State {
    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        match &self.poison {
            Some(reason) => Err(Error::Poisoned {
                reason: Arc::clone(reason),
            }),
            None => Ok(()),
        }
    }

    fn check(&self, records: &[Record]) -> Result<(), Error> {
        self.check_poison()?;
        let next = match self.last {
            Some(last) => last + 1,
            None => records.first().map_or(0, |record| record.index),
        };
        for (expected, record) in (next..u64::MAX).zip(records) {
            if record.index != expected {
                return Err(Error::OutOfOrder {
                    expected,
                    found: record.index,
                });
            }
            if record.body.len() > MAX_BODY_BYTES {
                return Err(Error::TooLarge {
                    bytes: record.body.len() as u64,
                });
            }
        }
        // The range above ends before the last number, which is no index.
        match records.last() {
            Some(last) if last.index == u64::MAX => Err(Error::OutOfOrder {
                expected: u64::MAX - 1,
                found: u64::MAX,
            }),
            _ => Ok(()),
        }
    }
}
