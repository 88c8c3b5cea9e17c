//! The catalog: what the cluster knows apart from events. One replicated log of its own.
//!
//! It holds the nodes of the cluster and where the partitions live, the topics that were created,
//! the consumer groups that were created or subscribed to, and what is paused. The groups' progress
//! is not here: it belongs to the partitions. The whole catalog is small, so each entry saves it
//! whole.
//!
//! | file | holds |
//! |---|---|
//! | `topics.rs` | topics and their settings |
//! | `pauses.rs` | what is paused |
//! | `cluster.rs` | what was decided when the cluster was founded |
//! | `cluster_command.rs` | commands that are about the cluster |
//! | `nodes.rs` | the nodes |
//! | `placement.rs` | which nodes hold a partition |
//! | `voters.rs` | which nodes decide about the catalog itself |

mod cluster;
mod cluster_command;
pub mod nodes;
mod pauses;
pub mod placement;
mod voters;

pub use cluster::{Cluster, ClusterInfo, Found, MOST_PARTITIONS};
pub use cluster_command::ClusterCommand;
pub use nodes::{Drain, Node, NodeInfo, NodeState, PutNode};
pub use voters::catalog_voters;

pub use pauses::{Pause, Pauses, Target, WhilePaused};

pub mod topics;

use crate::command::DecodeError;
use crate::keys::meta::{Kind, key};
use crate::partition::{ApplyError, LogPosition};
use crate::store::{Family, Store, StoreError, WriteBatch};
use crate::types::{NodeId, PartitionNumber};
use crate::varint::{
    Malformed, put_bytes, put_i64, put_u64, take_bytes, take_i64, take_string, take_u32, take_u64,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use topics::{PutTopic, TopicInfo, Topics};

/// The number under which the catalog keeps its records; no partition reaches it.
pub const NUMBER: PartitionNumber = PartitionNumber::MAX;

/// Version of commands and of the stored record.
const VERSION: u64 = 1;

/// The section of the record that holds the cluster.
const CLUSTER: u64 = 7;

/// A consumer group as clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// The topic it was created for; empty reads every topic.
    pub topic: String,
    /// The partitions named when it was created.
    pub partitions: Vec<PartitionNumber>,
    /// When it was created, Unix milliseconds.
    pub created_ms: i64,
    /// When its members were last rebalanced, Unix milliseconds; 0 when never.
    pub rebalanced_ms: i64,
}

/// A change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A group begins to exist. Changes nothing when it exists.
    CreateGroup {
        /// Its name.
        name: String,
        /// The topic it reads; empty reads every topic.
        topic: String,
        /// The partitions it was created for.
        partitions: Vec<PartitionNumber>,
        /// The leader's clock, Unix milliseconds.
        now_ms: i64,
    },
    /// A group's members were assigned anew.
    Rebalanced {
        /// The group.
        name: String,
        /// The leader's clock, Unix milliseconds.
        now_ms: i64,
    },
    /// A topic or a group is paused, or paused differently.
    Pause {
        /// What.
        target: Target,
        /// How.
        pause: Pause,
    },
    /// A topic or a group is not paused any more.
    Resume {
        /// What.
        target: Target,
        /// The leader's clock, Unix milliseconds.
        now_ms: i64,
    },
    /// A topic begins to exist, or changes.
    PutTopic(PutTopic),
    /// A topic is no longer one that was created.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// The cluster changes.
    Cluster(ClusterCommand),
}

/// Outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// What is to be created exists.
    Exists,
    /// What is to be changed does not exist, or what to resume is not paused.
    NotFound,
    /// What is to be changed has another version, or epoch.
    VersionMismatch,
    /// The node has this number.
    Node(NodeId),
    /// The node is gone, and will not come back with this disk.
    Gone,
    /// A node of another name has this disk.
    Taken,
    /// The node holds replicas.
    InUse,
    /// Another change of the partition is under way.
    Busy,
    /// The command contradicts what the catalog says, or itself.
    Invalid,
}

impl Command {
    /// The body of a log entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, VERSION);
        match self {
            Command::CreateGroup {
                name,
                topic,
                partitions,
                now_ms,
            } => {
                out.push(1);
                put_bytes(&mut out, name.as_bytes());
                put_group(&mut out, topic, partitions, *now_ms, 0);
            }
            Command::Rebalanced { name, now_ms } => {
                out.push(2);
                put_bytes(&mut out, name.as_bytes());
                put_i64(&mut out, *now_ms);
            }
            Command::Pause { target, pause } => pauses::encode_pause(&mut out, target, pause),
            Command::Resume { target, now_ms } => {
                pauses::encode_resume(&mut out, target, *now_ms);
            }
            Command::PutTopic(put) => {
                out.push(3);
                put_bytes(&mut out, put.name.as_bytes());
                put.encode(&mut out);
            }
            Command::DeleteTopic { name } => {
                out.push(4);
                put_bytes(&mut out, name.as_bytes());
            }
            Command::Cluster(command) => command.put(&mut out),
        }
        out
    }

    /// Reads a log entry.
    pub fn decode(mut body: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut body;
        let version = take_u64(input)?;
        if version != VERSION {
            return Err(DecodeError::Version(version as u8));
        }
        let kind = take_u64(input)?;
        if cluster_command::KINDS.contains(&kind) {
            return Ok(Command::Cluster(ClusterCommand::take(kind, input)?));
        }
        let name = take_string(input)?;
        match kind {
            1 => {
                let group = take_group(input)?;
                let GroupInfo {
                    topic,
                    partitions,
                    created_ms,
                    ..
                } = group;
                Ok(Command::CreateGroup {
                    name,
                    topic,
                    partitions,
                    now_ms: created_ms,
                })
            }
            2 => Ok(Command::Rebalanced {
                name,
                now_ms: take_i64(input)?,
            }),
            pauses::PAUSE => pauses::decode_pause(name, input),
            pauses::RESUME => pauses::decode_resume(name, input),
            3 => Ok(Command::PutTopic(PutTopic::decode(name, input)?)),
            4 => Ok(Command::DeleteTopic { name }),
            other => Err(DecodeError::Kind(other as u8)),
        }
    }
}

fn put_group(
    out: &mut Vec<u8>,
    topic: &str,
    partitions: &[PartitionNumber],
    created_ms: i64,
    rebalanced_ms: i64,
) {
    put_bytes(out, topic.as_bytes());
    put_i64(out, created_ms);
    put_i64(out, rebalanced_ms);
    put_u64(out, partitions.len() as u64);
    for partition in partitions {
        put_u64(out, u64::from(*partition));
    }
}

fn take_group(input: &mut &[u8]) -> Result<GroupInfo, Malformed> {
    let topic = take_string(input)?;
    let (created_ms, rebalanced_ms) = (take_i64(input)?, take_i64(input)?);
    let mut partitions = Vec::new();
    for _ in 0..take_u64(input)? {
        partitions.push(take_u32(input)?);
    }
    Ok(GroupInfo {
        topic,
        partitions,
        created_ms,
        rebalanced_ms,
    })
}

/// The catalog's state.
#[derive(Debug)]
pub struct Catalog<S> {
    store: S,
    applied: Option<LogPosition>,
    membership: Vec<u8>,
    groups: BTreeMap<String, GroupInfo>,
    pauses: Pauses,
    topics: Topics,
    cluster: Option<Cluster>,
}

impl<S: Store> Catalog<S> {
    /// The catalog as the store has it.
    pub fn open(store: S) -> Result<Self, StoreError> {
        let mut catalog = Self {
            applied: None,
            membership: Vec::new(),
            groups: BTreeMap::new(),
            pauses: Pauses::new(),
            topics: Topics::default(),
            cluster: None,
            store: store.clone(),
        };
        if let Some(value) = store.get(Family::Meta, &key(NUMBER, Kind::Partition, 0))? {
            catalog
                .restore(&value)
                .map_err(|Malformed| StoreError::Damaged {
                    family: Family::Meta,
                    reason: "the catalog is malformed",
                })?;
        }
        if let Some(value) = store.get(Family::Meta, &key(NUMBER, Kind::TopicState, 0))? {
            catalog.topics = Topics::restore(&value).map_err(|Malformed| StoreError::Damaged {
                family: Family::Meta,
                reason: "the topics of the catalog are malformed",
            })?;
        }
        Ok(catalog)
    }

    /// Applies the next entry of the catalog's log.
    pub fn apply(&mut self, position: LogPosition, body: &[u8]) -> Result<Outcome, ApplyError> {
        let outcome = match Command::decode(body)? {
            Command::CreateGroup {
                name,
                topic,
                partitions,
                now_ms,
            } => match self.groups.entry(name) {
                Entry::Occupied(_) => Outcome::Exists,
                Entry::Vacant(vacant) => {
                    vacant.insert(GroupInfo {
                        topic,
                        partitions,
                        created_ms: now_ms,
                        rebalanced_ms: 0,
                    });
                    Outcome::Done
                }
            },
            Command::Rebalanced { name, now_ms } => match self.groups.get_mut(&name) {
                None => Outcome::NotFound,
                Some(group) => {
                    group.rebalanced_ms = now_ms;
                    Outcome::Done
                }
            },
            Command::Pause { target, pause } => self.pause(target, pause),
            Command::Resume { target, now_ms } => self.resume(&target, now_ms),
            Command::PutTopic(put) => self.topics.put(put),
            Command::DeleteTopic { name } => self.topics.delete(&name),
            Command::Cluster(command) => command.apply(&mut self.cluster),
        };
        self.applied = Some(position);
        self.save()?;
        Ok(outcome)
    }

    /// Takes note of an entry without a command of ours.
    pub fn apply_blank(&mut self, position: LogPosition) {
        self.applied = Some(position);
    }

    /// Takes note of a change of the replicas.
    pub fn apply_membership(&mut self, position: LogPosition, membership: Vec<u8>) {
        self.applied = Some(position);
        self.membership = membership;
    }

    /// Place of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> Option<LogPosition> {
        self.applied
    }

    /// The replicas, as the replication layer encoded them.
    #[must_use]
    pub fn membership(&self) -> &[u8] {
        &self.membership
    }

    /// The groups by name.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<String, GroupInfo> {
        &self.groups
    }

    /// The topics that were created, by name.
    #[must_use]
    pub fn topics(&self) -> &BTreeMap<String, TopicInfo> {
        self.topics.by_name()
    }

    fn save(&self) -> Result<(), StoreError> {
        let Some(applied) = self.applied else {
            return Ok(());
        };
        let mut out = Vec::new();
        put_u64(&mut out, VERSION);
        put_u64(&mut out, applied.term);
        put_u64(&mut out, applied.index);
        put_bytes(&mut out, &self.membership);
        put_u64(&mut out, self.groups.len() as u64);
        for (name, group) in &self.groups {
            put_bytes(&mut out, name.as_bytes());
            put_group(
                &mut out,
                &group.topic,
                &group.partitions,
                group.created_ms,
                group.rebalanced_ms,
            );
        }
        if !self.pauses.is_empty() {
            put_u64(&mut out, pauses::PAUSE);
            put_bytes(&mut out, &pauses::encode_all(&self.pauses));
        }
        if let Some(cluster) = &self.cluster {
            put_u64(&mut out, CLUSTER);
            put_bytes(&mut out, &cluster.encode());
        }
        let mut writes = WriteBatch::default();
        writes.put(Family::Meta, key(NUMBER, Kind::Partition, 0), out);
        self.topics.save(&mut writes);
        self.store.write(&writes)
    }

    fn restore(&mut self, mut value: &[u8]) -> Result<(), Malformed> {
        let input = &mut value;
        if take_u64(input)? != VERSION {
            return Err(Malformed);
        }
        let (term, index) = (take_u64(input)?, take_u64(input)?);
        self.applied = Some(LogPosition { term, index });
        self.membership = take_bytes(input)?.to_vec();
        for _ in 0..take_u64(input)? {
            let name = take_string(input)?;
            let group = take_group(input)?;
            self.groups.insert(name, group);
        }
        // Sections that are there when there is something in them: a number and its bytes.
        while !input.is_empty() {
            match take_u64(input)? {
                pauses::PAUSE => self.pauses = pauses::decode_all(take_bytes(input)?)?,
                CLUSTER => self.cluster = Some(Cluster::decode(take_bytes(input)?)?),
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use proptest::prelude::*;

    fn create(name: &str) -> Command {
        Command::CreateGroup {
            name: name.into(),
            topic: "t".into(),
            partitions: vec![0, 1],
            now_ms: 5,
        }
    }

    #[test]
    fn groups_survive_a_restart() {
        let store = MemoryStore::new();
        let mut catalog = Catalog::open(store.clone()).unwrap();
        let at = |index| LogPosition { term: 1, index };
        assert_eq!(
            catalog.apply(at(1), &create("g").encode()).unwrap(),
            Outcome::Done
        );
        assert_eq!(
            catalog.apply(at(2), &create("g").encode()).unwrap(),
            Outcome::Exists
        );
        let rebalanced = |name: &str| {
            Command::Rebalanced {
                name: name.into(),
                now_ms: 9,
            }
            .encode()
        };
        assert_eq!(
            catalog.apply(at(3), &rebalanced("g")).unwrap(),
            Outcome::Done
        );
        assert_eq!(
            catalog.apply(at(4), &rebalanced("h")).unwrap(),
            Outcome::NotFound
        );
        let reopened = Catalog::open(store).unwrap();
        assert_eq!(reopened.groups(), catalog.groups());
        assert_eq!(reopened.applied(), Some(at(4)));
        assert_eq!(reopened.groups()["g"].rebalanced_ms, 9);
    }

    #[test]
    fn commands_come_back() {
        for command in [
            create("a:b"),
            Command::Rebalanced {
                name: String::new(),
                now_ms: -1,
            },
        ] {
            let body = command.encode();
            assert_eq!(Command::decode(&body), Ok(command));
            for cut in 0..body.len() {
                assert!(Command::decode(&body[..cut]).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(mut body in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 3..20),
        ]) {
            if let Some(version) = body.first_mut() {
                *version = VERSION as u8;
            }
            if let Ok(command) = Command::decode(&body) {
                prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
            }
        }

        #[test]
        fn a_damaged_catalog_is_refused_or_read(value in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(0_u8..4, 3..20),
        ]) {
            let store = MemoryStore::new();
            let mut writes = WriteBatch::default();
            writes.put(Family::Meta, key(NUMBER, Kind::Partition, 0), value);
            store.write(&writes).unwrap();
            let _ = Catalog::open(store);
        }
    }
}
