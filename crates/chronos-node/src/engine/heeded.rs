//! Up to which epoch of its placement each partition was heeded while it was to be on this node.
//!
//! After a start the catalog is applied anew from an older state, and for that time it may say of a
//! replica that it is elsewhere, because that was before it came here. What it says counts only when it
//! is later than what was heeded, or the replica would be thrown away.

use crate::data_dir::replace_file;
use anyhow::Context;
use chronos_core::types::PartitionNumber;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The name of the file: a line for each partition, its number and the epoch.
const FILE: &str = "placed";

/// The epochs, in memory and on the disk.
pub(super) struct Heeded {
    folder: PathBuf,
    epochs: BTreeMap<PartitionNumber, u64>,
}

impl Heeded {
    /// Reads them from a folder; there are none before the first is noted.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path:?}")),
        };
        let epochs = text.lines().map(parse).collect::<Option<_>>();
        let Some(epochs) = epochs else {
            anyhow::bail!("{path:?} is damaged: its lines are not a partition and an epoch each");
        };
        Ok(Self {
            folder: folder.to_owned(),
            epochs,
        })
    }

    /// Whether a placement is later than what was heeded of the partition.
    pub(super) fn is_later(&self, number: PartitionNumber, epoch: u64) -> bool {
        (self.epochs.get(&number)).is_none_or(|heeded| epoch > *heeded)
    }

    /// Notes placements that have partitions on this node. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn note(
        &mut self,
        placed: impl Iterator<Item = (PartitionNumber, u64)>,
    ) -> anyhow::Result<()> {
        let later: Vec<_> = placed
            .filter(|(number, epoch)| self.is_later(*number, *epoch))
            .collect();
        if later.is_empty() {
            return Ok(());
        }
        self.epochs.extend(later);
        let mut text = String::new();
        for (number, epoch) in &self.epochs {
            let _ = writeln!(text, "{number} {epoch}");
        }
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            replace_file(&self.folder, FILE, "placed.new", &text)
        };
        write().with_context(|| format!("cannot write {:?}", self.folder.join(FILE)))
    }
}

fn parse(line: &str) -> Option<(PartitionNumber, u64)> {
    let (number, epoch) = line.split_once(' ')?;
    Some((number.parse().ok()?, epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_catalog_takes_nothing_away_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("partitions");
        let mut heeded = Heeded::open(&folder).unwrap();
        assert!(heeded.is_later(7, 1));
        heeded.note([(7, 3), (8, 1)].into_iter()).unwrap();
        heeded.note([(7, 2)].into_iter()).unwrap();
        drop(heeded);
        let mut heeded = Heeded::open(&folder).unwrap();
        let later = [1, 2, 3, 4].map(|epoch| heeded.is_later(7, epoch));
        assert_eq!(later, [false, false, false, true]);
        assert!(heeded.is_later(8, 2) && heeded.is_later(9, 1));
        heeded.note([(7, 5)].into_iter()).unwrap();
        assert!(!Heeded::open(&folder).unwrap().is_later(7, 5));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["7", "7 x\n", "seven 7\n"] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            assert!(Heeded::open(folder.path()).is_err(), "{text:?}");
        }
    }
}
