//! Adds sorted pairs as a finished file, without passing through a memtable.

use crate::store::Inner;
use chronos_core::store::{Family, StoreError};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

pub(crate) fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    inner: &Inner,
    family: Family,
    pairs: &[(K, V)],
) -> Result<(), StoreError> {
    if pairs.is_empty() {
        return Ok(());
    }
    inner.failure.check()?;
    let number = inner.ingest_number.fetch_add(1, Ordering::Relaxed);
    let file = inner.ingest_folder.join(format!("{number}.sst"));
    let result = write_file(inner, family, pairs, &file).and_then(|()| add(inner, family, &file));
    if result.is_err() {
        // Of no use any more. If it cannot be removed now, the next open does it.
        let _ = fs::remove_file(&file);
    }
    inner.failure.note(result)
}

/// Writes the pairs to a file and syncs it.
fn write_file<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    inner: &Inner,
    family: Family,
    pairs: &[(K, V)],
    file: &Path,
) -> Result<(), String> {
    let mut writer = SstFileWriter::create(&inner.family_options[family as usize]);
    writer.open(file)?;
    for (key, value) in pairs {
        writer.put(key, value)?;
    }
    writer.finish()?;
    inner
        .ingest_written_bytes
        .fetch_add(writer.file_size(), Ordering::Relaxed);
    Ok(())
}

/// Makes the file part of the family: RocksDB links it under a name of its own, syncs the folder
/// and its manifest, and removes the original. What the family has in memory is older than the file
/// and must be in files before; a family written only through here has nothing there.
fn add(inner: &Inner, family: Family, file: &Path) -> Result<(), String> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    let column = inner.column(family)?;
    if inner.has_unflushed(family)? {
        inner.flush()?;
    }
    let add = || {
        inner
            .db
            .ingest_external_file_cf_opts(column, &options, vec![file])
    };
    let _turn = match family {
        Family::Dedup => Some(inner.expiry.turn(inner)?),
        _ => None,
    };
    Ok(add()?)
}
