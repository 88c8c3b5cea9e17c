//! The file system as the log sees it, so that tests can tear, lose and corrupt writes.

mod real;
#[cfg(feature = "mutants")]
mod volatile;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use real::RealFiles;
#[cfg(feature = "mutants")]
pub use volatile::VolatileFiles;

/// The files of this machine. In builds with mutants the environment variable `CHRONOS_LOSE_UNSYNCED`
/// makes them forget what was not synced when the process is killed.
#[must_use]
pub fn system_files() -> Arc<dyn Files> {
    #[cfg(feature = "mutants")]
    {
        // One for the process, so that all who open a file see the same.
        static VOLATILE: std::sync::LazyLock<Option<Arc<VolatileFiles>>> =
            std::sync::LazyLock::new(|| {
                std::env::var_os("CHRONOS_LOSE_UNSYNCED").map(|_| Arc::default())
            });
        if let Some(files) = &*VOLATILE {
            return Arc::clone(files) as _;
        }
    }
    Arc::new(RealFiles)
}

/// A file system. [`RealFiles`] is the operating system's; [`crate::faulty::FaultyFiles`] is one in
/// memory that misbehaves on request.
pub trait Files: Send + Sync + fmt::Debug {
    /// Creates the folder and those above it; no error when it exists. Durable on return.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates an empty file for reading and writing; an existing one is emptied. The name is
    /// durable after [`Files::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Renames within one folder, replacing what has the new name. Durable after
    /// [`Files::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Files::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a folder, in any order. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be written where `dir` is.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// A number that is unlikely to come twice. Need not be secret.
    fn nonce(&self) -> u64;
}

/// An open file. All methods may be called from many threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Reads at a position; returns the number of bytes read, 0 at the end of the file.
    fn pread(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes the buffers one after the other at a position; returns the number of bytes written,
    /// which may be fewer than given.
    fn pwritev(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Makes the content and the length durable.
    fn fdatasync(&self) -> io::Result<()>;
    /// Cuts the file to a length, and releases space allocated beyond it. Durable after
    /// [`File::fdatasync`].
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Reserves space for `length` bytes from `position` without changing the file's length.
    /// Fails with [`io::ErrorKind::Unsupported`] where that is not possible.
    fn allocate(&self, position: u64, length: u64) -> io::Result<()>;
}

/// Fills the buffer, or fails with [`io::ErrorKind::UnexpectedEof`].
pub(crate) fn read_exact_at(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<()> {
    match read_up_to(file, buffer, position)? {
        n if n == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads until the buffer is full or the file ends; returns the number of bytes read.
pub(crate) fn read_up_to(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.pread(&mut buffer[done..], position + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all buffers. A short write is continued; an interrupted one is repeated, since it wrote
/// nothing.
pub(crate) fn write_all_at(
    file: &dyn File,
    mut buffers: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        match file.pwritev(buffers, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                position += n as u64;
                IoSlice::advance_slices(&mut buffers, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
