//! The commands that are about the cluster, and their form in the log.
//!
//! Behind the version stands the kind, a varint, and what the kind prescribes. Unlike the other
//! kinds they do not begin with a name.

use super::cluster::{Cluster, Found};
use super::nodes::{self, Drain, PutNode};
use super::placement::{self, BeginChange};
use super::{Command, Outcome};
use crate::types::{NodeId, PartitionNumber};
use crate::varint::{
    Malformed, put_bytes, put_i64, put_u64, take_i64, take_string, take_u32, take_u64,
};
use std::ops::RangeInclusive;

const FOUND: u64 = 7;
const PUT_NODE: u64 = 8;
const SET_DRAINING: u64 = 9;
const REMOVE_NODE: u64 = 10;
const BEGIN_CHANGE: u64 = 11;
const FINISH_CHANGE: u64 = 12;
const ABORT_CHANGE: u64 = 13;
const SET_ZONE: u64 = 14;
const PREFER_LEADER: u64 = 15;

/// The kinds of these commands.
pub(super) const KINDS: RangeInclusive<u64> = FOUND..=PREFER_LEADER;

/// A change of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterCommand {
    /// The cluster begins to exist: the first command of its catalog. Changes nothing when there is
    /// one.
    Found(Found),
    /// A node joins, or comes back. Answered with its number.
    PutNode(PutNode),
    /// A node begins to lose what it leads or holds, or stops.
    SetDraining {
        /// The node.
        id: NodeId,
        /// What it is to lose.
        drain: Drain,
        /// The leader's clock, Unix milliseconds.
        now_ms: i64,
    },
    /// A node will never come back.
    RemoveNode {
        /// The node.
        id: NodeId,
        /// Remove it although it has replicas: they are lost.
        force: bool,
        /// The leader's clock, Unix milliseconds.
        now_ms: i64,
    },
    /// A replica is to come or to go.
    BeginChange(BeginChange),
    /// The change of a partition's replicas is done.
    FinishChange {
        /// The partition.
        partition: PartitionNumber,
        /// The epoch of its placement.
        epoch: u64,
    },
    /// The change of a partition's replicas is given up, and the group has nothing of it any more.
    AbortChange {
        /// The partition.
        partition: PartitionNumber,
        /// The epoch of its placement.
        epoch: u64,
    },
    /// Somebody says in which zone a node stands, that does not say so itself.
    SetZone {
        /// The node.
        id: NodeId,
        /// The zone; empty when it is not known any more.
        zone: String,
    },
    /// A replica is to lead its partition, as far as the leads stay even.
    PreferLeader {
        /// The partition.
        partition: PartitionNumber,
        /// The node.
        id: NodeId,
    },
}

impl From<ClusterCommand> for Command {
    fn from(command: ClusterCommand) -> Self {
        Command::Cluster(command)
    }
}

impl ClusterCommand {
    pub(super) fn apply(self, cluster: &mut Option<Cluster>) -> Outcome {
        match (self, cluster) {
            (ClusterCommand::Found(_), Some(_)) => Outcome::Exists,
            (ClusterCommand::Found(found), none) => match found.begin() {
                None => Outcome::Invalid,
                begun => {
                    *none = begun;
                    Outcome::Done
                }
            },
            (_, None) => Outcome::NotFound,
            (command, Some(cluster)) => command.change(cluster),
        }
    }

    fn change(self, cluster: &mut Cluster) -> Outcome {
        let Cluster {
            nodes, placements, ..
        } = cluster;
        match self {
            ClusterCommand::Found(_) => Outcome::Exists,
            ClusterCommand::PutNode(put) => nodes::put(nodes, put),
            ClusterCommand::SetDraining { id, drain, now_ms } => {
                nodes::set_draining(nodes, id, drain, now_ms)
            }
            ClusterCommand::RemoveNode { id, force, now_ms } => {
                match !force && placement::is_used(placements, id) {
                    true => Outcome::InUse,
                    false => nodes::remove(nodes, id, now_ms),
                }
            }
            ClusterCommand::BeginChange(begin) => placement::begin(placements, nodes, begin),
            ClusterCommand::FinishChange { partition, epoch } => {
                placement::end(placements, partition, epoch, true)
            }
            ClusterCommand::AbortChange { partition, epoch } => {
                placement::end(placements, partition, epoch, false)
            }
            ClusterCommand::SetZone { id, zone } => nodes::set_zone(nodes, id, zone),
            ClusterCommand::PreferLeader { partition, id } => {
                placement::prefer(placements, partition, id)
            }
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            ClusterCommand::Found(found) => {
                put_u64(out, FOUND);
                found.put(out);
            }
            ClusterCommand::PutNode(put) => {
                put_u64(out, PUT_NODE);
                nodes::put_info(out, &put.info);
                put_i64(out, put.now_ms);
            }
            ClusterCommand::SetDraining { id, drain, now_ms } => {
                put_of_node(out, SET_DRAINING, *id, drain.number(), *now_ms);
            }
            ClusterCommand::RemoveNode { id, force, now_ms } => {
                put_of_node(out, REMOVE_NODE, *id, u64::from(*force), *now_ms);
            }
            ClusterCommand::BeginChange(begin) => {
                put_u64(out, BEGIN_CHANGE);
                begin.put(out);
            }
            ClusterCommand::FinishChange { partition, epoch } => {
                put_end(out, FINISH_CHANGE, *partition, *epoch);
            }
            ClusterCommand::AbortChange { partition, epoch } => {
                put_end(out, ABORT_CHANGE, *partition, *epoch);
            }
            ClusterCommand::SetZone { id, zone } => {
                put_u64(out, SET_ZONE);
                put_u64(out, *id);
                put_bytes(out, zone.as_bytes());
            }
            ClusterCommand::PreferLeader { partition, id } => {
                put_end(out, PREFER_LEADER, *partition, *id);
            }
        }
    }

    pub(super) fn take(kind: u64, input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            FOUND => ClusterCommand::Found(Found::take(input)?),
            PUT_NODE => ClusterCommand::PutNode(PutNode {
                info: nodes::take_info(input)?,
                now_ms: take_i64(input)?,
            }),
            SET_DRAINING => ClusterCommand::SetDraining {
                id: take_u64(input)?,
                drain: Drain::take(input)?,
                now_ms: take_i64(input)?,
            },
            REMOVE_NODE => ClusterCommand::RemoveNode {
                id: take_u64(input)?,
                force: take_bool(input)?,
                now_ms: take_i64(input)?,
            },
            BEGIN_CHANGE => ClusterCommand::BeginChange(BeginChange::take(input)?),
            FINISH_CHANGE => ClusterCommand::FinishChange {
                partition: take_u32(input)?,
                epoch: take_u64(input)?,
            },
            ABORT_CHANGE => ClusterCommand::AbortChange {
                partition: take_u32(input)?,
                epoch: take_u64(input)?,
            },
            SET_ZONE => ClusterCommand::SetZone {
                id: take_u64(input)?,
                zone: take_string(input)?,
            },
            PREFER_LEADER => ClusterCommand::PreferLeader {
                partition: take_u32(input)?,
                id: take_u64(input)?,
            },
            _ => return Err(Malformed),
        })
    }
}

fn put_of_node(out: &mut Vec<u8>, kind: u64, id: NodeId, how: u64, now_ms: i64) {
    put_u64(out, kind);
    put_u64(out, id);
    put_u64(out, how);
    put_i64(out, now_ms);
}

fn put_end(out: &mut Vec<u8>, kind: u64, partition: PartitionNumber, which: u64) {
    put_u64(out, kind);
    put_u64(out, u64::from(partition));
    put_u64(out, which);
}

fn take_bool(input: &mut &[u8]) -> Result<bool, Malformed> {
    match take_u64(input)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}
