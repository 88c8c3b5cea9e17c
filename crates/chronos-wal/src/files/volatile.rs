//! Files that forget what was not synced when the process is killed, as a disk does when its power
//! fails.
//!
//! Contents and lengths are held back in memory until they are synced; names are the file system's
//! and survive. So killing a process that uses these files loses at least what a power loss may.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{File, Files, RealFiles};

/// The operating system's files, without what was not synced.
#[derive(Debug, Default)]
pub struct VolatileFiles {
    /// Open files by device and inode: all who open a file see what others wrote to it.
    open: Mutex<HashMap<(u64, u64), Weak<VolatileFile>>>,
}

#[derive(Debug)]
struct VolatileFile {
    real: fs::File,
    state: Mutex<State>,
}

/// What is not on the disk.
#[derive(Debug)]
struct State {
    length: u64,
    /// In the order in which they were made.
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { position: u64, content: Vec<u8> },
    Cut { length: u64 },
}

impl VolatileFiles {
    fn share(&self, real: fs::File) -> io::Result<Arc<VolatileFile>> {
        let metadata = real.metadata()?;
        let mut open = self.open.lock();
        open.retain(|_, file| file.strong_count() > 0);
        let identity = (metadata.dev(), metadata.ino());
        if let Some(file) = open.get(&identity).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let state = State {
            length: metadata.len(),
            changes: Vec::new(),
        };
        let file = Arc::new(VolatileFile {
            real,
            state: Mutex::new(state),
        });
        open.insert(identity, Arc::downgrade(&file));
        Ok(file)
    }
}

impl Files for VolatileFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFiles.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        // Emptied as every other change is: until it is synced the old content is on the disk.
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = self.share(options.open(path)?)?;
        file.truncate(0)?;
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(self.share(file)?)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        // Somebody else may open the same file for writing later.
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFiles.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFiles.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFiles.sync_dir(dir)
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealFiles.available_bytes(dir)
    }

    fn nonce(&self) -> u64 {
        RealFiles.nonce()
    }
}

impl File for VolatileFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().length)
    }

    fn pread(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let left = usize::try_from(state.length.saturating_sub(position)).unwrap_or(usize::MAX);
        let size = left.min(buffer.len());
        let buffer = &mut buffer[..size];
        buffer.fill(0);
        let mut done = 0;
        while done < buffer.len() {
            match self
                .real
                .read_at(&mut buffer[done..], position + done as u64)?
            {
                0 => break,
                read => done += read,
            }
        }
        for change in &state.changes {
            change.show(buffer, position);
        }
        Ok(buffer.len())
    }

    fn pwritev(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let content = buffers.iter().flat_map(|it| it.iter().copied());
        let content: Vec<u8> = content.collect();
        let written = content.len();
        let mut state = self.state.lock();
        state.length = state.length.max(position + written as u64);
        state.changes.push(Change::Write { position, content });
        Ok(written)
    }

    fn fdatasync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        for change in &state.changes {
            match change {
                Change::Write { position, content } => {
                    self.real.write_all_at(content, *position)?
                }
                Change::Cut { length } => self.real.set_len(*length)?,
            }
        }
        self.real.sync_data()?;
        state.changes.clear();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.length = length;
        state.changes.push(Change::Cut { length });
        Ok(())
    }

    fn allocate(&self, _position: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Change {
    /// Lets a part of the file, read from `position` on, show this change.
    fn show(&self, buffer: &mut [u8], position: u64) {
        let end = position + buffer.len() as u64;
        match self {
            Self::Write {
                position: at,
                content,
            } => {
                let (from, to) = (position.max(*at), end.min(*at + content.len() as u64));
                if from < to {
                    let part = &content[(from - at) as usize..(to - at) as usize];
                    buffer[(from - position) as usize..][..part.len()].copy_from_slice(part);
                }
            }
            Self::Cut { length } => {
                let from = (*length).clamp(position, end);
                buffer[(from - position) as usize..].fill(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_up_to;
    use proptest::prelude::*;

    fn content(file: &dyn File) -> Vec<u8> {
        let mut buffer = vec![0; 4_096];
        let length = read_up_to(file, &mut buffer, 0).unwrap();
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn what_was_not_synced_is_not_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let files = VolatileFiles::default();
        let file = files.create(&path).unwrap();
        file.pwritev(&[IoSlice::new(b"kept")], 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        file.fdatasync().unwrap();
        file.pwritev(&[IoSlice::new(b" and lost")], 4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        // Another who opens the file sees everything, as long as the power is on.
        let other = files.open_read(&path).unwrap();
        assert_eq!(content(&*other), b"kept and lost");
        file.truncate(2).unwrap();
        assert_eq!(content(&*other), b"ke");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        drop((file, other));
        let again = files.open(&path).unwrap();
        assert_eq!(content(&*again), b"kept");
    }

    #[derive(Debug, Clone)]
    enum Op {
        Write(u64, Vec<u8>),
        Cut(u64),
        Sync,
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = proptest::collection::vec(1_u8.., 0..40);
        prop_oneof![
            4 => (0_u64..120, bytes).prop_map(|(at, bytes)| Op::Write(at, bytes)),
            1 => (0_u64..160).prop_map(Op::Cut),
            1 => Just(Op::Sync),
        ]
    }

    proptest! {
        #[test]
        fn it_reads_as_a_real_file_does(ops in proptest::collection::vec(op(), 1..30)) {
            let folder = tempfile::tempdir().unwrap();
            let file = VolatileFiles::default().create(&folder.path().join("a")).unwrap();
            let real = RealFiles.create(&folder.path().join("b")).unwrap();
            for op in ops {
                for file in [&file, &real] {
                    match &op {
                        Op::Write(at, bytes) if bytes.is_empty() => { let _ = at; }
                        Op::Write(at, bytes) => {
                            file.pwritev(&[IoSlice::new(bytes)], *at).unwrap();
                        }
                        Op::Cut(length) => file.truncate(*length).unwrap(),
                        Op::Sync => file.fdatasync().unwrap(),
                    }
                }
                prop_assert_eq!(content(&*file), content(&*real));
                prop_assert_eq!(file.len_bytes().unwrap(), real.len_bytes().unwrap());
            }
        }
    }
}
