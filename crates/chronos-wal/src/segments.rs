//! The segments of one log, and which of their files are open.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::error::Error;
use crate::files::{File, Files};
use crate::segment::Segment;

/// Sealed segments whose files stay open after a read. A log may have hundreds of segments, and a
/// process hundreds of logs, so they cannot all be open.
const MAX_OPEN_SEALED: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// Oldest first; the last one is written to.
    all: RwLock<Vec<Arc<Segment>>>,
    /// Sealed segments with an open file, in the order of opening.
    open: Mutex<VecDeque<Arc<Segment>>>,
}

impl Segments {
    pub(crate) fn new(all: Vec<Arc<Segment>>) -> Self {
        Self {
            all: RwLock::new(all),
            open: Mutex::default(),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.all.read().clone()
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        self.all.write().push(segment);
    }

    pub(crate) fn remove(&self, base: u64) {
        self.all.write().retain(|segment| segment.base() != base);
        self.open.lock().retain(|segment| segment.base() != base);
    }

    /// The segment that holds the record.
    pub(crate) fn find(&self, index: u64) -> Option<Arc<Segment>> {
        let all = self.all.read();
        let after = all.partition_point(|segment| segment.base() <= index);
        let segment = all[..after].last()?;
        (index < segment.next()).then(|| Arc::clone(segment))
    }

    /// The segment's file, opened if need be.
    pub(crate) fn file(
        &self,
        files: &dyn Files,
        segment: &Arc<Segment>,
    ) -> Result<Arc<dyn File>, Error> {
        let (file, opened) = segment.file(files)?;
        if opened {
            self.note_open(Arc::clone(segment));
        }
        Ok(file)
    }

    /// Counts a sealed segment among the open ones, and closes the one opened longest ago if there
    /// are too many.
    pub(crate) fn note_open(&self, segment: Arc<Segment>) {
        let mut open = self.open.lock();
        open.push_back(segment);
        if open.len() > MAX_OPEN_SEALED
            && let Some(oldest) = open.pop_front()
        {
            oldest.close();
        }
    }
}
