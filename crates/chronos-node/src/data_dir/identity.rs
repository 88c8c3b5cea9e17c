//! The file that says whose data a directory holds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Error;

/// The format this version writes, and the only one it reads. It counts up when a change makes
/// older versions misread a directory.
pub const FORMAT: u32 = 1;

/// The name of the file.
pub(super) const FILE: &str = "identity.toml";

/// The name while it is written. A start that was cut short may leave it behind.
pub(super) const UNFINISHED_FILE: &str = "identity.toml.new";

/// Whose data a directory holds: `identity.toml`, a TOML table with exactly these keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The format of the whole directory.
    pub format: u32,
    /// The node the directory belongs to.
    pub node_id: String,
    /// Which directory this is: 32 hexadecimal digits chosen at random. A node alone is a cluster of
    /// its own, and this is its identity; among several nodes it is the disk's.
    pub cluster_id: String,
    /// The number of partitions of a node that stands alone.
    pub partition_count: u32,
    /// When the directory was made, in Unix milliseconds.
    pub created_ms: u64,
}

impl Identity {
    /// The disk's identity in a cluster. `None` when it is not what this program writes.
    pub fn disk(&self) -> Option<u128> {
        crate::cluster::parse_id(&self.cluster_id)
    }

    /// A new identity, made now.
    pub(super) fn generate(node_id: &str, partition_count: u32) -> io::Result<Self> {
        let random = random_id()?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            format: FORMAT,
            node_id: node_id.to_owned(),
            cluster_id: format!("{random:032x}"),
            partition_count,
            created_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The identity of a directory, `None` if it has none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged(&path, "it is not text"));
            }
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        // The format decides what the other keys may be, so it is read before them.
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| damaged(&path, error.message()))?;
        let found = table
            .get("format")
            .and_then(toml::Value::as_integer)
            .ok_or_else(|| damaged(&path, "the key `format` is missing or not a number"))?;
        if found != i64::from(FORMAT) {
            return Err(Error::UnknownFormat {
                path: folder.to_owned(),
                found,
                known: FORMAT,
            });
        }
        let identity: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| damaged(&path, error.message()))?;
        if identity.partition_count == 0 {
            return Err(damaged(&path, "it counts no partitions"));
        }
        Ok(Some(identity))
    }

    /// Writes the identity so that a crash leaves either all of it or none.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = toml::to_string(self).map_err(|error| damaged(&path, &error.to_string()))?;
        super::replace_file(folder, FILE, UNFINISHED_FILE, &text)
            .map_err(|source| Error::io("write", &path, source))
    }
}

/// A number that nothing else in the world has.
pub(crate) fn random_id() -> io::Result<u128> {
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(u128::from_be_bytes(random))
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
