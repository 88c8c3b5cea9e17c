//! Disks that fail, fill up, get slow and forget.

use super::Kind;
use crate::node::{Disk, Node};
use crate::random::Random;
use crate::world::World;
use chronos_core::store::Store;
use chronos_wal::faulty::{Fault, Operation};
use std::path::PathBuf;
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

/// Flips a bit of what was written long ago, while the node is down. The bit is flipped back
/// later: in the meantime the node may refuse to start or to read, but not serve what is damaged.
fn flip_bit(node: &Arc<Node>, random: &mut Random) -> bool {
    let files = node.disk.files.clone();
    let mut paths: Vec<PathBuf> = files.paths(&Disk::log_dir());
    paths.sort();
    // The end of the log may be torn for good reasons, so it cannot be told from damage.
    while let Some(newest) = paths.pop() {
        if newest.extension().is_some_and(|kind| kind == "wal") {
            break;
        }
    }
    let Some(path) = random.pick(&paths).cloned() else {
        return false;
    };
    let Some(good) = files.content(&path).filter(|content| !content.is_empty()) else {
        return false;
    };
    let bit = random.below(good.len() as u64 * 8);
    node.disturb();
    node.kill();
    files.flip_bit(&path, bit);
    let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    let damaged = files
        .content(&path)
        .and_then(|content| content.get(byte).copied());
    let (node, lasts) = (Arc::clone(node), random.between(500, 5_000));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        node.kill();
        // A file that was written anew meanwhile has no such damage.
        let now = files
            .content(&path)
            .and_then(|content| content.get(byte).copied());
        if now == damaged {
            files.flip_bit(&path, bit);
        }
    });
    true
}
