//! A file system in memory that misbehaves on request, for tests and simulations.
//!
//! It keeps two states: what a process sees (the page cache) and what is on the medium. Syncs move
//! one to the other; [`FaultyFiles::power_loss`] leaves the second, with an arbitrary part of what
//! was on its way. Everything random comes from seeds.

mod disk;
mod inode;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::files::{File, Files};
use disk::Disk;

/// Bytes that a power loss keeps or loses together.
pub const SECTOR_BYTES: usize = 512;

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Files::create`].
    Create,
    /// [`Files::open`] and [`Files::open_read`].
    Open,
    /// [`Files::rename`].
    Rename,
    /// [`Files::remove`].
    Remove,
    /// [`Files::list`].
    List,
    /// [`Files::sync_dir`].
    SyncDir,
    /// [`File::pread`].
    Read,
    /// [`File::pwritev`].
    Write,
    /// [`File::fdatasync`].
    Sync,
    /// [`File::truncate`].
    Truncate,
    /// [`File::allocate`].
    Allocate,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO, nothing done. A failed sync makes the unsynced bytes look synced from then on, as Linux
    /// does.
    Eio,
    /// ENOSPC, nothing done.
    Enospc,
    /// The call is not supported.
    Unsupported,
    /// A read or write handles only this many bytes, at most, and says so.
    Short(usize),
    /// A write puts down this many bytes, at most, and then fails with EIO.
    Torn(usize),
}

/// What a power loss took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Unsynced sectors that are as they were before.
    pub sectors: u64,
    /// Unsynced sectors that are partly as they were before.
    pub torn_sectors: u64,
    /// Unsynced changes of names that did not happen.
    pub names: u64,
}

/// The file system. Clones are the same one; [`FaultyFiles::fork`] makes a copy.
#[derive(Clone)]
pub struct FaultyFiles {
    disk: Arc<Mutex<Disk>>,
    before_read: Arc<Mutex<Option<Hook>>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl FaultyFiles {
    /// An empty file system. The seed determines its [`Files::nonce`]s.
    pub fn new(seed: u64) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk::new(seed))),
            before_read: Arc::default(),
        }
    }

    /// A copy that goes its own way. Open files stay with the original.
    pub fn fork(&self) -> Self {
        let mut disk = self.disk.lock().clone();
        disk.disconnect();
        Self {
            disk: Arc::new(Mutex::new(disk)),
            before_read: Arc::default(),
        }
    }

    /// Makes a future call of the kind fail, once; 1 is the next one.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.disk.lock().fail(operation, nth, fault);
    }

    /// Makes all calls of the kind fail until [`FaultyFiles::heal`].
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.disk.lock().fail_always(operation, fault);
    }

    /// Forgets all faults that were asked for.
    pub fn heal(&self) {
        self.disk.lock().heal();
    }

    /// Has the next [`File::pread`] call this first, so that a test can do something in the middle
    /// of a read.
    pub fn before_next_read(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_read.lock() = Some(Box::new(hook));
    }

    /// Lets the power go during a future call that changes something; 1 is the next one. From then
    /// on every call fails, until [`FaultyFiles::power_loss`].
    pub fn cut_power_at(&self, nth: u64) {
        self.disk.lock().cut_power_at(nth);
    }

    /// Whether the power went, as asked for with [`FaultyFiles::cut_power_at`].
    pub fn is_cut(&self) -> bool {
        self.disk.lock().is_cut()
    }

    /// The machine loses power and starts again. What was synced is there. Of the rest, the seed
    /// chooses sectors to be kept, lost or torn, lengths and names to be old or new. Files that
    /// were open fail from now on. Says what was lost.
    pub fn power_loss(&self, seed: u64) -> Lost {
        self.disk.lock().power_loss(seed)
    }

    /// The process is killed. Nothing written is lost; files that were open fail from now on.
    pub fn kill(&self) {
        self.disk.lock().disconnect();
    }

    /// Limits the bytes of all files together; writes beyond fail with ENOSPC.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        self.disk.lock().capacity_bytes = bytes;
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.disk.lock().used()
    }

    /// How often a call was made.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.disk.lock().calls(operation)
    }

    /// The files of a folder.
    pub fn paths(&self, dir: &Path) -> Vec<PathBuf> {
        self.disk.lock().paths(dir)
    }

    /// The content of a file; `None` when there is none.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.disk.lock().content(path)
    }

    /// Puts a file there with this content, durably.
    pub fn set_content(&self, path: &Path, content: Vec<u8>) {
        self.disk.lock().set_content(path, content);
    }

    /// Flips a bit of a file, in memory and on the medium; 0 is the lowest bit of the first byte.
    /// Nothing happens when there is no such bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        if let Some(mut content) = self.content(path)
            && let Some(byte) = usize::try_from(bit / 8)
                .ok()
                .and_then(|at| content.get_mut(at))
        {
            *byte ^= 1 << (bit % 8);
            self.set_content(path, content);
        }
    }

    fn file(&self, (id, generation): (u64, u64)) -> Arc<dyn File> {
        Arc::new(FaultyFile {
            disk: Arc::clone(&self.disk),
            before_read: Arc::clone(&self.before_read),
            id,
            generation,
        })
    }
}

impl fmt::Debug for FaultyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFiles").finish_non_exhaustive()
    }
}

impl Files for FaultyFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let opened = self.disk.lock().create(path)?;
        Ok(self.file(opened))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let opened = self.disk.lock().open(path)?;
        Ok(self.file(opened))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.lock().list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().sync_dir(dir)
    }

    fn available_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.disk.lock().available_bytes())
    }

    fn nonce(&self) -> u64 {
        self.disk.lock().nonce()
    }
}

struct FaultyFile {
    disk: Arc<Mutex<Disk>>,
    before_read: Arc<Mutex<Option<Hook>>>,
    id: u64,
    generation: u64,
}

impl FaultyFile {
    fn at(&self) -> (u64, u64) {
        (self.id, self.generation)
    }
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFile")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl File for FaultyFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.disk.lock().len_bytes(self.at())
    }

    fn pread(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let hook = self.before_read.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        self.disk.lock().pread(self.at(), buffer, position)
    }

    fn pwritev(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.disk.lock().pwritev(self.at(), buffers, position)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.disk.lock().fdatasync(self.at())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.lock().truncate(self.at(), length)
    }

    fn allocate(&self, _position: u64, _length: u64) -> io::Result<()> {
        self.disk.lock().allocate(self.at())
    }
}
