//! Disks that fail, fill up, get slow and forget.

use super::Kind;
use crate::node::{Disk, Node};
use crate::random::Random;
use crate::world::World;
use chronos_core::store::Store;
use chronos_wal::faulty::{Fault, FaultyFiles, Operation};
use chronos_wal::inspect_files;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    let nodes = world.nodes();
    let Some(node) = random.pick(&nodes) else {
        return;
    };
    let files = &node.disk.files;
    match kind {
        Kind::WriteError => {
            let fault = match random.below(4) {
                0 => Fault::Eio,
                1 => Fault::Enospc,
                2 => Fault::Torn(random.below(2_000) as usize),
                _ => Fault::Short(random.below(200) as usize),
            };
            fail(node, random, Operation::Write, fault);
        }
        Kind::SyncError => {
            let operation = match random.percent(80) {
                true => Operation::Sync,
                false => Operation::SyncDir,
            };
            fail(node, random, operation, Fault::Eio);
        }
        Kind::ReadError => {
            let fault = match random.percent(50) {
                true => Fault::Eio,
                false => Fault::Short(random.below(20) as usize),
            };
            fail(node, random, Operation::Read, fault);
        }
        Kind::DiskFull => {
            node.disturb();
            files.set_capacity_bytes(Some(files.used_bytes() + random.below(4_000)));
            let (files, lasts) = (files.clone(), random.between(200, 5_000));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                files.set_capacity_bytes(None);
            });
        }
        Kind::SlowDisk => {
            node.disk.slow_down(random.between(5, 200));
            let (disk, lasts) = (Arc::clone(&node.disk), random.between(200, 5_000));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                disk.slow_down(1);
            });
        }
        Kind::BitFlip => {
            if !flip_bit(node, random) {
                return;
            }
        }
        // The index goes to the disk whenever it likes.
        Kind::IndexAhead => match node.process() {
            Some(process) if process.store.flush().is_ok() => {}
            _ => return,
        },
        _ => return,
    }
    world.faults.add(kind, 1);
}

fn fail(node: &Node, random: &mut Random, operation: Operation, fault: Fault) {
    node.disturb();
    node.disk.files.fail(operation, random.between(1, 4), fault);
}

/// Flips a bit of what is stored safely, while the node is down. The bit is flipped back later: in
/// the meantime the node may refuse to start or to read, but not serve what is damaged.
fn flip_bit(node: &Arc<Node>, random: &mut Random) -> bool {
    let files = node.disk.files.clone();
    let mut paths: Vec<PathBuf> = files.paths(&Disk::log_dir());
    paths.sort();
    let Some(path) = random.pick(&paths).cloned() else {
        return false;
    };
    let content = files.content(&path).unwrap_or_default();
    if content.is_empty() {
        return false;
    }
    let bit = random.below(content.len() as u64 * 8);
    node.kill();
    // One at a time: damage before it would hide whether this can be told.
    if !inspect_files(&files, &Disk::log_dir()).is_ok_and(|report| report.is_sound()) {
        return false;
    }
    files.flip_bit(&path, bit);
    if !can_be_told(&files) {
        files.flip_bit(&path, bit);
        return false;
    }
    node.disturb();
    let byte_of = move |files: &FaultyFiles, path: &Path| {
        let byte = usize::try_from(bit / 8).ok()?;
        files.content(path)?.get(byte).copied()
    };
    let damaged = byte_of(&files, &path);
    let (node, lasts) = (Arc::clone(node), random.between(500, 5_000));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        node.kill();
        // A file that was written anew meanwhile has no such damage.
        if byte_of(&files, &path) == damaged {
            files.flip_bit(&path, bit);
        }
    });
    true
}

/// Whether damage can be told from the end that a crash tears: nothing stored later shows that the
/// last records had been stored, so no log can miss them.
fn can_be_told(files: &FaultyFiles) -> bool {
    let Ok(report) = inspect_files(files, &Disk::log_dir()) else {
        return false;
    };
    let mut damages = report
        .segments
        .iter()
        .filter_map(|segment| segment.damage.as_ref());
    !damages.any(|damage| damage.torn_tail)
}
