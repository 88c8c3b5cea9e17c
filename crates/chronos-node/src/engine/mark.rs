//! A mark in a replica's folder that outlives a crash: why there may be nothing, or half of something.
//!
//! The vote that the replica gave stays where it is in both cases: it still binds this node.

use crate::data_dir::{replace_file, sync_folder};
use anyhow::Context;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The name of the file.
const FILE: &str = "mark";

/// What happened to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is being removed, or copied from another node: what is there may be half of something, and
    /// is to be thrown away.
    Partial,
    /// It was removed. The partition may come back.
    Gone,
}

impl Mark {
    const ALL: [Self; 2] = [Mark::Partial, Mark::Gone];

    const fn text(self) -> &'static str {
        match self {
            Mark::Partial => "partial\n",
            Mark::Gone => "gone\n",
        }
    }

    /// The mark in a replica's folder, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or says something else.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path:?}")),
        };
        let mark = Self::ALL.into_iter().find(|mark| mark.text() == text);
        match mark {
            Some(mark) => Ok(Some(mark)),
            None => anyhow::bail!("{path:?} is damaged: it holds neither of the marks it may"),
        }
    }

    /// Marks a folder. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FILE);
        let write = || {
            fs::create_dir_all(folder)?;
            replace_file(folder, FILE, "mark.new", self.text())
        };
        write().with_context(|| format!("cannot write {path:?}"))
    }

    /// Removes the mark. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FILE);
        let remove = || match fs::remove_file(&path) {
            Ok(()) => sync_folder(folder),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        remove().with_context(|| format!("cannot remove {path:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("0");
        assert_eq!(Mark::read(&folder).unwrap(), None);
        for mark in Mark::ALL {
            mark.write(&folder).unwrap();
            assert_eq!(Mark::read(&folder).unwrap(), Some(mark));
        }
        Mark::remove(&folder).unwrap();
        Mark::remove(&folder).unwrap();
        assert_eq!(Mark::read(&folder).unwrap(), None);
        fs::write(folder.join(FILE), "half").unwrap();
        Mark::read(&folder).unwrap_err();
    }
}
