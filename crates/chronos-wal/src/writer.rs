//! Writing to the end of the log.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::files::{File, Files, write_all_at};
use crate::mutant;
use crate::options::Options;
use crate::record::{HEADER_BYTES, Header, Place, Record};
use crate::segment::{FIRST_POSITION, Segment, SegmentHeader};
use crate::segments::Segments;
use crate::sparse::SparseIndex;
use crate::status::Counters;

/// Records in one vectored write: a header and a body each, and Linux takes 1024 buffers.
const MAX_RUN: usize = 512;
/// Space is reserved in steps of this size, so that a log with little data takes little space.
const ALLOCATE_STEP_BYTES: u64 = 16 * 1024 * 1024;

/// What writing needs besides the writer's own state.
pub(crate) struct Context {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    pub(crate) segments: Segments,
}

/// The write side of a log; used by one thread at a time. After an error nothing more may be
/// written with it.
#[derive(Default)]
pub(crate) struct Writer {
    active: Option<Active>,
    /// Reused from write to write.
    headers: Vec<u8>,
    cannot_allocate: bool,
    written: Option<u64>,
    durable: Option<u64>,
}

struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    position: u64,
    allocated_to: u64,
    dirty: bool,
}

impl Writer {
    /// Goes on after the last record of `segment`. All records are durable.
    pub(crate) fn resume(&mut self, segment: Arc<Segment>, file: Arc<dyn File>) {
        self.written = segment.next().checked_sub(1);
        self.durable = self.written;
        let position = segment.end();
        self.active = Some(Active {
            segment,
            file,
            position,
            allocated_to: position,
            dirty: false,
        });
    }

    /// Starts over with an empty log.
    pub(crate) fn reset(&mut self) {
        self.active = None;
        self.written = None;
        self.durable = None;
    }

    pub(crate) fn durable(&self) -> Option<u64> {
        self.durable
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.dirty)
    }

    /// Writes records that follow the last one, without syncing them; begins new segments as
    /// needed.
    pub(crate) fn write<'a>(
        &mut self,
        context: &Context,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<(), Error> {
        let mut run: Vec<&Record> = Vec::with_capacity(records.size_hint().0.min(MAX_RUN));
        let mut run_bytes = 0;
        for record in records {
            if !self.fits(context, run_bytes, record) {
                self.write_run(context, &run)?;
                run.clear();
                run_bytes = 0;
                self.roll(context, record.index)?;
            } else if run.len() == MAX_RUN {
                self.write_run(context, &run)?;
                run.clear();
                run_bytes = 0;
            }
            run_bytes += record.stored_bytes();
            run.push(record);
        }
        self.write_run(context, &run)
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self, context: &Context) -> Result<(), Error> {
        if let Some(active) = &mut self.active
            && active.dirty
            && !mutant!("ack-before-sync")
        {
            let start = Instant::now();
            active
                .file
                .fdatasync()
                .map_err(|e| Error::io("sync", &active.segment.path, e))?;
            let took = start.elapsed();
            context.counters.synced(took);
            if let Some(observer) = &context.options.fsync_observer {
                observer(took);
            }
            active.dirty = false;
            self.durable = self.written;
        }
        Ok(())
    }

    fn fits(&self, context: &Context, run_bytes: u64, record: &Record) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let end = active.position + run_bytes + record.stored_bytes();
            // A record that is larger than a segment has one for itself.
            let alone = run_bytes == 0 && active.segment.is_empty();
            end <= context.options.segment_bytes || alone
        })
    }

    fn write_run(&mut self, context: &Context, run: &[&Record]) -> Result<(), Error> {
        let (Some(active), Some(first), Some(last)) = (&mut self.active, run.first(), run.last())
        else {
            return Ok(());
        };
        if first.index != active.segment.next() {
            return Err(Error::OutOfOrder {
                expected: active.segment.next(),
                found: first.index,
            });
        }
        self.headers.clear();
        let mut end = active.position;
        for record in run {
            let place = Place {
                salt: active.segment.header.salt,
                position: end,
            };
            let header = Header::of(record, self.durable);
            self.headers.extend_from_slice(&header.encode(place));
            end += record.stored_bytes();
        }
        if !self.cannot_allocate {
            self.cannot_allocate = !active.allocate(context, end)?;
        }
        let mut buffers = Vec::with_capacity(run.len() * 2);
        for (header, record) in self.headers.chunks_exact(HEADER_BYTES).zip(run) {
            buffers.push(IoSlice::new(header));
            buffers.push(IoSlice::new(&record.body));
        }
        active.dirty = true;
        write_all_at(&*active.file, &mut buffers, active.position)
            .map_err(|e| Error::io("write", &active.segment.path, e))?;

        let mut index = active.segment.index.write();
        let mut position = active.position;
        for record in run {
            index.observe(record.index - active.segment.base(), position);
            position += record.stored_bytes();
        }
        drop(index);
        active.segment.set_content(last.index + 1, end);
        context
            .counters
            .wrote(run.len() as u64, end - active.position);
        active.position = end;
        self.written = Some(last.index);
        Ok(())
    }

    /// Seals the segment and begins the next one, with record `base`.
    fn roll(&mut self, context: &Context, base: u64) -> Result<(), Error> {
        // The next segment's existence says that this one is complete and durable.
        self.sync(context)?;
        if let Some(active) = self.active.take() {
            active.seal(context)?;
        }
        let header = SegmentHeader {
            log_id: context.options.log_id,
            base,
            salt: context.files.nonce(),
        };
        let index = SparseIndex::new(context.options.index_interval);
        let dir = &context.options.dir;
        let (segment, file) = Segment::create(&*context.files, dir, header, index)?;
        let segment = Arc::new(segment);
        context.segments.push(Arc::clone(&segment));
        self.active = Some(Active {
            segment,
            file,
            position: FIRST_POSITION,
            allocated_to: FIRST_POSITION,
            dirty: false,
        });
        Ok(())
    }
}

impl Active {
    /// Reserves space up to `end` and some more. `false` when the file system cannot.
    fn allocate(&mut self, context: &Context, end: u64) -> Result<bool, Error> {
        if end <= self.allocated_to {
            return Ok(true);
        }
        let step = (self.allocated_to + ALLOCATE_STEP_BYTES).min(context.options.segment_bytes);
        let to = end.max(step);
        match self
            .file
            .allocate(self.allocated_to, to - self.allocated_to)
        {
            Ok(()) => self.allocated_to = to,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            // There may be room for the records though there is none to spare: let the write find
            // out.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            Err(error) => return Err(Error::io("reserve space in", &self.segment.path, error)),
        }
        Ok(true)
    }

    fn seal(self, context: &Context) -> Result<(), Error> {
        if self.allocated_to > self.position {
            self.file
                .truncate(self.position)
                .map_err(|e| Error::io("truncate", &self.segment.path, e))?;
        }
        self.segment.index.write().shrink();
        self.segment
            .store_sidecar(&*context.files, &context.options.dir);
        context.segments.note_open(self.segment);
        Ok(())
    }
}
