//! `chronosdb force-majority`: a node goes on without the others, which are lost for good.

use crate::cluster::cluster_file;
use crate::cluster::founding::Standing;
use crate::data_dir::{DataDir, Request};
use anyhow::Context;
use chronos_core::catalog;
use chronos_raft::{ForceError, force_only_voter};
use chronos_wal::{Flusher, Options, RealFiles, Wal};
use std::path::Path;
use std::sync::Arc;

/// Makes the node whose data is in `folder` the only voter of the catalog and of every partition that it
/// has a replica of. Returns what it did, for people.
///
/// # Errors
/// When the node runs, is no member of a cluster, or its data cannot be read or written. What was done
/// until then stays, and doing it again does no harm.
pub fn force_majority(folder: &Path) -> anyhow::Result<String> {
    let request = Request {
        path: folder.to_owned(),
        node_id: None,
        partition_count: None,
    };
    anyhow::ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    let data_dir = DataDir::open(&request)?;
    let disk = data_dir
        .identity()
        .disk()
        .context("the folder has no valid identity")?;
    let Standing::Member(membership) = cluster_file::read(folder, disk)? else {
        anyhow::bail!(
            "{} does not belong to a member of a cluster",
            folder.display()
        );
    };
    let flusher = Flusher::start(1);
    let mut told = format!(
        "node {} of cluster {:032x} goes on alone:\n",
        membership.me, membership.cluster_id
    );
    for (name, log_id) in groups(folder)? {
        let folder = folder.join("partitions").join(&name);
        let (wal, _) = Wal::open(
            Arc::new(RealFiles),
            Options::new(folder.join("log"), log_id),
            &flusher,
        )
        .with_context(|| format!("cannot open the log of {name}"))?;
        let forced = force_only_voter(
            Arc::new(RealFiles),
            folder.join("raft"),
            &wal,
            membership.me,
        );
        let line = match forced {
            Ok(entry) => format!("  {name}: up to entry {}\n", entry.index - 1),
            Err(ForceError::Empty) => format!("  {name}: nothing of it is here\n"),
            Err(error) => return Err(error).with_context(|| format!("cannot force {name}")),
        };
        told.push_str(&line);
    }
    told.push_str(
        "What only the other nodes had is lost. Never start them again with the data they have. Start \
         this node, remove the others with `chronosctl cluster remove-node NAME --lost`, and let new ones join.\n",
    );
    Ok(told)
}

/// The groups that have a log here: name of the folder, and the log's id.
fn groups(folder: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let folder = folder.join("partitions");
    let listing =
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut groups = Vec::new();
    for entry in listing {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let log_id = match name.as_str() {
            "catalog" => u64::from(catalog::NUMBER),
            number => match number.parse::<u32>() {
                Ok(number) => number.into(),
                Err(_) => continue,
            },
        };
        if folder.join(&name).join("log").is_dir() {
            groups.push((name, log_id));
        }
    }
    groups.sort_by_key(|(_, log_id)| *log_id);
    Ok(groups)
}
