//! The state machine of a partition.
//!
//! [`Partition::apply`] takes the log's entries in order and is the only thing that changes a
//! partition. It is synchronous and deterministic: the same entries give the same state, the same
//! index and the same [`Effects`] on every replica and after every restart. Time comes in with each
//! entry as the leader's clock; files and threads stay outside.
//!
//! ```text
//! entry ──► apply ──► Store (what must be looked up)
//!             │
//!             ├─────► state in memory, saved by a checkpoint
//!             └─────► Effects (answers, timers, released runs)
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `publish.rs` | accepting events |
//! | `dead_letters.rs` | what a group gave up on, and delivering it again |
//! | `change.rs` | cancelling, moving and firing scheduled events |
//! | `due_index.rs` | writing scheduled and due events to the index |
//! | `released.rs` | reading the index in due order |
//! | `group.rs` | progress of consumer groups |
//! | `topic_state.rs` | what was deleted of a topic, and how large its events are |
//! | `delete_topic.rs` | deleting what was published to a topic |
//! | `topics.rs` | topic names and their numbers |
//! | `checkpoint.rs` | saving and restoring the state in memory |
//! | `counting.rs` | counting what was released, on a replica that does not lead |
//! | `carrying.rs` | taking live events to the end of the log |
//! | `live.rs` | which events somebody may still need |
//! | `places.rs` | where events stand in the log |
//! | `moved.rs` | where carried events stand |
//! | `discard.rs` | removing what the index knows and the log does not |
//! | `effects.rs` | what comes out |

pub mod carrying;
pub mod change;
mod checkpoint;
mod counting;
pub mod dead_letters;
mod delete_topic;
mod discard;
mod due_index;
mod effects;
mod group;
#[cfg(test)]
mod invariants;
pub mod live;
mod moved;
pub mod places;
mod publish;
pub mod released;
mod topic_state;
mod topics;

pub use checkpoint::Checkpoint;
pub use counting::Counting;
pub use effects::{Changed, Effects, Move, Outcome, Published, Run, Verdict};
pub use group::Group;
pub use topic_state::TopicState;
pub use topics::Topics;

use crate::command::carry::Moved;
use crate::command::create_group::CreateGroup;
use crate::command::dead_letters::DeadLetters;
use crate::command::delete_topic::DeleteTopic;
use crate::command::settle::Settle;
use crate::command::{Batch, DecodeError, Kind};
use crate::dedup::Dedup;
use crate::keys::dedup::IdHash;
use crate::mutant;
use crate::store::{Store, StoreError, WriteBatch};
use crate::types::{DueKey, GroupNumber, PartitionNumber, TopicNumber};
use change::Changing;
use hashbrown::{HashMap, HashSet};
use publish::Accepting;
use roaring::RoaringTreemap;
use topic_state::TopicStates;

/// Place of an entry in the replicated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPosition {
    /// Term of the leader that proposed it.
    pub term: u64,
    /// Index of the entry.
    pub index: u64,
}

/// Why an entry could not be applied. Fatal for the partition on this node.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entry cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The entry speaks of a group that was never created.
    #[error("the log entry settles group number {0}, which this partition does not have")]
    UnknownGroup(GroupNumber),
}

/// A partition: its state in memory and its index.
#[derive(Debug)]
pub struct Partition<S> {
    number: PartitionNumber,
    store: S,
    applied: Option<LogPosition>,
    membership: Vec<u8>,
    next_offset: u64,
    horizon: DueKey,
    topics: Topics,
    topic_states: TopicStates,
    groups: Vec<Group>,
    group_numbers: HashMap<(String, Option<TopicNumber>), GroupNumber>,
    changed_groups: HashSet<GroupNumber>,
    /// Keys of dead letters that are gone: removed with the next checkpoint.
    gone_letters: Vec<Vec<u8>>,
    dedup: Dedup,
    /// Message ids accepted up to this time are forgotten, Unix milliseconds. Never moves back.
    forgotten_ms: i64,
    /// By topic: events ever accepted that were not due on arrival, without the cancelled ones.
    scheduled: Vec<u64>,
    /// Of the last checkpoint: how many of them had been released by topic, and up to which due key.
    saved_released: (Vec<u64>, DueKey),
    /// By topic: the counts in the last checkpoint.
    saved_counts: Vec<(u64, u64)>,
    /// Every event that was ever carried has an offset below this.
    carried_upto: u64,
    forgetting: moved::Forgetting,
    /// Events that were deleted with their topics and may still be in the log.
    deleted: RoaringTreemap,
    /// Whether the last checkpoint has other ones.
    deleted_changed: bool,
    /// Events that were ever cancelled, moved or fired by hand. May hold more than is applied.
    changed: RoaringTreemap,
    /// Log index of the last entry that the index knows to have changed an event. Applying the log
    /// again does not move it back.
    last_change: u64,
    /// Log index of the last durable checkpoint.
    saved_index: Option<u64>,
    /// `forgotten_ms` of the last durable checkpoint.
    saved_forgotten_ms: i64,
    /// Of the checkpoint under way: its `forgotten_ms` and log index.
    checkpointing: Option<(i64, u64)>,
}

impl<S: Store> Partition<S> {
    /// The partition as of its last checkpoint in `store`, or an empty one.
    pub fn open(number: PartitionNumber, store: S) -> Result<Self, StoreError> {
        checkpoint::restore(number, store)
    }

    /// Applies the next entry of the log.
    pub fn apply(&mut self, position: LogPosition, body: &[u8]) -> Result<Effects, ApplyError> {
        assert!(
            self.applied
                .is_none_or(|applied| position.index == applied.index + 1),
            "entry {} applied after {:?}",
            position.index,
            self.applied
        );
        let batch = Batch::decode(body)?;
        let mut effects = Effects {
            horizon_before: self.horizon,
            ..Effects::default()
        };
        let mut writes = WriteBatch::default();
        let target_ms = batch.now_ms.saturating_add(i64::from(batch.ahead_ms));
        let horizon_ms = match mutant!("horizon-follows-clock-back") {
            true => target_ms,
            false => self.least_due_ms().max(target_ms),
        };
        let mut accepting = Accepting::new(horizon_ms, self.next_offset, self.forgotten_ms);
        let mut changing = Changing::default();
        for section in batch.sections() {
            let section = section?;
            let outcome = match section.kind {
                Kind::Publish => Outcome::Published(self.accept(&section, &mut accepting)?),
                Kind::Settle => {
                    let settle = Settle::decode(section.payload)?;
                    let group = group::get(&mut self.groups, settle.group)?;
                    group.settle(
                        &settle,
                        settle.group,
                        self.number,
                        batch.now_ms,
                        &mut writes,
                    );
                    self.changed_groups.insert(settle.group);
                    Outcome::Settled
                }
                Kind::CreateGroup => self.create_group(&CreateGroup::decode(section.payload)?),
                Kind::Change => self.change(&section, batch.now_ms, &accepting, &mut changing)?,
                Kind::Replace => {
                    self.replace(&section, batch.now_ms, &mut accepting, &mut changing)?
                }
                Kind::DeadLetters => {
                    let command = DeadLetters::decode(section.payload)?;
                    let group = group::get(&mut self.groups, command.group)?;
                    self.changed_groups.insert(command.group);
                    let at = dead_letters::Applying {
                        partition: self.number,
                        group: command.group,
                        now_ms: batch.now_ms,
                        log_index: position.index,
                        writes: &mut writes,
                        gone: &mut self.gone_letters,
                    };
                    group.change_letters(command.action, at)
                }
                Kind::Carry => Outcome::Carried {
                    log_index: position.index,
                    section_position: section.position,
                },
                Kind::Moved => {
                    let moved = Moved::decode(section.payload)?;
                    effects.carried_upto = effects.carried_upto.max(moved.carried_upto);
                    self.take_moved(&moved, &mut writes);
                    Outcome::Moved
                }
                Kind::DeleteTopic => {
                    let command = DeleteTopic::decode(section.payload)?;
                    let index = position.index;
                    self.delete_topic(&command, batch.now_ms, index, &mut writes, &mut effects)
                }
            };
            effects.outcomes.push(outcome);
        }
        effects.batch = due_index::write(
            self.number,
            position.index,
            &batch,
            &mut accepting,
            &mut writes,
        );
        self.forget_changes(&mut changing, &effects.deleted);
        effects.moves = self.write_changes(changing, position.index, &mut writes);
        if !writes.is_empty() {
            self.store.write(&writes)?;
        }
        self.applied = Some(position);
        self.next_offset = accepting.next_offset;
        // Below the key that the next event would get, so whatever is due by now is released.
        let next = match mutant!("horizon-past-the-next-event") {
            true => DueKey::new(accepting.horizon_ms, self.next_offset + 1),
            false => DueKey::new(accepting.horizon_ms, self.next_offset),
        };
        self.horizon = self.horizon.max(next.before());
        effects.horizon = self.horizon;
        for timer in &accepting.timers {
            let topic = timer.topic as usize;
            if self.scheduled.len() <= topic {
                self.scheduled.resize(topic + 1, 0);
            }
            self.scheduled[topic] += 1;
        }
        for (topic, events, bytes) in &accepting.later {
            let state = self.topic_states.change(*topic);
            state.later_events += events;
            state.later_bytes += bytes;
        }
        effects.timers = accepting.timers;
        effects.runs = accepting.runs;
        effects.prioritized = accepting.prioritized;
        Ok(effects)
    }

    /// Takes note of an entry without commands of ours: a leader's first entry, for example.
    pub fn apply_blank(&mut self, position: LogPosition) {
        self.applied = Some(position);
    }

    /// Takes note of a change of the replicas. The bytes mean nothing here.
    pub fn apply_membership(&mut self, position: LogPosition, membership: Vec<u8>) {
        self.applied = Some(position);
        self.membership = membership;
    }

    fn create_group(&mut self, command: &CreateGroup) -> Outcome {
        let topic = command
            .topic
            .as_ref()
            .map(|name| self.topics.number(name.as_bytes()));
        if let Some(topic) = topic {
            self.topic_states.named(topic);
        }
        let identity = (command.name.clone(), topic);
        if let Some(number) = self.group_numbers.get(&identity) {
            return Outcome::GroupCreated {
                group: *number,
                created: false,
            };
        }
        let reads =
            |group: &Group| topic.is_none() || group.topic.is_none() || group.topic == topic;
        let first_of_topic = !self.groups.iter().any(reads) && !mutant!("drop-no-subscriber");
        let number = self.groups.len() as GroupNumber;
        self.groups
            .push(Group::begin(command, topic, self.horizon, first_of_topic));
        self.group_numbers.insert(identity, number);
        self.changed_groups.insert(number);
        Outcome::GroupCreated {
            group: number,
            created: true,
        }
    }

    /// The least due time that puts the next event above the horizon. It is the horizon's own time,
    /// or the millisecond after while no event was accepted yet.
    fn least_due_ms(&self) -> i64 {
        let horizon_ms = self.horizon.due_ms;
        match DueKey::new(horizon_ms, self.next_offset) > self.horizon {
            true => horizon_ms,
            false => horizon_ms.saturating_add(1),
        }
    }

    /// The partition's number.
    #[must_use]
    pub fn number(&self) -> PartitionNumber {
        self.number
    }

    /// The index, for readers.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
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

    /// Offset that the next accepted event gets; also how many were ever accepted.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The greatest released due key.
    #[must_use]
    pub fn horizon(&self) -> DueKey {
        self.horizon
    }

    /// The topics seen so far.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The groups, by their number.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of the group with this name that reads this topic; `None` reads every topic.
    #[must_use]
    pub fn group_number(&self, name: &str, topic: Option<&str>) -> Option<GroupNumber> {
        let topic = match topic {
            Some(topic) => Some(self.topics.get(topic.as_bytes())?),
            None => None,
        };
        self.group_numbers.get(&(name.to_owned(), topic)).copied()
    }

    /// By topic number: events ever accepted that were not due on arrival, without the cancelled
    /// ones. Topics beyond the end had none.
    #[must_use]
    pub fn scheduled(&self) -> &[u64] {
        &self.scheduled
    }

    /// How many of the scheduled events of each topic were released at the last checkpoint, and up
    /// to which due key: where counting begins after a restart.
    #[must_use]
    pub fn saved_released(&self) -> &(Vec<u64>, DueKey) {
        &self.saved_released
    }

    /// Events that were ever cancelled, moved or fired by hand.
    #[must_use]
    pub fn changed(&self) -> &RoaringTreemap {
        &self.changed
    }

    /// The offset of the event that brought a message id, as far as it is remembered.
    pub fn offset_of_id(&self, id: IdHash) -> Result<Option<u64>, StoreError> {
        let known = match self.dedup.recent(id) {
            Some(known) => Some(known),
            None => self
                .dedup
                .look_up(&self.store, self.number, &[id], self.next_offset)?
                .first()
                .map(|(_, known)| *known),
        };
        Ok(known.map(|known| known.offset))
    }

    /// Dead letters of all groups, without those that are being delivered again.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.groups
            .iter()
            .map(|group| group.letters.dead.len())
            .sum()
    }

    /// Message ids that began to age up to this time are forgotten, Unix milliseconds.
    #[must_use]
    pub fn forgotten_ms(&self) -> i64 {
        self.forgotten_ms
    }

    /// The same as of the last durable checkpoint: no restart needs a record of such an id again.
    #[must_use]
    pub fn saved_forgotten_ms(&self) -> i64 {
        self.saved_forgotten_ms
    }

    /// Ids that are only in memory and wait for a checkpoint.
    #[must_use]
    pub fn unsaved_ids(&self) -> usize {
        self.dedup.window_len()
    }

    /// Forgets every id that is only in memory: the failure that the mutant
    /// `forget-dedup-on-restart` re-creates.
    #[cfg(feature = "mutants")]
    pub fn forget_ids(&mut self) {
        self.dedup = Dedup::default();
    }

    /// Memory that deduplication uses, bytes.
    #[must_use]
    pub fn dedup_bytes(&self) -> usize {
        self.dedup.bytes()
    }
}

#[cfg(test)]
mod tests;
