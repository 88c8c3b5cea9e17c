//! A look at a log's files that changes nothing.

use std::fmt;
use std::path::Path;

use crate::error::Error;
use crate::files::{Files, RealFiles};
use crate::record::Header;
use crate::recovery::Listing;
use crate::segment::{FIRST_POSITION, SegmentHeader, file_name};
use crate::walk::{Bodies, Step, Walk, find_record};

/// What a log's folder holds, every record checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Ranges of indexes that are missing between segments: (first, last).
    pub gaps: Vec<(u64, u64)>,
}

/// One segment in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Name of the file.
    pub file: String,
    /// The log it says it belongs to; `None` when the header cannot be read.
    pub log_id: Option<u64>,
    /// Index of the first record, by the file's name.
    pub first_index: u64,
    /// Index of the last intact record before any damage.
    pub last_index: Option<u64>,
    /// Number of intact records before any damage.
    pub records: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// The first bad place.
    pub damage: Option<Damage>,
}

/// A bad place in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Position in the file, in bytes.
    pub position: u64,
    /// Index of the record that is, or should be, there.
    pub index: u64,
    /// What does not fit.
    pub reason: String,
    /// It is the trace of a crash: no acknowledged record is known to be hurt, and opening the log
    /// cuts it off.
    pub torn_tail: bool,
    /// Intact records in this file behind the bad place.
    pub intact_after: u64,
}

impl Report {
    /// Whether opening the log would succeed, as far as the files' content matters.
    pub fn is_sound(&self) -> bool {
        let damaged = |segment: &SegmentReport| {
            segment
                .damage
                .as_ref()
                .is_some_and(|damage| !damage.torn_tail)
        };
        self.gaps.is_empty() && !self.segments.iter().any(damaged)
    }
}

/// Reads through the log in `dir`.
///
/// # Errors
/// [`Error::Io`]. Damage is part of the report.
pub fn inspect(dir: &Path) -> Result<Report, Error> {
    inspect_files(&RealFiles, dir)
}

/// [`inspect`] on a file system of choice.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_files(files: &dyn Files, dir: &Path) -> Result<Report, Error> {
    let bases = Listing::read(files, dir)?.segments;
    let mut report = Report {
        segments: Vec::with_capacity(bases.len()),
        gaps: Vec::new(),
    };
    for (at, &base) in bases.iter().enumerate() {
        let is_last = at + 1 == bases.len();
        let segment = inspect_segment(files, dir, base, is_last)?;
        if let Some(before) = report.segments.last()
            && before.damage.is_none()
        {
            let next = before
                .last_index
                .map_or(before.first_index, |last| last + 1);
            if next < base {
                report.gaps.push((next, base - 1));
            }
        }
        report.segments.push(segment);
    }
    Ok(report)
}

fn inspect_segment(
    files: &dyn Files,
    dir: &Path,
    base: u64,
    is_last: bool,
) -> Result<SegmentReport, Error> {
    let name = file_name(base);
    let path = dir.join(&name);
    let failed = |error| Error::io("read", &path, error);
    let file = files.open_read(&path).map_err(failed)?;
    let len = file.len_bytes().map_err(failed)?;
    let mut report = SegmentReport {
        file: name,
        log_id: None,
        first_index: base,
        last_index: None,
        records: 0,
        bytes: len,
        damage: None,
    };
    let header = match SegmentHeader::read(&*file, &path, base) {
        Ok(header) => header,
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) => {
            let reason = match error {
                Error::Corrupt { reason, .. } => reason,
                error => error.to_string(),
            };
            report.damage = Some(Damage {
                position: 0,
                index: base,
                reason,
                torn_tail: false,
                // Without the salt of the header no record can be checked.
                intact_after: 0,
            });
            return Ok(report);
        }
    };
    report.log_id = Some(header.log_id);
    let walk_from =
        |position, index| Walk::new(&*file, header.salt, Bodies::Check, (position, len), index);
    let mut walk = walk_from(FIRST_POSITION, base);
    let bad = loop {
        match walk.step().map_err(failed)? {
            Step::Record { .. } => {}
            Step::End => break None,
            Step::Bad(reason) => break Some(reason),
        }
    };
    let (next, end) = (walk.index(), walk.position());
    report.records = next - base;
    report.last_index = (next > base).then(|| next - 1);
    let Some(reason) = bad else {
        return Ok(report);
    };

    let mut intact_after = 0;
    let mut proven = false;
    let mut from = end + 1;
    let later = |record: &Header| record.index > next;
    while let Some((position, first)) =
        find_record(&*file, header.salt, (from, len), later).map_err(failed)?
    {
        let mut walk = walk_from(position, first.index);
        while let Step::Record { header, .. } = walk.step().map_err(failed)? {
            intact_after += 1;
            proven |= header.durable >= Some(next);
        }
        from = walk.position().max(position + 1);
    }
    report.damage = Some(Damage {
        position: end,
        index: next,
        reason: reason.to_owned(),
        torn_tail: is_last && !proven,
        intact_after,
    });
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return writeln!(f, "no segments");
        }
        for segment in &self.segments {
            write!(f, "{}: {} bytes, ", segment.file, segment.bytes)?;
            match segment.last_index {
                Some(last) => writeln!(
                    f,
                    "{} intact records {} to {last}",
                    segment.records, segment.first_index
                )?,
                None => writeln!(f, "no intact record")?,
            }
            if let Some(damage) = &segment.damage {
                let kind = if damage.torn_tail {
                    "torn tail (the next start cuts it off)"
                } else {
                    "DAMAGED"
                };
                writeln!(
                    f,
                    "  {kind} at byte {} (record {}): {}; {} intact records behind it",
                    damage.position, damage.index, damage.reason, damage.intact_after
                )?;
            }
        }
        for (first, last) in &self.gaps {
            writeln!(
                f,
                "records {first} to {last} are missing: a segment file is gone"
            )?;
        }
        Ok(())
    }
}
