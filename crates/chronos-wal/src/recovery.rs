//! Opening a log: is it whole, and where does it end?

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::files::{File, Files, read_exact_at, write_all_at};
use crate::mutant;
use crate::options::Options;
use crate::segment::{FIRST_POSITION, FileKind, Segment, SegmentHeader, file_name};
use crate::segments::Segments;
use crate::sparse::{Sidecar, SparseIndex};
use crate::walk::{Bodies, Step, Walk, find_record};
use crate::writer::Writer;

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Number of records.
    pub records: u64,
    /// Index of the first record.
    pub first_index: Option<u64>,
    /// Index of the last record. It and all before it are durable.
    pub last_index: Option<u64>,
    /// Number of segment files.
    pub segments: usize,
    /// Bytes cut off the end: the trace of a crash in the middle of a write.
    pub truncated_bytes: u64,
    /// The file and the position that were cut at, if any.
    pub truncated_at: Option<(PathBuf, u64)>,
    /// Segments whose sparse index had to be made anew.
    pub rebuilt_indexes: usize,
}

pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) segments: Segments,
    pub(crate) writer: Writer,
}

/// Sealed segments are checked for being there and complete; their records are checked when they
/// are read. The last segment is read through.
pub(crate) fn recover(files: &dyn Files, options: &Options) -> Result<Recovered, Error> {
    let dir = &options.dir;
    files
        .create_dir_all(dir)
        .map_err(|e| Error::io("create", dir, e))?;
    let listing = Listing::read(files, dir)?;
    let mut recovery = Recovery {
        records: 0,
        first_index: None,
        last_index: None,
        segments: 0,
        truncated_bytes: 0,
        truncated_at: None,
        rebuilt_indexes: 0,
    };
    let mut writer = Writer::default();
    let mut segments = Vec::new();
    if let Some((last, sealed)) = listing.segments.split_last() {
        let mut next = None;
        let mut rebuilt = Vec::new();
        for &base in sealed {
            expect_next(dir, next, base)?;
            let (segment, is_rebuilt) = open_sealed(files, options, base)?;
            next = Some(segment.next());
            let segment = Arc::new(segment);
            if is_rebuilt {
                rebuilt.push(Arc::clone(&segment));
            }
            segments.push(segment);
        }
        expect_next(dir, next, *last)?;
        let ending = Ending::read(files, options, *last)?;
        // Up to here nothing has been changed.
        listing.tidy(files, dir)?;
        recovery.rebuilt_indexes = rebuilt.len();
        for segment in rebuilt {
            segment.store_sidecar(files, dir);
        }
        if let Some((segment, file)) =
            ending.repair(files, dir, segments.is_empty(), &mut recovery)?
        {
            let segment = Arc::new(segment);
            writer.resume(Arc::clone(&segment), file);
            segments.push(segment);
        }
    } else {
        listing.tidy(files, dir)?;
    }
    recovery.segments = segments.len();
    if let (Some(first), Some(last)) = (segments.first(), segments.last())
        && last.next() > first.base()
    {
        recovery.records = last.next() - first.base();
        recovery.first_index = Some(first.base());
        recovery.last_index = Some(last.next() - 1);
    }
    if recovery.truncated_bytes > 0 {
        tracing::warn!(
            dir = %dir.display(),
            truncated_bytes = recovery.truncated_bytes,
            last_index = recovery.last_index,
            "cut off the end of the log, which a crash had left incomplete"
        );
    }
    Ok(Recovered {
        recovery,
        segments: Segments::new(segments),
        writer,
    })
}

/// The files of a log's folder.
pub(crate) struct Listing {
    /// Bases of the segments, ascending.
    pub(crate) segments: Vec<u64>,
    /// Files that are of no use any more.
    leftovers: Vec<String>,
}

impl Listing {
    pub(crate) fn read(files: &dyn Files, dir: &Path) -> Result<Self, Error> {
        let names = files.list(dir).map_err(|e| Error::io("list", dir, e))?;
        let mut segments: Vec<_> = names
            .iter()
            .filter_map(|name| match FileKind::of(name) {
                FileKind::Segment(base) => Some(base),
                _ => None,
            })
            .collect();
        segments.sort_unstable();
        let leftovers = names
            .into_iter()
            .filter(|name| match FileKind::of(name) {
                FileKind::Temporary => true,
                // The last segment grows, so what a sidecar says of it would soon be wrong.
                FileKind::Sidecar(base) => segments
                    .binary_search(&base)
                    .map_or(true, |at| at + 1 == segments.len()),
                FileKind::Segment(_) | FileKind::Foreign => false,
            })
            .collect();
        Ok(Self {
            segments,
            leftovers,
        })
    }

    fn tidy(&self, files: &dyn Files, dir: &Path) -> Result<(), Error> {
        for name in &self.leftovers {
            let path = dir.join(name);
            files
                .remove(&path)
                .map_err(|e| Error::io("remove", &path, e))?;
        }
        // Also makes names durable that an earlier process did not get to sync.
        files.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }
}

fn expect_next(dir: &Path, next: Option<u64>, base: u64) -> Result<(), Error> {
    match next {
        Some(next) if next < base => Err(Error::MissingSegment {
            dir: dir.to_owned(),
            first_missing: next,
            last_missing: base - 1,
        }),
        Some(next) if next > base => Err(Error::corrupt(
            &dir.join(file_name(base)),
            0,
            base,
            format!(
                "the segment before already holds the records up to {}",
                next - 1
            ),
        )),
        _ => Ok(()),
    }
}

fn read_header(
    file: &dyn File,
    path: &Path,
    base: u64,
    log_id: u64,
) -> Result<SegmentHeader, Error> {
    let header = SegmentHeader::read(file, path, base)?;
    if header.log_id != log_id {
        return Err(Error::WrongLog {
            file: path.to_owned(),
            expected: log_id,
            found: header.log_id,
        });
    }
    Ok(header)
}

/// The segment, and whether its index had to be made anew.
fn open_sealed(files: &dyn Files, options: &Options, base: u64) -> Result<(Segment, bool), Error> {
    let dir = &options.dir;
    let path = dir.join(file_name(base));
    let file = files
        .open_read(&path)
        .map_err(|e| Error::io("open", &path, e))?;
    let header = read_header(&*file, &path, base, options.log_id)?;
    let len = file
        .len_bytes()
        .map_err(|e| Error::io("measure", &path, e))?;
    let known = Sidecar::load(files, dir, &header, options.index_interval)?;
    let (sidecar, is_rebuilt) = match known.filter(|sidecar| sidecar.end == len) {
        Some(sidecar) => (sidecar, false),
        None => (
            rebuild(&*file, &path, &header, len, options.index_interval)?,
            true,
        ),
    };
    let segment = Segment::new(header, path, sidecar.index);
    segment.set_content(sidecar.next, sidecar.end);
    Ok((segment, is_rebuilt))
}

/// Makes the index of a sealed segment from its record headers.
fn rebuild(
    file: &dyn File,
    path: &Path,
    header: &SegmentHeader,
    len: u64,
    interval: u32,
) -> Result<Sidecar, Error> {
    let mut index = SparseIndex::new(interval);
    let mut walk = Walk::new(
        file,
        header.salt,
        Bodies::Skip,
        (FIRST_POSITION, len),
        header.base,
    );
    loop {
        match walk.step().map_err(|e| Error::io("read", path, e))? {
            Step::Record {
                position,
                header: record,
            } => {
                index.observe(record.index - header.base, position);
            }
            Step::End => break,
            Step::Bad(reason) => {
                return Err(Error::corrupt(path, walk.position(), walk.index(), reason));
            }
        }
    }
    index.shrink();
    Ok(Sidecar {
        next: walk.index(),
        end: walk.position(),
        index,
    })
}

/// A segment and its file.
type Writable = (Segment, Arc<dyn File>);

/// The last segment as it was found.
struct Ending {
    segment: Segment,
    file: Arc<dyn File>,
    len: u64,
    /// Position of the first record that no later one shows to be durable.
    unproven: u64,
}

impl Ending {
    fn read(files: &dyn Files, options: &Options, base: u64) -> Result<Self, Error> {
        let path = options.dir.join(file_name(base));
        let io = |operation: &'static str| {
            let path = path.clone();
            move |error: io::Error| Error::io(operation, &path, error)
        };
        let file = files.open(&path).map_err(io("open"))?;
        let header = read_header(&*file, &path, base, options.log_id)?;
        let len = file.len_bytes().map_err(io("measure"))?;
        let mut index = SparseIndex::new(options.index_interval);
        let mut unproven: VecDeque<(u64, u64)> = VecDeque::new();
        let mut walk = Walk::new(
            &*file,
            header.salt,
            match mutant!("torn-body-kept") {
                true => Bodies::Skip,
                false => Bodies::Check,
            },
            (FIRST_POSITION, len),
            base,
        );
        loop {
            match walk.step().map_err(io("read"))? {
                Step::Record {
                    position,
                    header: record,
                } => {
                    index.observe(record.index - base, position);
                    while unproven
                        .front()
                        .is_some_and(|(index, _)| record.durable >= Some(*index))
                    {
                        unproven.pop_front();
                    }
                    unproven.push_back((record.index, position));
                }
                Step::End => break,
                Step::Bad(reason) => {
                    let (bad, position) = (walk.index(), walk.position());
                    let after = (position + 1, len);
                    let claim = find_record(&*file, header.salt, after, |r| r.durable >= Some(bad))
                        .map_err(io("read"))?;
                    let claim = claim.filter(|_| !mutant!("cut-at-any-damage"));
                    let Some((at, witness)) = claim else { break };
                    let reason = format!(
                        "{reason}, and record {} at byte {at} shows that it had been stored safely",
                        witness.index
                    );
                    return Err(Error::corrupt(&path, position, bad, reason));
                }
            }
        }
        let (next, end) = (walk.index(), walk.position());
        let segment = Segment::new(header, path, index);
        segment.set_content(next, end);
        Ok(Self {
            segment,
            file,
            len,
            unproven: unproven.front().map_or(end, |(_, position)| *position),
        })
    }

    /// Cuts off what is torn and makes the rest durable. `None` when that leaves an empty log.
    fn repair(
        self,
        files: &dyn Files,
        dir: &Path,
        is_only: bool,
        recovery: &mut Recovery,
    ) -> Result<Option<Writable>, Error> {
        let path = &self.segment.path;
        let end = self.segment.end();
        if end < self.len {
            recovery.truncated_bytes = self.len - end;
            recovery.truncated_at = Some((path.clone(), end));
        }
        if is_only && self.segment.is_empty() {
            // An empty log may go on with any index, which the file's name would contradict.
            files
                .remove(path)
                .map_err(|e| Error::io("remove", path, e))?;
            files.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
            return Ok(None);
        }
        if end < self.len {
            self.file
                .truncate(end)
                .map_err(|e| Error::io("truncate", path, e))?;
        }
        // The process before may have died of a failed sync. Then the system may hold these bytes
        // in memory, think them stored, and be wrong; so they are written again.
        let unproven = match mutant!("recovery-trusts-cache") {
            true => end,
            false => self.unproven,
        };
        rewrite(&*self.file, unproven, end).map_err(|e| Error::io("write", path, e))?;
        self.file
            .fdatasync()
            .map_err(|e| Error::io("sync", path, e))?;
        self.segment.keep_open(Arc::clone(&self.file));
        Ok(Some((self.segment, self.file)))
    }
}

fn rewrite(file: &dyn File, mut position: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; (end - position).min(1024 * 1024) as usize];
    while position < end {
        let len = buffer.len().min((end - position) as usize);
        let bytes = &mut buffer[..len];
        read_exact_at(file, bytes, position)?;
        write_all_at(file, &mut [IoSlice::new(bytes)], position)?;
        position += len as u64;
    }
    Ok(())
}
