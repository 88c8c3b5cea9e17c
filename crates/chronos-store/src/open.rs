//! Opens a store, or says clearly why not.

use crate::expiry::Expiry;
use crate::failure::Failure;
use crate::layout::{self, FORMAT, FORMAT_PREFIX, UNUSED};
use crate::options::Options;
use crate::store::{Inner, RocksStore};
use crate::tuning;
use chronos_core::store::Family;
use rocksdb::{ColumnFamilyDescriptor, DB};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::{fs, io};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store's folder cannot be made or cleaned.
    #[error("cannot prepare the index in {}: {source}", path.display())]
    Folder {
        /// The store's folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another version wrote the store.
    #[error(
        "the index in {} has format {found}; this version reads format {supported}",
        path.display()
    )]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The format found, as written in its mark.
        found: String,
        /// The format this build reads.
        supported: u32,
    },
    /// The store holds keys this build knows nothing about.
    #[error("the index in {} holds the unknown family `{name}`", path.display())]
    UnknownFamily {
        /// The store's folder.
        path: PathBuf,
        /// The family's name.
        name: String,
    },
    /// The storage engine refused: damaged, in use by another process, or out of resources.
    #[error("cannot open the index in {}: {reason}", path.display())]
    Engine {
        /// The store's folder.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<RocksStore, OpenError> {
    let folder = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    let engine = |error: rocksdb::Error| OpenError::Engine {
        path: path.to_owned(),
        reason: error.into(),
    };

    fs::create_dir_all(path).map_err(folder)?;
    let db_options = tuning::database(options);
    if path.join("CURRENT").exists() {
        let names = DB::list_cf(&db_options, path).map_err(engine)?;
        check_names(path, &names)?;
    }
    let ingest_folder = layout::ingest_folder(path);
    empty(&ingest_folder).map_err(folder)?;

    let cache = tuning::cache(options);
    let family_options = Family::ALL.map(|family| tuning::family(family, options, &cache));
    let mut descriptors: Vec<_> = Family::ALL
        .iter()
        .zip(&family_options)
        .map(|(family, tuned)| ColumnFamilyDescriptor::new(layout::name(*family), tuned.clone()))
        .collect();
    for name in [UNUSED.to_owned(), layout::format_mark()] {
        descriptors.push(ColumnFamilyDescriptor::new(name, tuning::plain(options)));
    }
    let db = DB::open_cf_descriptors(&db_options, path, descriptors).map_err(engine)?;

    let mut write_options = rocksdb::WriteOptions::default();
    write_options.disable_wal(true);
    Ok(RocksStore {
        inner: Arc::new(Inner {
            db,
            db_options,
            family_options,
            cache,
            write_options,
            read_options: rocksdb::ReadOptions::default(),
            ingest_folder,
            ingest_number: AtomicU64::new(0),
            ingest_written_bytes: AtomicU64::new(0),
            expiry: Expiry::default(),
            failure: Failure::default(),
        }),
    })
}

/// Compares the families found with those known. Families may be missing: a first open that was
/// interrupted leaves some, and the next one adds the others.
fn check_names(path: &Path, names: &[String]) -> Result<(), OpenError> {
    let mark = layout::format_mark();
    let other = names
        .iter()
        .find(|name| name.starts_with(FORMAT_PREFIX) && **name != mark);
    if let Some(other) = other {
        return Err(OpenError::Format {
            path: path.to_owned(),
            found: other[FORMAT_PREFIX.len()..].to_owned(),
            supported: FORMAT,
        });
    }
    let known = |name: &str| {
        name == UNUSED
            || name == mark
            || Family::ALL
                .iter()
                .any(|family| layout::name(*family) == name)
    };
    match names.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(OpenError::UnknownFamily {
            path: path.to_owned(),
            name: name.clone(),
        }),
    }
}

/// Makes a folder that holds nothing.
fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(folder)
}
