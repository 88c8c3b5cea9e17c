//! The sparse index of a segment, and the sidecar file it is kept in once the segment is sealed.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::error::Error;
use crate::files::{Files, read_exact_at, write_all_at};
use crate::record::{read_u32, read_u64};
use crate::segment::{FIRST_POSITION, SegmentHeader, sidecar_name, temporary_name};

/// An entry is made at least every so many bytes of file.
pub(crate) const MAX_GAP_BYTES: u32 = 64 * 1024;

const MAGIC: [u8; 8] = *b"CHRONIDX";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 8;
/// Larger sidecars are not believed: a segment of the largest size has fewer entries.
const MAX_ENTRIES: u64 = 1 << 27;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Index of the record, less the segment's base.
    record: u32,
    position: u32,
}

/// Positions of some of a segment's records, ascending: the first one, then one each
/// `index_interval` records and each [`MAX_GAP_BYTES`] of file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    interval: u32,
    entries: Vec<Entry>,
}

impl SparseIndex {
    pub(crate) fn new(interval: u32) -> Self {
        Self {
            interval,
            entries: Vec::new(),
        }
    }

    /// Tells of the next record: its index less the base, and its position.
    pub(crate) fn observe(&mut self, record: u64, position: u64) {
        // Segments are too small for either number to need more than 32 bits.
        let (record, position) = (record as u32, position as u32);
        let due = self.entries.last().is_none_or(|last| {
            record - last.record >= self.interval || position - last.position >= MAX_GAP_BYTES
        });
        if due {
            self.entries.push(Entry { record, position });
        }
    }

    /// The last entry at or before the record: (index less the base, position).
    pub(crate) fn floor(&self, record: u64) -> Option<(u64, u64)> {
        let after = self
            .entries
            .partition_point(|entry| u64::from(entry.record) <= record);
        let entry = self.entries[..after].last()?;
        Some((u64::from(entry.record), u64::from(entry.position)))
    }

    /// Forgets the records from this one on.
    pub(crate) fn truncate(&mut self, record: u64) {
        self.entries
            .retain(|entry| u64::from(entry.record) < record);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }
}

/// What a sidecar says about its segment.
///
/// The file has the segment's name with the extension `idx`. Numbers are little-endian:
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | magic `CHRONIDX` |
/// | 8..12 | version, 1 |
/// | 12..16 | CRC32C of the whole file, with this field as zero |
/// | 16..24 | log id |
/// | 24..32 | base of the segment |
/// | 32..40 | salt of the segment |
/// | 40..48 | index after the last record |
/// | 48..56 | position after the last record, which is the segment's length |
/// | 56..64 | number of entries |
/// | 64.. | entries of 8 bytes: record less base, position in the segment |
///
/// A sidecar is a shortcut and never the truth: it is not synced, and when it is missing or does
/// not match its segment it is made anew from the segment's record headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub(crate) next: u64,
    pub(crate) end: u64,
    pub(crate) index: SparseIndex,
}

impl Sidecar {
    pub(crate) fn encode(&self, segment: &SegmentHeader) -> Vec<u8> {
        let entries = &self.index.entries;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [
            segment.log_id,
            segment.base,
            segment.salt,
            self.next,
            self.end,
            entries.len() as u64,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for entry in entries {
            bytes.extend_from_slice(&entry.record.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` when the bytes are damaged or tell of another segment.
    pub(crate) fn decode(bytes: &[u8], segment: &SegmentHeader, interval: u32) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &[0; 4]);
        let crc = crc32c::crc32c_append(crc, &bytes[16..]);
        let matches = header[0..8] == MAGIC
            && read_u32(header, 8) == VERSION
            && read_u32(header, 12) == crc
            && read_u64(header, 16) == segment.log_id
            && read_u64(header, 24) == segment.base
            && read_u64(header, 32) == segment.salt
            && read_u64(header, 56).checked_mul(ENTRY_BYTES as u64) == Some(rest.len() as u64);
        if !matches {
            return None;
        }
        let (next, end) = (read_u64(header, 40), read_u64(header, 48));
        let entries: Vec<_> = rest
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| Entry {
                record: read_u32(entry, 0),
                position: read_u32(entry, 4),
            })
            .collect();
        let ascending = entries
            .windows(2)
            .all(|pair| pair[0].record < pair[1].record && pair[0].position < pair[1].position);
        let first = Entry {
            record: 0,
            position: FIRST_POSITION as u32,
        };
        let inside = entries.last().is_some_and(|last| {
            u64::from(last.position) < end
                && segment
                    .base
                    .checked_add(u64::from(last.record))
                    .is_some_and(|index| index < next)
        });
        (ascending && inside && entries.first() == Some(&first)).then_some(Self {
            next,
            end,
            index: SparseIndex { interval, entries },
        })
    }

    pub(crate) fn store(
        &self,
        files: &dyn Files,
        dir: &Path,
        segment: &SegmentHeader,
    ) -> Result<(), Error> {
        let name = sidecar_name(segment.base);
        let (path, unnamed) = (dir.join(&name), dir.join(temporary_name(&name)));
        let file = files
            .create(&unnamed)
            .map_err(|e| Error::io("create", &unnamed, e))?;
        write_all_at(&*file, &mut [IoSlice::new(&self.encode(segment))], 0)
            .map_err(|e| Error::io("write", &unnamed, e))?;
        files
            .rename(&unnamed, &path)
            .map_err(|e| Error::io("rename", &unnamed, e))
    }

    /// `None` when there is no usable sidecar.
    pub(crate) fn load(
        files: &dyn Files,
        dir: &Path,
        segment: &SegmentHeader,
        interval: u32,
    ) -> Result<Option<Self>, Error> {
        let path = dir.join(sidecar_name(segment.base));
        let bytes = match read_file(files, &path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        Ok(Self::decode(&bytes, segment, interval))
    }
}

fn read_file(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let file = files.open_read(path)?;
    let len = file.len_bytes()?;
    if len > HEADER_BYTES as u64 + MAX_ENTRIES * ENTRY_BYTES as u64 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len as usize];
    match read_exact_at(&*file, &mut bytes, 0) {
        // Shorter than it said: as good as damaged.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentHeader = SegmentHeader {
        log_id: 1,
        base: 100,
        salt: 9,
    };

    fn sidecar() -> Sidecar {
        let mut index = SparseIndex::new(4);
        for record in 0..20 {
            index.observe(record, FIRST_POSITION + record * 50);
        }
        Sidecar {
            next: 120,
            end: FIRST_POSITION + 1000,
            index,
        }
    }

    #[test]
    fn entries_by_records_and_by_bytes() {
        let mut index = SparseIndex::new(4);
        let gap = u64::from(MAX_GAP_BYTES);
        for (record, position) in [
            (0, 64),
            (1, 65),
            (4, 70),
            (5, 71),
            (6, 70 + gap),
            (7, 71 + gap),
        ] {
            index.observe(record, position);
        }
        assert_eq!(index.len(), 3);
        assert_eq!(index.floor(0), Some((0, 64)));
        assert_eq!(index.floor(3), Some((0, 64)));
        assert_eq!(index.floor(5), Some((4, 70)));
        assert_eq!(index.floor(99), Some((6, 70 + gap)));
        index.truncate(4);
        assert_eq!(index.floor(99), Some((0, 64)));
        index.truncate(0);
        assert_eq!(index.floor(99), None);
    }

    #[test]
    fn sidecar_round_trip() {
        let bytes = sidecar().encode(&SEGMENT);
        assert_eq!(bytes.len(), 64 + 5 * 8);
        assert_eq!(Sidecar::decode(&bytes, &SEGMENT, 4), Some(sidecar()));
        let other = SegmentHeader { salt: 8, ..SEGMENT };
        assert_eq!(Sidecar::decode(&bytes, &other, 4), None);
    }

    #[test]
    fn damaged_sidecars_are_not_believed() {
        let bytes = sidecar().encode(&SEGMENT);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Sidecar::decode(&bad, &SEGMENT, 4), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Sidecar::decode(&bytes[..len], &SEGMENT, 4), None);
        }
    }
}
