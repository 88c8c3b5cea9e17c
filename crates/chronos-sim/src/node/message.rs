//! What clients ask of a node.

use bytes::Bytes;
use chronos_core::command::change::Action;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::partition::{Changed, Published};
use chronos_core::types::DueKey;
use tokio::sync::{mpsc, oneshot};

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Surely not done: this node does not lead.
    #[error("another node leads: {0:?}")]
    NotLeader(Option<u64>),
    /// It may be done, now or later.
    #[error("it is not known whether it was done")]
    Unknown,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// A change of an event, as it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeAnswer {
    /// The event that has the id, with what was decided; `None` when there is none.
    pub found: Option<(u64, Changed)>,
}

/// A delivery on its way to a consumer.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The event.
    pub key: DueKey,
    /// Which delivery of it.
    pub attempt: u32,
    /// When it arrives.
    pub arrives: tokio::time::Instant,
}

/// A request.
#[derive(Debug)]
pub enum Request {
    /// Events to accept.
    Publish {
        /// A publish section.
        section: Bytes,
        /// Whether they have to be on the disk before the answer, also in mode `periodic`.
        durable: bool,
        /// What came of them.
        reply: Reply<Published>,
    },
    /// An event to change, by its id.
    Change(String, Action, Reply<ChangeAnswer>),
    /// A group to create.
    CreateGroup(CreateGroup, Reply<()>),
    /// A consumer to send to.
    Join {
        /// Its group.
        group: String,
        /// The topic it reads.
        topic: &'static str,
        /// Its number.
        member: u64,
        /// Deliveries it may hold unanswered.
        credit: usize,
        /// Where to send.
        sink: mpsc::UnboundedSender<Sent>,
        /// Whether it is known now.
        reply: Reply<()>,
    },
    /// A consumer's answer to a delivery.
    Answer {
        /// Its group.
        group: String,
        /// The topic it reads.
        topic: &'static str,
        /// The event.
        key: DueKey,
        /// Which delivery.
        attempt: u32,
        /// Whether the event was processed.
        success: bool,
        /// Whether the answer counted.
        reply: Reply<bool>,
    },
}

impl Request {
    /// Answers that it is not done.
    pub fn refuse(self, refused: Refused) {
        match self {
            Request::Publish { reply, .. } => drop(reply.send(Err(refused))),
            Request::Change(.., reply) => drop(reply.send(Err(refused))),
            Request::CreateGroup(_, reply) | Request::Join { reply, .. } => {
                drop(reply.send(Err(refused)));
            }
            Request::Answer { reply, .. } => drop(reply.send(Err(refused))),
        }
    }
}
