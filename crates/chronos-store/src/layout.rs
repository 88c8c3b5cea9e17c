//! The names on disk: families, the format's mark, the folder for files to be ingested.
//!
//! A store is one RocksDB database. Each [`Family`] is the column family named here. One more,
//! always empty, is called `format-<n>`: its name says which version of the key layouts wrote the
//! store, and RocksDB tells the names before anything is opened.

use chronos_core::store::Family;
use std::path::{Path, PathBuf};

/// Version of the layouts that this build reads and writes.
pub(crate) const FORMAT: u32 = 3;

/// What the name of the format's mark begins with.
pub(crate) const FORMAT_PREFIX: &str = "format-";

/// RocksDB insists on this family; it stays empty.
pub(crate) const UNUSED: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

/// The family's name on disk.
pub(crate) const fn name(family: Family) -> &'static str {
    match family {
        Family::Meta => "meta",
        Family::Batch => "batch",
        Family::Chunk => "chunk",
        Family::Run => "run",
        Family::Dedup => "dedup",
        Family::Dead => "dead",
        Family::Change => "change",
        Family::Override => "override",
        Family::FarId => "far-id",
    }
}

/// The name that marks this build's format.
pub(crate) fn format_mark() -> String {
    format!("{FORMAT_PREFIX}{FORMAT}")
}

/// Where files are written before they are ingested. What is left in it after a crash is waste.
pub(crate) fn ingest_folder(store: &Path) -> PathBuf {
    store.join("ingest")
}
