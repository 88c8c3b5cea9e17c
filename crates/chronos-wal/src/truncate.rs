//! Taking records away: from the end, and whole segments from the front.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::log::Shared;
use crate::mutant;
use crate::segment::{Segment, sidecar_name};
use crate::walk::{Bodies, Step, Walk};
use crate::writer::Writer;

impl Shared {
    pub(crate) fn truncate_after(self: &Arc<Self>, index: Option<u64>) -> Result<(), Error> {
        let _removing = self.removing.lock();
        self.claim();
        let result = self.truncate_claimed(index);
        self.release();
        result
    }

    fn truncate_claimed(&self, index: Option<u64>) -> Result<(), Error> {
        // Reads stop here until the files and what is known of them agree again.
        let _no_reads = self.truncating.write();
        let last = {
            let mut state = self.state.lock();
            state.check_poison()?;
            if state.last <= index {
                return Ok(());
            }
            let last = index.filter(|index| state.first.is_some_and(|first| first <= *index));
            state.last = last;
            if last.is_none() {
                state.first = None;
            }
            self.tail.write().truncate_after(last);
            last
        };
        self.hints.clear();
        self.attempt(|writer| self.cut_files(writer, last))
    }

    /// Every step leaves a log that opens: shorter than before, and not yet as short as asked.
    fn cut_files(&self, writer: &mut Writer, last: Option<u64>) -> Result<(), Error> {
        writer.reset();
        let segments = &self.context.segments;
        for segment in segments.all().iter().rev() {
            if let Some(last) = last
                && segment.base() <= last
            {
                return self.cut_segment(writer, segment, last);
            }
            self.remove_segment(segment)?;
            segments.remove(segment.base());
        }
        Ok(())
    }

    fn cut_segment(
        &self,
        writer: &mut Writer,
        segment: &Arc<Segment>,
        last: u64,
    ) -> Result<(), Error> {
        let (files, dir) = (&*self.context.files, &self.context.options.dir);
        let fail = |operation: &'static str| {
            let path = segment.path.clone();
            move |error| Error::io(operation, &path, error)
        };
        // The sidecar goes first: it would not tell of the records that come instead.
        if !mutant!("old-sidecar-kept") {
            self.remove_file(&dir.join(sidecar_name(segment.base())))?;
        }
        files.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;

        let file = files.open(&segment.path).map_err(fail("open"))?;
        let keep = last - segment.base();
        let (record, position) = segment.index.read().floor(keep).unwrap_or_default();
        let mut walk = Walk::new(
            &*file,
            segment.header.salt,
            Bodies::Skip,
            (position, segment.end()),
            segment.base() + record,
        );
        while walk.index() <= last {
            match walk.step().map_err(fail("read"))? {
                Step::Record { .. } => {}
                Step::End => {
                    let reason = "the file ends before the record";
                    return Err(self.damaged(segment, &walk, reason));
                }
                Step::Bad(reason) => return Err(self.damaged(segment, &walk, reason)),
            }
        }
        let end = walk.position();
        file.truncate(end).map_err(fail("truncate"))?;
        if !mutant!("cut-not-synced") {
            file.fdatasync().map_err(fail("sync"))?;
        }
        segment.index.write().truncate(keep + 1);
        segment.set_content(last + 1, end);
        segment.keep_open(Arc::clone(&file));
        writer.resume(Arc::clone(segment), file);
        Ok(())
    }

    fn damaged(&self, segment: &Segment, walk: &Walk<'_>, reason: &str) -> Error {
        Error::corrupt(&segment.path, walk.position(), walk.index(), reason)
    }

    pub(crate) fn remove_segments_below(&self, index: u64) -> Result<(), Error> {
        let _removing = self.removing.lock();
        let all = self.context.segments.all();
        let durable = self.state.lock().durable;
        for pair in all.windows(2) {
            let (segment, next) = (&pair[0], &pair[1]);
            // Something durable must follow, or a power loss would leave a log that has forgotten
            // how far it had got.
            if segment.next() > index || durable < Some(next.base()) {
                break;
            }
            // Reads are told first; then the file goes, the oldest before the next, so that a
            // crash leaves no gap.
            self.state.lock().first = Some(next.base());
            self.remove_segment(segment)?;
            self.context.segments.remove(segment.base());
        }
        Ok(())
    }

    /// Removes the segment's files, durably.
    fn remove_segment(&self, segment: &Segment) -> Result<(), Error> {
        let dir = &self.context.options.dir;
        self.remove_file(&segment.path)?;
        self.remove_file(&dir.join(sidecar_name(segment.base())))?;
        self.context
            .files
            .sync_dir(dir)
            .map_err(|e| Error::io("sync", dir, e))
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        match self.context.files.remove(path) {
            // Gone already, by an attempt that failed afterwards; or there is no sidecar.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|e| Error::io("remove", path, e)),
        }
    }
}
