//! How nodes that know only their seeds become one cluster, and never two.
//!
//! ```text
//!            Found                    all accepted
//!   Fresh ──────────► Proposed(F) ─────────────────► Member     the founder
//!     ▲ ▲               │ Forget
//!     │ └───────────────┘
//!     │      accepts F                 hears a member of F
//!     ├───────────────► Accepted(F) ─────────────────► Member   the others
//!     │                   │ Forget
//!     └───────────────────┘
//!     └────────────────────────── Join ──────────────► Member   who comes later
//! ```
//!
//! Each arrow is durable before anybody hears of it. A founding holds when its founder, who alone
//! decides that, has heard from every one of its nodes that it accepted. A node holds one founding at
//! a time. So two foundings that share a node cannot both hold, and a founder proposes only what every
//! seed was found to agree with.
//!
//! Waiting for all and not for a majority is what excludes two clusters even if two different sets of
//! nodes were proposed, because a seed's name was given to another node meanwhile. It costs nothing:
//! nothing is stored before, and a founder gives a founding up if one of its nodes can no longer
//! accept. Whoever accepted lets go only when it hears that the founder did. If the founder's disk is
//! lost in between, nobody can know whether the founding held, and an operator has to decide.

mod decide;

pub use decide::{Action, Heard, Me, Round, Trouble, Waiting, decide};

use chronos_core::catalog::{Node, NodeInfo, catalog_voters};
use chronos_core::types::NodeId;
use std::collections::BTreeSet;
use std::fmt;

use super::membership::Membership;

/// A cluster as it is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The cluster's random identity.
    pub cluster_id: u128,
    /// The disk of the node that proposed it.
    pub founder: u128,
    /// How many partitions there will be.
    pub partitions: u32,
    /// On how many nodes a partition will be.
    pub replication_factor: u32,
    /// The nodes, by number from 1.
    pub nodes: Vec<(NodeId, NodeInfo)>,
    /// Who votes in the catalog. It is part of the founding so that all open it with the same set,
    /// whatever version they run.
    pub voters: BTreeSet<NodeId>,
}

impl Founding {
    /// A founding of these nodes, numbered in the order of their names.
    pub fn new(
        cluster_id: u128,
        founder: u128,
        partitions: u32,
        replication_factor: u32,
        mut nodes: Vec<NodeInfo>,
    ) -> Self {
        nodes.sort_by(|a, b| (&a.name, a.disk).cmp(&(&b.name, b.disk)));
        let nodes: Vec<_> = (1..).zip(nodes).collect();
        let as_nodes = (nodes.iter()).map(|(id, info)| (*id, Node::new(*id, info.clone(), 0)));
        let voters = catalog_voters(&as_nodes.collect(), &[], |_| false);
        Self {
            cluster_id,
            founder,
            partitions,
            replication_factor,
            nodes,
            voters: voters.into_iter().collect(),
        }
    }

    /// The number of the node with this disk.
    pub fn number_of(&self, disk: u128) -> Option<NodeId> {
        let mut nodes = self.nodes.iter();
        nodes.find_map(|(id, info)| (info.disk == disk).then_some(*id))
    }

    /// The name of the node that proposed it.
    pub fn founder_name(&self) -> &str {
        let mut nodes = self.nodes.iter();
        let founder = nodes.find(|(_, info)| info.disk == self.founder);
        founder.map_or("", |(_, info)| &info.name)
    }

    /// What is wrong with it, if anything is. A file may be damaged, and so may a peer.
    pub fn flaw(&self) -> Option<&'static str> {
        let ids: BTreeSet<_> = self.nodes.iter().map(|(id, _)| *id).collect();
        let names: BTreeSet<_> = self.nodes.iter().map(|(_, info)| &info.name).collect();
        let disks: BTreeSet<_> = self.nodes.iter().map(|(_, info)| info.disk).collect();
        let count = self.nodes.len();
        if ids.len() != count || names.len() != count || disks.len() != count {
            Some("two of its nodes are the same")
        } else if ids.contains(&0) {
            Some("a node has the number 0")
        } else if !disks.contains(&self.founder) {
            Some("its founder is not among its nodes")
        } else if self.voters.is_empty() || !self.voters.is_subset(&ids) {
            Some("its voters are not among its nodes")
        } else if self.partitions == 0 || self.replication_factor == 0 {
            Some("it counts no partitions or no copies")
        } else {
            None
        }
    }

    /// What the node with this disk is when the founding holds; `None` if it is not among the nodes.
    pub fn member(&self, disk: u128) -> Option<Membership> {
        Some(Membership {
            cluster_id: self.cluster_id,
            me: self.number_of(disk)?,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            founding: Some(self.nodes.clone()),
            voters: self.voters.clone(),
        })
    }
}

/// How far a node is. What is behind it is on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// It belongs to nothing.
    #[default]
    Fresh,
    /// It proposed this, and waits for the others to accept.
    Proposed(Founding),
    /// It accepted this, and waits to hear that it holds.
    Accepted(Founding),
    /// It belongs to a cluster, for good.
    Member(Membership),
}

impl Standing {
    /// What others have to know of it.
    pub fn stance(&self) -> Stance {
        match self {
            Standing::Fresh => Stance::Fresh,
            Standing::Proposed(founding) | Standing::Accepted(founding) => {
                Stance::Holds(founding.cluster_id)
            }
            Standing::Member(membership) => Stance::Member {
                cluster_id: membership.cluster_id,
                number: membership.me,
            },
        }
    }

    /// What it is after somebody asked it to accept a founding, if that changes anything.
    ///
    /// # Errors
    /// Why it does not accept: it holds another founding, or is a member of another cluster.
    pub fn accept(&self, disk: u128, founding: &Founding) -> Result<Option<Standing>, Stance> {
        match self {
            Standing::Fresh if founding.flaw().is_none() && founding.number_of(disk).is_some() => {
                Ok(Some(Standing::Accepted(founding.clone())))
            }
            Standing::Proposed(held) | Standing::Accepted(held) if held == founding => Ok(None),
            Standing::Member(member) if member.cluster_id == founding.cluster_id => Ok(None),
            standing => Err(standing.stance()),
        }
    }
}

/// What a node tells others of its standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It belongs to nothing.
    Fresh,
    /// It proposed or accepted the founding of this cluster.
    Holds(u128),
    /// It is a member.
    Member {
        /// Of this cluster.
        cluster_id: u128,
        /// With this number.
        number: NodeId,
    },
}

impl Stance {
    /// The cluster it is a member of.
    pub fn cluster(self) -> Option<u128> {
        match self {
            Stance::Member { cluster_id, .. } => Some(cluster_id),
            Stance::Fresh | Stance::Holds(_) => None,
        }
    }

    /// The cluster it is a member of or may become one of.
    pub fn held(self) -> Option<u128> {
        match self {
            Stance::Fresh => None,
            Stance::Holds(cluster_id) | Stance::Member { cluster_id, .. } => Some(cluster_id),
        }
    }
}

impl fmt::Display for Stance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stance::Fresh => f.write_str("in no cluster"),
            Stance::Holds(id) => write!(f, "about to found the cluster {id:032x}"),
            Stance::Member { cluster_id, number } => {
                write!(f, "node {number} of the cluster {cluster_id:032x}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
