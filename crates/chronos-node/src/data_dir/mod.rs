//! The folder that holds everything a node stores.
//!
//! ```text
//! <data-dir>/LOCK             held by the process that uses the folder; holds its process id
//! <data-dir>/identity.toml    whose data this is, and in which format
//! <data-dir>/cluster.toml     the cluster it belongs to, if any; see [`crate::cluster`]
//! <data-dir>/…                what the node stores
//! ```
//!
//! [`DataDir::open`] refuses whatever could mix two nodes' data or lose some: a folder in use, of
//! another node, with another number of partitions, of a newer format, or full of something else.

mod error;
mod identity;
mod lock;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use error::Error;
pub(crate) use identity::random_id;
pub use identity::{FORMAT, Identity};

use crate::config::Config;
use lock::Lock;

/// The node id of a new folder when nobody chose one.
pub const DEFAULT_NODE_ID: &str = "node1";

/// What a node wants of its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The folder. It is made when missing.
    pub path: PathBuf,
    /// The node the folder must belong to. `None`: whichever it belongs to.
    pub node_id: Option<String>,
    /// The number of partitions the folder must have. `None`: whichever it has, 1 if it is new.
    pub partition_count: Option<u32>,
}

impl Request {
    /// What a configuration asks for. A node id or number of partitions that nobody gave is left
    /// to the folder.
    pub fn new(config: &Config) -> Self {
        let count = config.partitions.count;
        let default = Config::default().partitions.count;
        let given = config.is_given("partition-count") || count != default;
        Self {
            path: config.node.data_dir.clone(),
            node_id: (!config.node.id.is_empty()).then(|| config.node.id.clone()),
            // In a cluster the number is in cluster.toml.
            partition_count: (given && !config.cluster.is_enabled).then_some(count),
        }
    }
}

/// A folder that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    _lock: Lock,
}

impl DataDir {
    /// Locks the folder and checks that it is the one that was asked for; makes it if it is missing
    /// or empty.
    ///
    /// # Errors
    /// See [`Error`]. Nothing in a folder that is refused has been changed, but for the lock file.
    pub fn open(request: &Request) -> Result<Self, Error> {
        let path = &request.path;
        make_folder(path)?;
        let lock = Lock::take(path)?;
        let stored = Identity::read(path)?;
        let is_new = stored.is_none();
        let identity = match stored {
            Some(identity) => identity,
            None => {
                refuse_foreign(path)?;
                let node_id = request.node_id.as_deref().unwrap_or(DEFAULT_NODE_ID);
                let count = request.partition_count.unwrap_or(1);
                let identity = Identity::generate(node_id, count)
                    .map_err(|source| Error::io("choose a cluster id for", path, source))?;
                identity.write(path)?;
                identity
            }
        };
        agree(request, &identity)?;
        Ok(Self {
            path: path.clone(),
            identity,
            is_new,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose data this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether [`DataDir::open`] made this folder's identity.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|source| Error::io("make", path, source))?;
    // The new folder's name is in its parent.
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        sync_folder(parent).map_err(|source| Error::io("sync", parent, source))?;
    }
    Ok(())
}

/// Replaces a small file in a folder, so that a crash leaves the old content or the new one. It is written
/// as `unfinished` first, which a crash may leave behind. Durable when it returns.
pub(crate) fn replace_file(
    folder: &Path,
    name: &str,
    unfinished: &str,
    content: &str,
) -> io::Result<()> {
    let new = folder.join(unfinished);
    let mut file = fs::File::create(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    sync_folder(folder)
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// A folder without an identity may hold nothing but what a start that was cut short leaves, and
/// the `lost+found` of a fresh volume.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let listing = fs::read_dir(path).map_err(|source| Error::io("list", path, source))?;
    for entry in listing {
        let name = entry
            .map_err(|source| Error::io("list", path, source))?
            .file_name();
        if name != lock::FILE && name != identity::UNFINISHED_FILE && name != "lost+found" {
            return Err(Error::Foreign {
                path: path.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn agree(request: &Request, identity: &Identity) -> Result<(), Error> {
    if let Some(wanted) = &request.node_id
        && *wanted != identity.node_id
    {
        return Err(Error::OtherNode {
            path: request.path.clone(),
            stored: identity.node_id.clone(),
            wanted: wanted.clone(),
        });
    }
    if let Some(wanted) = request.partition_count
        && wanted != identity.partition_count
    {
        return Err(Error::OtherPartitionCount {
            path: request.path.clone(),
            stored: identity.partition_count,
            wanted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
