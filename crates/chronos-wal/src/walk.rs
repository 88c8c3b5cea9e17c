//! Going through the records of a segment file from a position on.

use std::io;

use crate::files::{File, read_up_to};
use crate::record::{DecodeError, HEADER_BYTES, Header, MAGIC, Place};

/// Whether bodies are read and checked, or skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    Check,
    Skip,
}

/// What is found at a position.
#[derive(Debug)]
pub(crate) enum Step {
    Record { position: u64, header: Header },
    End,
    Bad(&'static str),
}

/// Reads a segment file front to back.
pub(crate) struct Walk<'a> {
    window: Window<'a>,
    salt: u64,
    /// Records end here at the latest.
    end: u64,
    bodies: Bodies,
    position: u64,
    index: u64,
}

impl<'a> Walk<'a> {
    /// Starts at `position`, where record `index` should be.
    pub(crate) fn new(
        file: &'a dyn File,
        salt: u64,
        bodies: Bodies,
        (position, end): (u64, u64),
        index: u64,
    ) -> Self {
        // Bodies that are skipped need not be read, so less is read at a time.
        let capacity = match bodies {
            Bodies::Check => 1024 * 1024,
            Bodies::Skip => 64 * 1024,
        };
        Self {
            window: Window::new(file, capacity),
            salt,
            end,
            bodies,
            position,
            index,
        }
    }

    /// Position after the last good record.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Index the next record must have.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// Goes on by one record. After [`Step::Bad`] it stays where it is.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let position = self.position;
        if position >= self.end {
            return Ok(Step::End);
        }
        let place = Place {
            salt: self.salt,
            position,
        };
        let left = self.end - position;
        let bytes = self
            .window
            .bytes(position, HEADER_BYTES.min(left as usize))?;
        let header = match Header::decode(bytes, place) {
            Ok(header) => header,
            Err(error) => return Ok(Step::Bad(reason(error))),
        };
        if header.index != self.index {
            return Ok(Step::Bad("the record has another index"));
        }
        if header.stored_bytes() > left {
            return Ok(Step::Bad(reason(DecodeError::Incomplete)));
        }
        if self.bodies == Bodies::Check {
            let crc = self
                .window
                .checksum(position + HEADER_BYTES as u64, header.body_bytes)?;
            if crc != header.body_crc {
                return Ok(Step::Bad(reason(DecodeError::BodyChecksum)));
            }
        }
        self.position += header.stored_bytes();
        self.index += 1;
        Ok(Step::Record { position, header })
    }
}

fn reason(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Incomplete => "the record is cut off",
        DecodeError::Magic => "no record begins there",
        DecodeError::HeaderChecksum => "the header's checksum does not match",
        DecodeError::Header => "the header makes no sense",
        DecodeError::BodyChecksum => "the body's checksum does not match",
    }
}

/// Finds the first intact record at or after `position` that satisfies `wanted`, wherever it
/// begins.
pub(crate) fn find_record(
    file: &dyn File,
    salt: u64,
    (mut position, end): (u64, u64),
    wanted: impl Fn(&Header) -> bool,
) -> io::Result<Option<(u64, Header)>> {
    let mut search = Window::new(file, 1024 * 1024);
    let mut bodies = Window::new(file, 256 * 1024);
    while position + HEADER_BYTES as u64 <= end {
        let len = (end - position).min(search.capacity as u64) as usize;
        let bytes = search.bytes(position, len)?;
        // Starts whose header is inside of what was read; the others come with the next read.
        let starts = bytes.len() - HEADER_BYTES + 1;
        for at in 0..starts {
            if bytes[at..at + MAGIC.len()] != MAGIC {
                continue;
            }
            let place = Place {
                salt,
                position: position + at as u64,
            };
            let Ok(header) = Header::decode(&bytes[at..], place) else {
                continue;
            };
            let body = place.position + HEADER_BYTES as u64;
            if wanted(&header)
                && body + u64::from(header.body_bytes) <= end
                && bodies.checksum(body, header.body_bytes)? == header.body_crc
            {
                return Ok(Some((place.position, header)));
            }
        }
        position += starts as u64;
    }
    Ok(None)
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a dyn File,
    capacity: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn File, capacity: usize) -> Self {
        Self {
            file,
            capacity,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// `len` bytes from `position`, all of them inside of the file; `len` is at most the capacity.
    ///
    /// A read that ends before is an error: what is there may not be taken for torn.
    fn bytes(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let inside =
            position >= self.start && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(self.capacity, 0);
            let read = read_up_to(self.file, &mut self.bytes, position)?;
            self.bytes.truncate(read);
            self.start = position;
        }
        let from = (position - self.start) as usize;
        let bytes = self.bytes.get(from..from + len);
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// CRC32C of `len` bytes from `position`, all of them inside of the file.
    fn checksum(&mut self, mut position: u64, len: u32) -> io::Result<u32> {
        let mut crc = 0;
        let mut left = len as usize;
        while left > 0 {
            let buffered = (self.start + self.bytes.len() as u64).saturating_sub(position);
            let len = if position >= self.start && buffered > 0 {
                left.min(buffered as usize)
            } else {
                left.min(self.capacity)
            };
            let bytes = self.bytes(position, len)?;
            crc = crc32c::crc32c_append(crc, bytes);
            position += len as u64;
            left -= len;
        }
        Ok(crc)
    }
}
