//! Reading records back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::files::{File, read_exact_at, read_up_to};
use crate::hints::Hint;
use crate::log::Shared;
use crate::record::{DecodeError, HEADER_BYTES, Header, Place, Record};
use crate::segment::Segment;
use crate::sparse::MAX_GAP_BYTES;

/// Read at a position where the record is expected.
const DIRECT_READ_BYTES: u64 = 16 * 1024;
/// Read where a record is searched from: what one entry of the sparse index covers.
const SEARCH_READ_BYTES: u64 = MAX_GAP_BYTES as u64;

impl Shared {
    pub(crate) fn read(&self, index: u64) -> Result<Option<Record>, Error> {
        let _stable = self.truncating.read();
        if !self.holds(index) {
            return Ok(None);
        }
        if let Some(record) = self.tail.read().get(index) {
            return Ok(Some(record.clone()));
        }
        let Some(source) = self.source(index)? else {
            return Ok(None);
        };
        let found = self.locate(&source, index)?;
        let body = source.part(&found, 0, found.header.body_bytes)?;
        if let Err(error) = found.header.check_body(&body) {
            return Err(source.corrupt(found.position, index, error.to_string()));
        }
        Ok(Some(Record {
            index,
            meta: found.header.meta,
            body,
        }))
    }

    pub(crate) fn read_body_at(&self, index: u64, position: u32, len: u32) -> Result<Bytes, Error> {
        let _stable = self.truncating.read();
        if !self.holds(index) {
            return Err(Error::NotFound { index });
        }
        let inside = |body_bytes: u32| {
            let end = position.checked_add(len);
            if end.is_some_and(|end| end <= body_bytes) {
                Ok(())
            } else {
                Err(Error::OutsideBody {
                    index,
                    position,
                    len,
                    body_bytes,
                })
            }
        };
        if let Some(record) = self.tail.read().get(index) {
            inside(record.body.len() as u32)?;
            let from = position as usize;
            return Ok(record.body.slice(from..from + len as usize));
        }
        let Some(source) = self.source(index)? else {
            return Err(Error::NotFound { index });
        };
        if let Some(hint) = self.hints.get(index)
            && let Some(body_bytes) = hint.body_bytes
        {
            inside(body_bytes)?;
            let from = hint.position + HEADER_BYTES as u64 + u64::from(position);
            return source.read_exact(from, len, (hint.position, index));
        }
        let found = self.locate(&source, index)?;
        inside(found.header.body_bytes)?;
        source.part(&found, position, len)
    }

    fn holds(&self, index: u64) -> bool {
        let state = self.state.lock();
        state.first.is_some_and(|first| first <= index)
            && state.last.is_some_and(|last| index <= last)
    }

    /// The segment that holds the record; `None` when it has just been removed.
    fn source(&self, index: u64) -> Result<Option<Source>, Error> {
        let Some(segment) = self.context.segments.find(index) else {
            return Ok(None);
        };
        match self.context.segments.file(&*self.context.files, &segment) {
            Ok(file) => Ok(Some(Source { segment, file })),
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.holds(index) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn locate(&self, source: &Source, index: u64) -> Result<Found, Error> {
        let found = match self.locate_by_hint(source, index)? {
            Some(found) => found,
            None => source.search(index)?,
        };
        self.hints.put(Hint {
            index,
            position: found.position,
            body_bytes: Some(found.header.body_bytes),
        });
        let next = found.position + found.header.stored_bytes();
        if next < source.segment.end() {
            self.hints.put(Hint {
                index: index + 1,
                position: next,
                body_bytes: None,
            });
        }
        Ok(found)
    }

    fn locate_by_hint(&self, source: &Source, index: u64) -> Result<Option<Found>, Error> {
        let Some(hint) = self.hints.get(index) else {
            return Ok(None);
        };
        let window = source.window(hint.position, DIRECT_READ_BYTES)?;
        // If the hint is wrong, the search has the last word.
        Ok(source
            .header(&window, hint.position)
            .ok()
            .filter(|header| header.index == index)
            .map(|header| Found {
                position: hint.position,
                header,
                window,
            }))
    }
}

/// A segment to read from.
struct Source {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
}

/// Some bytes of the file.
struct Window {
    start: u64,
    bytes: Bytes,
}

struct Found {
    position: u64,
    header: Header,
    window: Window,
}

impl Source {
    /// Goes from the nearest entry of the sparse index through the headers to the record.
    fn search(&self, index: u64) -> Result<Found, Error> {
        let base = self.segment.base();
        let floor = self.segment.index.read().floor(index - base);
        let Some((record, mut position)) = floor else {
            return Err(self.corrupt(0, index, "the segment's index is empty"));
        };
        let mut at = base + record;
        let mut window = self.window(position, SEARCH_READ_BYTES)?;
        loop {
            let buffered = window.start + window.bytes.len() as u64;
            if position + HEADER_BYTES as u64 > buffered {
                window = self.window(position, SEARCH_READ_BYTES)?;
            }
            let header = self
                .header(&window, position)
                .map_err(|e| self.corrupt(position, at, e.to_string()))?;
            if header.index != at {
                let reason = format!("the record there is {}", header.index);
                return Err(self.corrupt(position, at, reason));
            }
            if at == index {
                return Ok(Found {
                    position,
                    header,
                    window,
                });
            }
            position += header.stored_bytes();
            at += 1;
        }
    }

    fn header(&self, window: &Window, position: u64) -> Result<Header, DecodeError> {
        let place = Place {
            salt: self.segment.header.salt,
            position,
        };
        let from = usize::try_from(position - window.start).unwrap_or(usize::MAX);
        Header::decode(window.bytes.get(from..).unwrap_or_default(), place)
    }

    /// Reads up to `len` bytes, fewer at the end of the segment.
    fn window(&self, position: u64, len: u64) -> Result<Window, Error> {
        let len = self.segment.end().saturating_sub(position).min(len);
        let mut bytes = vec![0; len as usize];
        let read = read_up_to(&*self.file, &mut bytes, position)
            .map_err(|e| Error::io("read", &self.segment.path, e))?;
        bytes.truncate(read);
        Ok(Window {
            start: position,
            bytes: bytes.into(),
        })
    }

    /// A part of the record's body, which must lie within it.
    fn part(&self, found: &Found, position: u32, len: u32) -> Result<Bytes, Error> {
        let start = found.position + HEADER_BYTES as u64 + u64::from(position);
        let from = (start - found.window.start) as usize;
        let window = &found.window.bytes;
        let range = from..from + len as usize;
        if range.end > window.len() {
            self.read_exact(start, len, (found.position, found.header.index))
        } else if range.len() * 2 >= window.len() {
            Ok(window.slice(range))
        } else {
            // A small part must not keep the whole window in memory.
            Ok(Bytes::copy_from_slice(&window[range]))
        }
    }

    fn read_exact(
        &self,
        start: u64,
        len: u32,
        (position, index): (u64, u64),
    ) -> Result<Bytes, Error> {
        let mut bytes = vec![0; len as usize];
        match read_exact_at(&*self.file, &mut bytes, start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(position, index, "the file ends within the record"))
            }
            Err(error) => Err(Error::io("read", &self.segment.path, error)),
        }
    }

    fn corrupt(&self, position: u64, index: u64, reason: impl Into<String>) -> Error {
        Error::corrupt(&self.segment.path, position, index, reason)
    }
}
