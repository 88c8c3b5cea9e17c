//! `cluster.toml`: how far a node is on the way into a cluster, and which.
//!
//! It is written before anybody hears of what it says. A data directory without it belongs to no
//! cluster.

use super::founding::{Founding, Standing};
use super::membership::Membership;
use crate::data_dir::{replace_file, sync_folder};
use chronos_core::catalog::NodeInfo;
use chronos_core::types::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The format this version writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// The file's name in the data directory.
pub const FILE: &str = "cluster.toml";
/// Its name while it is written. A crash may leave it behind.
pub const UNFINISHED_FILE: &str = "cluster.toml.new";

/// Why the file cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A newer version wrote it, or something that is no version of ChronosDB.
    #[error(
        "{} has format {found}, but this version knows only {FORMAT}; use the version that wrote it",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
    },
    /// It cannot be understood.
    #[error(
        "{} cannot be understood ({reason}); restore it from a backup, or empty the data directory so that the \
         node joins as a new one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, on one line.
        reason: String,
    },
    /// It was copied from another data directory.
    #[error(
        "{} was written in another data directory; a node cannot be copied: empty the data directory so that the \
         node joins as a new one",
        path.display()
    )]
    OtherDisk {
        /// The file.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Whether a data directory belongs to a cluster, or is on its way into one.
pub fn exists(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// How far the node with this disk is.
///
/// # Errors
/// See [`FileError`].
pub fn read(folder: &Path, disk: u128) -> Result<Standing, FileError> {
    let path = folder.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Fresh),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damaged(&path, "it is not text"));
        }
        Err(source) => {
            return Err(FileError::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    // The format decides what the other keys may be, so it is read before them.
    let table: toml::Table =
        (text.parse()).map_err(|error: toml::de::Error| damaged(&path, error.message()))?;
    let found = (table.get("format").and_then(toml::Value::as_integer))
        .ok_or_else(|| damaged(&path, "the key `format` is missing or not a number"))?;
    if found != i64::from(FORMAT) {
        return Err(FileError::UnknownFormat { path, found });
    }
    let record: Record =
        (table.try_into()).map_err(|error: toml::de::Error| damaged(&path, error.message()))?;
    if record.disk.0 != disk {
        return Err(FileError::OtherDisk { path });
    }
    record.standing().map_err(|reason| damaged(&path, reason))
}

/// Makes `standing` what the next start finds. A crash leaves either what was there before or all of
/// it.
///
/// # Errors
/// [`FileError::Io`]: it is not known what the next start finds.
pub fn write(folder: &Path, disk: u128, standing: &Standing) -> Result<(), FileError> {
    let path = folder.join(FILE);
    let failed = |source| FileError::Io {
        action: "write",
        path: path.clone(),
        source,
    };
    match Record::of(disk, standing) {
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_folder(folder),
        },
        Some(record) => {
            let text =
                toml::to_string(&record).map_err(|error| damaged(&path, &error.to_string()))?;
            replace_file(folder, FILE, UNFINISHED_FILE, &text)
        }
    }
    .map_err(failed)
}

fn damaged(path: &Path, reason: &str) -> FileError {
    FileError::Damaged {
        path: path.to_owned(),
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The file: a TOML table with exactly these keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    state: State,
    /// The disk of the data directory that the file was written in.
    disk: Id,
    cluster_id: Id,
    /// This node's number.
    number: NodeId,
    partitions: u32,
    replication_factor: u32,
    /// The disk of the node that proposed the founding; only before the founding holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    founder: Option<Id>,
    /// The catalog's first voters. A node that is among them may open the catalog's group as a voter.
    voters: BTreeSet<NodeId>,
    /// How many nodes found the cluster, so that a file that lost its end is noticed. 0: they are not
    /// known, because this node came later.
    founders: usize,
    /// The nodes that found the cluster, if this is one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    founding: Vec<FoundingNode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Proposed,
    Accepted,
    Member,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundingNode {
    number: NodeId,
    name: String,
    disk: Id,
    cluster_addr: String,
    grpc_addr: String,
    http_addr: String,
    rack: String,
    zone: String,
    region: String,
    version: String,
}

/// 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Id(u128);

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        super::parse_id(&text)
            .map(Self)
            .ok_or("an identity is not 32 hexadecimal digits")
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        format!("{:032x}", id.0)
    }
}

impl Record {
    fn of(disk: u128, standing: &Standing) -> Option<Self> {
        let (state, founding) = match standing {
            Standing::Fresh => return None,
            Standing::Proposed(founding) => (State::Proposed, founding),
            Standing::Accepted(founding) => (State::Accepted, founding),
            Standing::Member(membership) => {
                return Some(Self {
                    format: FORMAT,
                    state: State::Member,
                    disk: Id(disk),
                    cluster_id: Id(membership.cluster_id),
                    number: membership.me,
                    partitions: membership.partitions,
                    replication_factor: membership.replication_factor,
                    founder: None,
                    voters: membership.voters.clone(),
                    founders: membership.founding.iter().flatten().count(),
                    founding: (membership.founding.iter().flatten())
                        .map(FoundingNode::of)
                        .collect(),
                });
            }
        };
        Some(Self {
            format: FORMAT,
            state,
            disk: Id(disk),
            cluster_id: Id(founding.cluster_id),
            number: founding.number_of(disk)?,
            partitions: founding.partitions,
            replication_factor: founding.replication_factor,
            founder: Some(Id(founding.founder)),
            voters: founding.voters.clone(),
            founders: founding.nodes.len(),
            founding: founding.nodes.iter().map(FoundingNode::of).collect(),
        })
    }

    fn standing(self) -> Result<Standing, &'static str> {
        let nodes: Vec<_> = (self.founding.into_iter())
            .map(FoundingNode::into_numbered)
            .collect();
        if self.number == 0 || self.partitions == 0 || self.replication_factor == 0 {
            return Err("a number is 0");
        }
        if nodes.len() != self.founders {
            return Err("nodes are missing");
        }
        let is_joined = self.state == State::Member && nodes.is_empty();
        if is_joined && self.voters.is_empty() && self.founder.is_none() {
            return Ok(Standing::Member(Membership {
                cluster_id: self.cluster_id.0,
                me: self.number,
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                founding: None,
                voters: BTreeSet::new(),
            }));
        }
        // Whoever founded is a member; which of them proposed does not matter any more.
        let founder = match (self.state, self.founder) {
            (State::Member, None) => self.disk,
            (State::Proposed | State::Accepted, Some(founder)) => founder,
            _ => return Err("the state and the founder do not fit"),
        };
        let founding = Founding {
            cluster_id: self.cluster_id.0,
            founder: founder.0,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            nodes,
            voters: self.voters,
        };
        if let Some(flaw) = founding.flaw() {
            return Err(flaw);
        }
        let member = founding.member(self.disk.0);
        let member = member.filter(|member| member.me == self.number);
        let member = member.ok_or("this node is not among those that found the cluster")?;
        match self.state {
            State::Proposed if founder == self.disk => Ok(Standing::Proposed(founding)),
            State::Accepted if founder != self.disk => Ok(Standing::Accepted(founding)),
            State::Member => Ok(Standing::Member(member)),
            State::Proposed | State::Accepted => Err("the state and the founder do not fit"),
        }
    }
}

impl FoundingNode {
    fn of((number, info): &(NodeId, NodeInfo)) -> Self {
        let info = info.clone();
        Self {
            number: *number,
            name: info.name,
            disk: Id(info.disk),
            cluster_addr: info.cluster_addr,
            grpc_addr: info.grpc_addr,
            http_addr: info.http_addr,
            rack: info.rack,
            zone: info.zone,
            region: info.region,
            version: info.version,
        }
    }

    fn into_numbered(self) -> (NodeId, NodeInfo) {
        let info = NodeInfo {
            name: self.name,
            disk: self.disk.0,
            cluster_addr: self.cluster_addr,
            grpc_addr: self.grpc_addr,
            http_addr: self.http_addr,
            rack: self.rack,
            zone: self.zone,
            region: self.region,
            version: self.version,
        };
        (self.number, info)
    }
}

#[cfg(test)]
mod tests;
