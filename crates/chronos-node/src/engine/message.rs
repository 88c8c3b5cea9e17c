//! What a partition's driver is asked, and the handle to ask it with.

use super::events::Events;
use super::machine::{PartitionMachine, SharedPartition};
use super::saves::Saves;
use crate::delivery::{Ack, AckRun, Dispatch, SessionId, Wish};
use crate::engine::credit::Credit;
use bytes::Bytes;
use chronos_core::command::Kind;
use chronos_core::command::change::Item;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::partition::{Changed, Outcome, Published};
use chronos_core::types::{DueKey, GroupNumber, PartitionNumber};
use chronos_raft::Group;
use chronos_wal::Wal;
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Why a partition did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Surely not done, and may be tried again: the partition is stopping.
    #[error("partition {0} is shutting down, retry against the partition leader")]
    Stopping(PartitionNumber),
    /// Surely not done: this node does not lead the partition.
    #[error("this node is not the leader of partition {0}")]
    NotLeader(PartitionNumber),
    /// Surely not done, and may be tried again: nobody is known to lead the catalog.
    #[error("the cluster has no leader for its catalog at the moment: try again")]
    NoCatalog,
    /// Not known whether it was done.
    #[error(
        "it is not known whether partition {0} took the request: retry with the same message id"
    )]
    Unknown(PartitionNumber),
    /// The partition has failed on this node; the log says why.
    #[error("partition {0} has failed on this node: see the server's log")]
    Failed(PartitionNumber),
}

/// Events to publish: one section of a log entry.
#[derive(Debug)]
pub struct Publish {
    /// The section, as `command::publish::Builder` made it.
    pub section: Bytes,
    /// Events in it.
    pub events: u32,
    /// Held until the answer is sent, so that what is under way is bounded by bytes.
    pub permit: OwnedSemaphorePermit,
    /// Gets the outcome once it is durable and applied.
    pub reply: oneshot::Sender<Result<Published, Refused>>,
}

/// Events to cancel, move, fire or look at: one section of a log entry.
#[derive(Debug)]
pub struct Changes {
    /// What to do with which event.
    pub items: Vec<Item>,
    /// Gets one outcome for each, in order, once they are durable and applied.
    pub reply: oneshot::Sender<Result<Vec<Changed>, Refused>>,
}

/// An event to cancel and events to publish in its place: one section of a log entry.
#[derive(Debug)]
pub struct Replace {
    /// The section, as `command::change::Replace` encodes it.
    pub section: Bytes,
    /// Held until the answer is sent.
    pub permit: OwnedSemaphorePermit,
    /// Gets the outcome of both once it is durable and applied.
    pub reply: oneshot::Sender<Result<(Changed, Published), Refused>>,
}

/// Something to do with dead letters of a group.
#[derive(Debug)]
pub struct DeadLetters {
    /// What to do.
    pub command: chronos_core::command::dead_letters::DeadLetters,
    /// Gets the letters it took effect on, once that is durable and applied.
    pub reply: oneshot::Sender<Result<Vec<u64>, Refused>>,
}

/// A topic to delete.
#[derive(Debug)]
pub struct DeleteTopic {
    /// Its name.
    pub name: String,
    /// Also while events are pending.
    pub force: bool,
    /// Its events, as far as they are known.
    pub offsets: RoaringTreemap,
    /// Gets how many pending events were deleted, or how many kept it from being deleted.
    pub reply: oneshot::Sender<Result<Result<u64, u64>, Refused>>,
}

/// A member to add to a group.
#[derive(Debug)]
pub struct Join {
    /// The subscription.
    pub session: SessionId,
    /// The group.
    pub group: GroupNumber,
    /// The term whose leader is asked; the leader of another one does not take the member.
    pub term: u64,
    /// Unanswered deliveries the subscription may hold, over all its partitions.
    pub credit: Arc<Credit>,
    /// How it wants its deliveries.
    pub wish: Wish,
    /// Gets the events to send. Bounded by the credit.
    pub dispatches: mpsc::UnboundedSender<Vec<Dispatch>>,
}

/// Answers to deliveries of one group.
#[derive(Debug)]
pub struct Answers {
    /// The group and the answer, in the order in which they came.
    pub acks: Vec<(GroupNumber, Ack)>,
    /// The group and a run of deliveries that were processed.
    pub runs: Vec<(GroupNumber, AckRun)>,
    /// Told once all of them are durable and applied.
    pub reply: oneshot::Sender<Result<(), Refused>>,
}

/// Deliveries that are not sent because their events expired.
#[derive(Debug)]
pub struct Expired {
    /// The group.
    pub group: GroupNumber,
    /// The deliveries.
    pub events: Vec<Dispatch>,
}

/// A request to a partition's driver.
#[derive(Debug)]
pub enum Message {
    /// Publish events.
    Publish(Publish),
    /// Change scheduled events.
    Change(Changes),
    /// Cancel and publish, both or neither.
    Replace(Replace),
    /// Say how many events are pending, by topic number.
    CountPending(oneshot::Sender<Vec<u64>>),
    /// Make sure that a group exists.
    CreateGroup(CreateGroup, oneshot::Sender<Result<GroupNumber, Refused>>),
    /// Redrive, edit or discard dead letters.
    DeadLetters(DeadLetters),
    /// A command of retention.
    Retain(Kind, Bytes, oneshot::Sender<Result<Outcome, Refused>>),
    /// Delete what was published to a topic.
    DeleteTopic(DeleteTopic),
    /// Add a member.
    Join(Join),
    /// Remove a member.
    Leave(SessionId),
    /// Take in answers.
    Answers(Answers),
    /// Settle deliveries whose events expired.
    Expired(Expired),
    /// Wake up: credit of a subscription over several partitions came free elsewhere.
    Wake,
    /// Propose nothing for a moment, and tell when nothing is under way: another node is about to lead.
    Rest(oneshot::Sender<()>),
    /// Finish what is queued and stop.
    Stop(oneshot::Sender<()>),
}

impl Message {
    /// Refuses what was asked, for a reason that says that it was surely not done.
    pub fn refuse(self, refused: Refused) {
        match self {
            Message::Publish(publish) => drop(publish.reply.send(Err(refused))),
            Message::Change(changes) => drop(changes.reply.send(Err(refused))),
            Message::Replace(replace) => drop(replace.reply.send(Err(refused))),
            Message::CreateGroup(_, reply) => drop(reply.send(Err(refused))),
            Message::DeadLetters(letters) => drop(letters.reply.send(Err(refused))),
            Message::Retain(.., reply) => drop(reply.send(Err(refused))),
            Message::DeleteTopic(delete) => drop(delete.reply.send(Err(refused))),
            Message::Answers(answers) => drop(answers.reply.send(Err(refused))),
            // Whoever counts learns from the closed channel; a member's stream ends with its sender.
            Message::CountPending(_) | Message::Join(_) => {}
            Message::Leave(_) | Message::Expired(_) | Message::Wake | Message::Rest(_) => {}
            Message::Stop(reply) => {
                let _ = reply.send(());
            }
        }
    }
}

/// Where a partition's leader stands, for status and metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Events accepted for later and not released.
    pub pending: u64,
    /// The same by topic number; topics beyond the end have none.
    pub pending_by_topic: Arc<[u64]>,
    /// Released events that were not handed out yet.
    pub waiting: u64,
    /// Unanswered deliveries.
    pub in_flight: u64,
    /// Members of the partition's groups.
    pub members: u64,
    /// When the next event falls due, Unix milliseconds; `None` when none is near.
    pub next_due_ms: Option<i64>,
    /// Events in the wheel.
    pub wheel_entries: u64,
    /// Memory of the wheel, bytes.
    pub wheel_bytes: u64,
    /// How many scheduled events of each topic were released, and up to which due key.
    pub released: (Arc<[u64]>, DueKey),
}

/// A partition on this node.
#[derive(Clone)]
pub struct Handle {
    /// Its number.
    pub number: PartitionNumber,
    /// How many partitions there are.
    pub partitions: u32,
    /// The driver's inbox.
    pub inbox: mpsc::Sender<Message>,
    /// The state machine, for reading.
    pub state: SharedPartition,
    /// Stored events.
    pub events: Arc<Events>,
    /// The log.
    pub wal: Wal,
    /// The replica's place in the partition's group.
    pub raft: Group<PartitionMachine>,
    /// Checkpoints that were asked for and made.
    pub saves: Arc<Saves>,
    /// Updated by the driver.
    pub standing: Arc<Mutex<Standing>>,
    /// The term in which this node leads the partition and serves it; 0 while it does not.
    pub led_in: Arc<AtomicU64>,
    /// Whether this node's clock is right as far as the others can tell.
    pub on_time: Arc<AtomicBool>,
}

impl Handle {
    /// Whether this node leads the partition and serves it.
    pub fn is_led(&self) -> bool {
        self.led_in().is_some()
    }

    /// The term in which it does. The replica itself may be in a later one already, which is
    /// somebody else's.
    pub fn led_in(&self) -> Option<u64> {
        Some(self.led_in.load(Ordering::Acquire)).filter(|term| *term != 0)
    }

    /// Whether this node may deliver at this moment what it handed out as the leader of `term`: it
    /// still leads in it, and nobody else can. A node that was paused or cut off finds out here, and one
    /// whose clock is off delivers nothing.
    pub fn may_deliver(&self, term: u64) -> bool {
        self.on_time.load(Ordering::Relaxed) && self.raft.holds_lease_in(term)
    }

    /// The term that the replica is in.
    pub fn term(&self) -> u64 {
        self.raft.leadership().get().term
    }

    /// Sends a message, waiting for room.
    pub async fn send(&self, message: Message) -> Result<(), Refused> {
        self.inbox
            .send(message)
            .await
            .map_err(|_| Refused::Stopping(self.number))
    }

    /// Changes scheduled events; one outcome for each item, in order.
    pub async fn change(&self, items: Vec<Item>) -> Result<Vec<Changed>, Refused> {
        self.ask(|reply| Message::Change(Changes { items, reply }))
            .await
    }

    /// Pending events by topic number; topics beyond the end have none.
    pub async fn count_pending(&self) -> Result<Vec<u64>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::CountPending(reply)).await?;
        answer.await.map_err(|_| Refused::Stopping(self.number))
    }

    /// Sends a message that carries a reply channel and waits for the reply.
    pub async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Message,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.unwrap_or(Err(Refused::Unknown(self.number)))
    }
}
